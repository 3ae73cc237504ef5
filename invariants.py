"""Every property of the trainer: one function each, named for what must hold, called where it must hold.

This is the only file that asserts through the Antithesis SDK. On the platform, and wherever
ANTITHESIS_SDK_LOCAL_OUTPUT names a file, each property's first pass and first failure in a process are written down;
elsewhere the SDK's part costs nothing. The SDK chooses its output when it is first imported: see
`process_environment.py`.

A failed `always` raises nothing by itself. Functions marked `@guard` therefore also raise PropertyFailed, so that
nothing is committed on top of a broken property. Arguments are plain numbers and arrays, `where` says which update and
rollout it was; the SDK takes Python types only, so conditions are converted here.

To add one: write the function, with a message of its own as a literal (the catalog's scanner reads nothing else); say
what reaches it with `@reached_by` (the situations are in `bitexact/reporting/guards.py`); call it; run `make docs`. An
`always` on a rare path gets a `sometimes` or `reachable` beside it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bitexact.cli import process_environment

process_environment.direct_properties()  # before the SDK is imported: it chooses its output then

from antithesis.assertions import always, always_less_than_or_equal_to, reachable, sometimes, unreachable
from antithesis.lifecycle import send_event

from bitexact.reporting.guards import Where, guard, reached_by

# What shows a failure again, by what its details say.
REPRODUCED_BY = (
    "python replay.py {run} --update={update} --rollout={index}",
    "python replay.py {run} --update={update}",
)


# ---- in a rollout -------------------------------------------------------------------------------------------------


@guard
@reached_by("every run: each rollout")
def a_step_wins_or_loses_one_point_at_most(rewards: np.ndarray, where: Where) -> bool:
    """Four frames are too short for two points."""
    holds = bool((np.abs(rewards) <= 1).all())
    always(holds, "Every step's reward is -1, 0 or 1", where)
    return holds


@guard
@reached_by("every run: each rollout")
def a_probability_lies_within_0_and_1(probabilities: np.ndarray, where: Where) -> bool:
    """False for NaN too: weights that diverge show here first."""
    holds = bool(((probabilities >= 0.0) & (probabilities <= 1.0)).all())
    always(holds, "Every action's probability lies within 0 and 1", where)
    return holds


@guard
@reached_by("every run: each rollout")
def a_reward_lies_within_21_points(reward: int, where: Where) -> bool:
    """A game ends when a side has 21 points."""
    holds = isinstance(reward, int) and abs(reward) <= 21
    details = {**where, "reward": reward}
    always(holds, "A rollout's reward is a whole number of at most 21 points either way", details)
    return holds


@guard
@reached_by("every run: each rollout that was not cut off at 27,000 steps")
def a_game_played_out_has_a_side_at_21(points_won: int, points_lost: int, where: Where) -> bool:
    """A game that ended by itself was won or lost; one that met the limit of steps is not asked."""
    holds = max(points_won, points_lost) == 21 and min(points_won, points_lost) < 21
    details = {**where, "points_won": points_won, "points_lost": points_lost}
    always(holds, "A game played out has one side at 21 points", details)
    return holds


@guard
@reached_by("every run: each rollout")
def a_gradient_has_the_shape_of_the_weights(
    gradient: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], where: Where
) -> bool:
    """Same names, shapes and dtypes."""
    holds = _kinds(gradient) == _kinds(weights)
    always(holds, "A gradient has the names, shapes and dtypes of the weights", where)
    return holds


@guard
@reached_by("every run: each rollout")
def a_gradient_is_finite(gradient: Mapping[str, np.ndarray], where: Where) -> bool:
    """No NaN, no infinity, before it is added to anything."""
    holds = _finite(gradient)
    always(holds, "Every gradient is finite", where)
    return holds


@reached_by("every run: a rollout in which the agent scores")
def a_point_is_won(points_won: int, where: Where) -> None:
    """The policy is not so bad that nothing can be learned."""
    sometimes(points_won > 0, "A rollout wins a point", where)


# ---- in an update -------------------------------------------------------------------------------------------------


@guard
@reached_by("every run: each update")
def a_batch_holds_each_index_once(indices: Sequence[int], batch_size: int, where: Where) -> bool:
    """Exactly batch_size rollouts make an update, none lost, none counted twice."""
    holds = sorted(indices) == list(range(batch_size))
    always(holds, "An update is the sum of each of its rollouts once", where)
    return holds


@guard
@reached_by("every run: each rollout counted")
def a_result_comes_from_the_current_weights(played_with: str, current: str, where: Where) -> bool:
    """Fingerprints of the weights a rollout was played with, and of the driver's."""
    holds = played_with == current
    always(holds, "Every rollout counted was played with the current weights", where)
    return holds


@guard
@reached_by(
    "faults: a raced rollout that comes back twice; one played again because its gradient was lost; an update "
    "computed again after the driver was killed"
)
def a_rollout_done_twice_gives_the_same_bytes(first: str, second: str, where: Where) -> bool:
    """A rollout is a pure function: raced, retried or recomputed, its digest is the same."""
    holds = first == second
    always(holds, "A rollout computed twice gives the same bytes", {**where, "first": first, "second": second})
    return holds


@reached_by("faults: a frozen or slow actor that answers after its rollout was counted")
def a_late_duplicate_is_dropped(where: Where) -> None:
    """Reached when a rollout that was raced comes back a second time."""
    reachable("A late duplicate of a rollout is dropped", where)


@guard
@reached_by("a preset: reinforce, updates 1, 11, 21, ...")
def a_sum_agrees_with_float64(excess: float, where: Where) -> bool:
    """The error of the sum over its bound, against an independent sum (tree_sum.Float64Sum)."""
    always_less_than_or_equal_to(excess, 1.0, "A batch's sum agrees with a float64 sum of the same gradients", where)
    return excess <= 1.0


@guard
@reached_by("faults: reinforce on a cluster (--address), each update but 1, 11, 21, ...")
def a_sum_made_on_nodes_holds_each_rollout_once(is_whole: bool, where: Where) -> bool:
    """By the fingerprints of what went into each addition there: the rollouts' own, and those of other additions."""
    always(is_whole, "A sum made on nodes holds each of its rollouts once", where)
    return is_whole


@guard
@reached_by("faults: reinforce on a cluster (--address), each update but 1, 11, 21, ...")
def a_sum_made_on_nodes_agrees_with_float64(excess: float, where: Where) -> bool:
    """The error of some entries of each addition over its bound: which, is drawn for each update."""
    always_less_than_or_equal_to(excess, 1.0, "A sum made on nodes agrees with float64 in the entries drawn", where)
    return excess <= 1.0


@guard
@reached_by("a preset: ppo, the last minibatch of updates 1, 11, 21, ...")
def a_gradient_agrees_with_float64(excess: float, where: Where) -> bool:
    """The error of a minibatch's gradient over its bound, against another computation of all of it (referee.py)."""
    always_less_than_or_equal_to(excess, 1.0, "A minibatch's gradient agrees with the same in float64", where)
    return excess <= 1.0


@guard
@reached_by("a preset: ppo, the last minibatch of updates 1, 11, 21, ...")
def a_step_agrees_with_float64(excess: float, where: Where) -> bool:
    """The error of a clipped step of Adam over its bound, weights and optimizer state, in the same way (referee.py)."""
    always_less_than_or_equal_to(excess, 1.0, "A step of Adam agrees with the same in float64", where)
    return excess <= 1.0


@guard
@reached_by("a preset: ppo, each pass")
def a_pass_uses_each_step_once(parts: Sequence[np.ndarray], count: int, where: Where) -> bool:
    """A pass over a batch's steps leaves none of them out, and learns from none twice."""
    holds = bool(np.array_equal(np.sort(np.concatenate(parts)), np.arange(count)))
    always(holds, "A pass over a batch learns from each of its steps once", where)
    return holds


@guard
@reached_by("every run: each update")
def weights_are_finite(weights: Mapping[str, np.ndarray], where: Where) -> bool:
    """The weights have not diverged to NaN or infinity."""
    holds = _finite(weights)
    always(holds, "The weights are finite", where)
    return holds


@guard
@reached_by("every run: each update")
def no_weight_moves_further_than_the_optimizer_can(largest: float, bound: float, where: Where) -> bool:
    """The largest change of a weight in this update, against what the optimizer allows."""
    always_less_than_or_equal_to(
        largest, bound, "No weight moves further in an update than the optimizer can move it", where
    )
    return largest <= bound


@guard
@reached_by("every run: each update")
def a_mean_square_is_never_negative(cache: Mapping[str, np.ndarray], where: Where) -> bool:
    """The optimizer divides by its root: an infinite one would hold its weight still for good."""
    holds = _finite(cache) and all(bool((array >= 0.0).all()) for array in cache.values())
    always(holds, "The optimizer's running mean of squares is finite and never negative", where)
    return holds


@guard
@reached_by("every run: each update")
def no_optimizer_state_is_denormal(count: int, where: Where) -> bool:
    """What decays is zero long before: some processors compute many times slower with denormal numbers."""
    always(count == 0, "No number of the optimizer's state is denormal", {**where, "count": count})
    return count == 0


# ---- in a commit, a checkpoint, a resume --------------------------------------------------------------------------


@guard
@reached_by("every run: each update")
def updates_are_committed_in_order(update: int, last: int, where: Where) -> bool:
    """Each update follows the last one recorded, or repeats one that is recorded."""
    holds = 1 <= update <= last + 1
    always(holds, "Updates are committed in order, each once", {**where, "last": last})
    return holds


@guard
@reached_by("faults: the driver killed between two checkpoints, and resumed")
def an_update_done_again_gives_its_recorded_digest(digest: str, recorded: str, where: Where) -> bool:
    """After a resume, the updates since the checkpoint must come out as they did."""
    holds = digest == recorded
    always(holds, "An update computed again has its recorded digest", {**where, "digest": digest, "recorded": recorded})
    return holds


@guard
@reached_by("a test command: each update of a scenario whose digests are in the image (RAY_PONG_GOLDEN)")
def an_update_has_its_golden_digest(digest: str, golden: str, where: Where) -> bool:
    """What one process computed without Ray, before any fault: no bit may differ, whatever has happened since."""
    details = {**where, "digest": digest, "golden": golden}
    always(digest == golden, "An update has the digest that was computed beforehand without Ray", details)
    return digest == golden


@reached_by("faults: the driver killed between two checkpoints, and resumed")
def an_update_is_done_again(where: Where) -> None:
    """Reached when a run resumes behind its ledger."""
    reachable("An update is computed again after a resume", where)


@guard
@reached_by("a resume: the first update after --resume")
def a_resumed_run_continues_after_its_checkpoint(first_update: int, checkpoint_update: int, where: Where) -> bool:
    """No update is skipped, none before the checkpoint is repeated."""
    holds = first_update == checkpoint_update + 1
    always(holds, "A resumed run continues at its checkpoint's update + 1", where)
    return holds


@reached_by("a resume: --resume of a run that has a checkpoint")
def a_run_resumes_after_update_0(checkpoint_update: int, where: Where) -> None:
    """Resuming from the initial weights would be a start, not a resume."""
    sometimes(checkpoint_update > 0, "A run resumes after update 0", where)


@guard
@reached_by("every run: each checkpoint")
def a_checkpoint_reads_back_as_written(read_digest: str, written_digest: str, where: Where) -> bool:
    """Read from the disk, the file gives the state that was to be saved."""
    holds = read_digest == written_digest
    always(holds, "A checkpoint reads back as written", where)
    return holds


@guard
@reached_by("every run: each update")
def one_driver_writes_a_run(holds_the_lock: bool, where: Where) -> bool:
    """At each commit the run directory's lock is still this driver's."""
    always(holds_the_lock, "Only the driver that holds a run's lock commits to it", where)
    return holds_the_lock


# ---- in an evaluation ---------------------------------------------------------------------------------------------


@guard
@reached_by("an evaluation: each game")
def a_score_never_decreases(points_for: np.ndarray, points_against: np.ndarray, where: Where) -> bool:
    """The game's own memory says what the score is; a state that leaks from another game, or is restored, is seen."""
    holds = all(bool((points[1:] >= points[:-1]).all()) for points in (points_for, points_against))
    always(holds, "In an evaluation, a score once counted never decreases", where)
    return holds


@guard
@reached_by("an evaluation: each game")
def a_score_is_the_sum_of_its_rewards(points_won: int, points_for: int, where: Where) -> bool:
    """Nothing the game counted is missing from the rewards, and nothing was counted twice."""
    details = {**where, "points_won": points_won, "points_for": points_for}
    always(points_won == points_for, "In an evaluation, the rewards add up to the game's own score", details)
    return points_won == points_for


# ---- in the cluster -----------------------------------------------------------------------------------------------


@guard
@reached_by("every run: each update")
def a_rollout_is_begun_within_its_limit(executions: int, limit: int, where: Where) -> bool:
    """The executions of the rollout that had most of them: a game that always kills its actor comes to an end."""
    always_less_than_or_equal_to(executions, limit, "No rollout is begun more often than its limit", where)
    return executions <= limit


@reached_by("faults: an actor killed while it plays")
def a_batch_completes_although_an_actor_died(actors_lost: int, where: Where) -> None:
    """Reached when an update is committed in which an actor was lost."""
    sometimes(actors_lost > 0, "A batch completes although an actor died in it", where)


@reached_by("faults: an actor or its node killed while another node has an actor")
def a_rollout_moves_to_another_node(moved: int, where: Where) -> None:
    """Reached when a lost rollout is dispatched again on another node."""
    sometimes(moved > 0, "A lost rollout is computed on another node", where)


@reached_by("a bug: an exception of our own, which ends the driver with exit code 6")
def no_exception_is_our_own(where: Where) -> None:
    """What the infrastructure does is sorted and answered; whatever else is raised is a mistake in this program."""
    unreachable("The driver is not ended by an exception of its own", where)


# ---- in a test command ----------------------------------------------------------------------------------------------


@guard
@reached_by("a test command: anytime_check_ledger")
def a_ledger_holds_each_update_once(irregularities: Sequence[str], where: Where) -> bool:
    """Whatever was killed, the ledger has no gap and no repetition, and never takes anything back."""
    holds = not irregularities
    always(holds, "The ledger holds each update and each of its rollouts once", {**where, "found": irregularities[:5]})
    return holds


@guard
@reached_by("a test command: anytime_check_ledger, at the second time and later")
def what_was_committed_stays(missing: Sequence[str], where: Where) -> bool:
    """Whatever was killed since somebody read it: an update is not lost, and its digest is the same."""
    holds = not missing
    always(holds, "No update that was seen in the ledger is ever lost or changed", {**where, "missing": missing[:5]})
    return holds


@guard
@reached_by("a test command: parallel_driver_replay_update")
def a_copy_can_be_resumed(bears_out: bool, where: Where) -> bool:
    """A copy of the run directory, taken while it is written, gives a state that its own ledger bears out."""
    always(bears_out, "A copy of the run directory taken at any instant can be resumed", where)
    return bears_out


@guard
@reached_by("a test command: parallel_driver_second_driver")
def a_second_driver_is_refused(refused: bool, where: Where) -> bool:
    """A run is written by one driver: another is told who holds it."""
    always(refused, "A second driver of a run is refused while the first one lives", where)
    return refused


@guard
@reached_by("a test command: parallel_driver_replay_update and finally_replay_sample")
def a_recorded_update_can_be_replayed(difference: str, where: Where) -> bool:
    """Recomputed on one process without Ray, an update gives what the ledger says of it."""
    always(not difference, "A recorded update can be recomputed to the bit", {**where, "difference": difference})
    return not difference


@guard
@reached_by("a test command: first_scenario_begins, serial_driver_recover and eventually_training_advances")
def training_advances(advanced: bool, where: Where) -> bool:
    """Once nothing fails any more, updates are committed again: no fault leaves the cluster stuck."""
    always(advanced, "Once faults stop, training advances", where)
    return advanced


# ---- what happens, without a claim --------------------------------------------------------------------------------


def it_happens(event: str, details: Where) -> None:
    """Tell the platform, whose log can be searched for the event's name. Here the ledger and events.jsonl say it."""
    send_event(event, details)


def _kinds(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, array.dtype.str) for name, array in arrays.items()}


def _finite(arrays: Mapping[str, np.ndarray]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays.values())
