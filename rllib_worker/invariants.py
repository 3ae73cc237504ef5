"""Every property of the worker: one function each, named for what must hold, called where it must hold.

The only file of the worker that asserts through the Antithesis SDK, as the trainer's invariants.py does: functions
marked `@guard` also raise PropertyFailed, so that nothing is committed on top of a broken property.
"""

from collections.abc import Mapping

import numpy as np

from bitexact.cli import process_environment

process_environment.direct_properties()  # before the SDK is imported: it chooses its output then

from antithesis.assertions import always, reachable, sometimes

from bitexact.reporting.guards import Where, guard, reached_by


@guard
@reached_by("every run: each action of a game with masks")
def an_action_is_legal(legal: bool, where: Where) -> bool:
    """The game's mask allows the action: in training, in an evaluation, in a match."""
    always(legal, "No illegal action reaches a game", where)
    return legal


@guard
@reached_by("every run: each iteration")
def worker_weights_are_finite(arrays: Mapping[str, np.ndarray], where: Where) -> bool:
    """No weight and no number of the optimizer is NaN or infinite."""
    holds = all(bool(np.isfinite(array).all()) for array in arrays.values() if array.dtype.kind == "f")
    always(holds, "The weights of every policy are finite", where)
    return holds


@guard
@reached_by("every run: each iteration")
def an_iteration_makes_progress(steps: int, changed: bool, where: Where) -> bool:
    """Steps were sampled: RLlib's train() returns as if they had been even where its runners could not start."""
    holds = steps > 0 and changed
    always(holds, "An iteration samples steps and changes weights", {**where, "steps": steps, "changed": changed})
    return holds


@guard
@reached_by("a preset: self-play, each iteration")
def a_snapshot_never_changes(found: str, recorded: str, where: Where) -> bool:
    """The digest of a snapshot in the league, at the learner or at a runner, against the one it was added with."""
    holds = found == recorded
    always(holds, "A snapshot in the league never changes", {**where, "found": found, "recorded": recorded})
    return holds


@reached_by("a preset: self-play, in the end")
def a_snapshot_is_added(added: bool, where: Where) -> None:
    """Main beats the newest snapshot by the set rate, and becomes one."""
    sometimes(added, "A snapshot is added to the league", where)


@guard
@reached_by("every run: each episode")
def an_episode_maps_as_the_seed_says(played: Mapping[str, str], drawn: Mapping[str, str], where: Where) -> bool:
    """Who played each agent, as the runner recorded it, against the draw recomputed by the driver."""
    holds = dict(played) == dict(drawn)
    always(holds, "Each agent of an episode is played by the policy that the seed says", where)
    return holds


@guard
@reached_by("every run: each checkpoint")
def a_worker_checkpoint_reads_back_as_written(read: str, written: str, where: Where) -> bool:
    """Read from the disk, the file gives the state that was to be saved."""
    holds = read == written
    always(holds, "A worker's checkpoint reads back as written", where)
    return holds


@guard
@reached_by("a resume: the first iteration after --resume")
def a_resumed_worker_continues_after_its_checkpoint(first: int, checkpoint: int, where: Where) -> bool:
    """No iteration is skipped, none before the checkpoint is repeated."""
    holds = first == checkpoint + 1
    always(holds, "A resumed worker continues at its checkpoint's iteration + 1", where)
    return holds


@guard
@reached_by("faults: the driver or a runner killed between two checkpoints")
def an_iteration_done_again_gives_its_recorded_digest(digest: str, recorded: str, where: Where) -> bool:
    """After a resume, the iterations since the checkpoint must come out as they did."""
    holds = digest == recorded
    details = {**where, "digest": digest, "recorded": recorded}
    always(holds, "An iteration computed again has its recorded digest", details)
    return holds


@guard
@reached_by("every run: each iteration")
def no_iteration_is_lost(iteration: int, last: int, where: Where) -> bool:
    """Lines follow one another by one, whatever runners died."""
    holds = 1 <= iteration <= last + 1
    always(holds, "An env runner's death loses no iteration", {**where, "last": last})
    return holds


@reached_by("faults: an env runner killed or frozen")
def a_runner_is_replaced(where: Where) -> None:
    """Reached when an env runner died or was killed for not answering, and another took its place."""
    reachable("An env runner is replaced", where)
