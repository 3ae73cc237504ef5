"""A run: iterations one after the other, each a function of the one before, until enough steps were played.

    RayWorkerRuntime(config, progress, interrupts).run(directory)

An iteration in which a runner was lost does not count: the run goes back to its last checkpoint, makes everything anew,
and does the iterations since then again, each of which must give its recorded digest. A kill of this process is the
same, with --resume. Files: metrics.jsonl, checkpoints/, analytics.json, events.jsonl; tensorboard/ if asked for.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitexact.cli.exits import PropertyFailed
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import Progress
from bitexact.determinism import digests
from bitexact.storage import checkpoints
from bitexact.storage.checkpoints import BadCheckpoint
from bitexact.storage.run_directory import RunDirectory
from bitexact.storage.state import State
from rllib_worker import algorithms, invariants, policies, policy_file, tree
from rllib_worker.analytics import Analytics
from rllib_worker.config import PolicyConfiguration, RayWorkerConfig
from rllib_worker.env_runner import EpisodeRecord
from rllib_worker.league import League
from rllib_worker.pause import wait_while_paused
from rllib_worker.seeds import Address
from rllib_worker.shown_elsewhere import ShownElsewhere
from rllib_worker.trainer import Outcome, Trainer, weights

_GOING_BACK = 20  # times in a row that runners may be lost before the run gives up
POLICIES = "policies"
_LAST = 100  # episodes of the mean that is shown


@dataclass
class _Reached:
    """Where a run stands."""

    iteration: int = 0
    steps: int = 0
    digest: str = ""
    league: League | None = None
    rewards: deque[float] = field(default_factory=lambda: deque(maxlen=_LAST))


class RayWorkerRuntime:
    """One run by this process. Ray must be running."""

    def __init__(self, config: RayWorkerConfig, progress: Progress, interrupts: Interrupts) -> None:
        self._config, self._progress, self._interrupts = config, progress, interrupts
        self._began = time.monotonic()

    def run(self, directory: RunDirectory) -> None:
        """Train to the end. Raises Ended: interrupted, a property failed, the disk refused."""
        analytics = Analytics(self._config, directory.path)
        analytics.write("running")
        with ShownElsewhere(self._config, directory.path) as elsewhere:
            for _ in range(_GOING_BACK):
                with Trainer(self._config) as trainer:
                    attempt = _Attempt(self._config, directory, trainer, self._progress, self._interrupts, self._began)
                    if attempt.train(elsewhere.update, analytics):
                        analytics.write("done")
                        return
        raise PropertyFailed(f"env runners were lost {_GOING_BACK} times in a row: see {directory.path}/events.jsonl.")


class _Attempt:
    """A run from its last checkpoint on, as long as no runner is lost."""

    def __init__(
        self,
        config: RayWorkerConfig,
        directory: RunDirectory,
        trainer: Trainer,
        progress: Progress,
        interrupts: Interrupts,
        began: float,
    ) -> None:
        self._config, self._directory, self._trainer = config, directory, trainer
        self._progress, self._interrupts, self._began = progress, interrupts, began
        self._reached = self._start()
        self._saved = self._reached.iteration

    def train(self, show: Callable[[dict[str, Any]], None], analytics: Analytics) -> bool:
        """Whether the run is done; False if a runner was lost."""
        while self._reached.steps < self._config.training.total_timesteps:
            self._stop_if_asked()
            started, at = time.monotonic(), self._reached
            self._trainer.begin(at.iteration + 1, at.league.added if at.league else 0, at.steps)
            outcome = self._trainer.train()
            if outcome.lost:
                self._tell_of_lost(outcome.lost)
                return False
            metrics = self._commit(outcome, time.monotonic() - started)
            show(metrics)
            if self._reached.iteration % self._config.checkpoint.checkpoint_freq == 0:
                self._save(analytics)
        if self._config.checkpoint.checkpoint_at_end:
            self._save(analytics)
        if self._config.checkpoint.export_policy:
            self._export(analytics)
        return True

    def _export(self, analytics: Analytics) -> None:
        """Write each policy that learned to a file of its own."""
        arrays = tree.flatten({"trainer": self._trainer.state(buffer=False)})
        folder = self._directory.path / POLICIES
        folder.mkdir(exist_ok=True)
        for name in policies.learning(self._config, self._trainer.game.agents):
            path = folder / f"{name}.npz"
            policy_file.save(policy_file.of_arrays(self._config, arrays, name), path)
            analytics.artifact(f"policy {name}", path)

    def _start(self) -> _Reached:
        """Restore the newest good checkpoint, or begin."""
        league = None
        if self._config.policy_configuration is PolicyConfiguration.SELF_PLAY:
            league = League(policies.league_settings(self._config))
        found = self._newest_good()
        if found is None:
            if league is not None:
                self._add_snapshot(league, 0)
            return _Reached(digest=digests.digest(weights(self._trainer.state(buffer=False))), league=league)
        state = tree.restore(found.arrays())
        self._trainer.restore(state["trainer"])
        if league is not None:
            league = League.parse(league.settings, state["league"])
        reached = _Reached(found.update, state["steps"], digests.digest(weights(state["trainer"])), league)
        reached.rewards.extend(state["rewards"])
        self._progress.note(f"going on after iteration {found.update}, {state['steps']:,} steps")
        invariants.a_resumed_worker_continues_after_its_checkpoint(
            reached.iteration + 1, found.update, where={"run": self._config.run_id}
        )
        return reached

    def _newest_good(self) -> State | None:
        ledger = self._directory.ledger
        for update in reversed(self._directory.checkpoints.updates()):
            path = self._directory.checkpoints.path(update)
            try:
                found = checkpoints.load_any(path)
                digest = digests.digest(weights(tree.restore(found.arrays())["trainer"]))
                if ledger.digest(update) != digest:
                    raise BadCheckpoint(f"{path} has another digest than the ledger's iteration {update}")
                return found
            except BadCheckpoint as bad:
                self._progress.note(f"{bad}; the one before it is used")
        return None

    def _commit(self, outcome: Outcome, seconds: float) -> dict[str, Any]:
        """Check an iteration and write it down."""
        at = self._reached
        iteration, where = at.iteration + 1, {"iteration": at.iteration + 1}
        self._check_episodes(outcome.records)
        if at.league is not None:
            self._check_snapshots(at.league)
            at.league.count(outcome.records)
            due = at.league.is_due()
            invariants.a_snapshot_is_added(due, where)
            if due:
                self._add_snapshot(at.league, iteration)
        arrays = weights(self._trainer.state(buffer=False))
        invariants.worker_weights_are_finite(arrays, where=where)
        digest = digests.digest(arrays)
        steps = at.steps + outcome.steps
        must_change = self._config.training.parameters().get("learning_starts", 0) <= at.steps
        invariants.an_iteration_makes_progress(outcome.steps, digest != at.digest or not must_change, where=where)
        metrics = self._metrics(outcome, seconds, iteration, steps, digest)
        self._record(metrics)
        at.iteration, at.steps, at.digest = iteration, steps, digest
        return metrics

    def _metrics(self, outcome: Outcome, seconds: float, iteration: int, steps: int, digest: str) -> dict[str, Any]:
        """An iteration's line. Rewards are those of the policies that learn, an episode's mean over its agents."""
        learning = set(policies.learning(self._config, self._trainer.game.agents))
        rewards = [_reward(record, learning) for record in outcome.records]
        self._reached.rewards.extend(rewards)
        lengths = [record.length for record in outcome.records]
        line: dict[str, Any] = {
            "update": iteration,
            "weights_digest": digest,
            "steps": outcome.steps,
            "steps_total": steps,
            "rollouts": len(outcome.records),
            "reward_mean": float(np.mean(rewards)) if rewards else 0.0,
            "reward_mean_100": float(np.mean(self._reached.rewards)) if self._reached.rewards else 0.0,
            "episode_length_mean": float(np.mean(lengths)) if lengths else 0.0,
            "steps_per_s": outcome.steps / seconds,
            "iteration_time_s": seconds,
            "wall_time_s": time.monotonic() - self._began,
            "losses": outcome.losses,
        }
        league = self._reached.league
        if league is not None:
            line |= {"snapshots": league.added, "score_against_newest": league.score}
        return line

    def _record(self, metrics: dict[str, Any]) -> None:
        ledger, iteration = self._directory.ledger, metrics["update"]
        recorded = ledger.digest(iteration)
        where = {"iteration": iteration}
        invariants.no_iteration_is_lost(iteration, ledger.last_update, where=where)
        if recorded is not None and self._config.training.algorithm in algorithms.REPRODUCIBLE:
            invariants.an_iteration_done_again_gives_its_recorded_digest(
                metrics["weights_digest"], recorded, where=where
            )
        ledger.commit(metrics, [])
        self._progress.update(metrics)

    def _save(self, analytics: Analytics) -> None:
        """Write a checkpoint, read it back, and drop old ones."""
        at = self._reached
        if self._saved == at.iteration:
            return
        whole = {
            "trainer": self._trainer.state(),
            "league": at.league.dump() if at.league else None,
            "steps": at.steps,
            "rewards": list(at.rewards),
        }
        state = State(at.iteration, tree.flatten(whole, joined=("trainer", "buffer")), {})
        path = self._directory.checkpoints.save(state)
        invariants.a_worker_checkpoint_reads_back_as_written(
            checkpoints.load_any(path).digest(), state.digest(), where={"iteration": at.iteration}
        )
        self._directory.checkpoints.prune(self._config.checkpoint.keep_checkpoints_num, at.iteration)
        self._saved = at.iteration
        analytics.checkpoint(at.iteration, path, at.steps, state.digest())

    def _stop_if_asked(self) -> None:
        """End, with a checkpoint, if a signal came; hold while the run is paused."""
        wait_while_paused(self._directory.path, self._progress.note, self._interrupts.check)
        self._interrupts.check()

    def _check_episodes(self, records: list[EpisodeRecord]) -> None:
        league = self._reached.league
        for record in records:
            if record.iteration != self._reached.iteration + 1:
                continue  # begun in an iteration before: its league may have been another
            address = Address(self._config.seed, record.iteration, record.runner, record.episode)
            drawn = policies.assignment(self._config, self._trainer.game.agents, address, league.added if league else 0)
            expected = {agent: drawn[agent] for agent in record.modules}
            where = {"runner": record.runner, "episode": record.episode}
            invariants.an_episode_maps_as_the_seed_says(record.modules, expected, where=where)

    def _check_snapshots(self, league: League) -> None:
        found = self._trainer.module_digests()
        for snapshot in league.snapshots:
            for number, digest in enumerate(found[snapshot.place]):
                where = {"place": snapshot.place, "at": "learner" if number == 0 else f"runner {number - 1}"}
                invariants.a_snapshot_never_changes(digest, snapshot.digest, where=where)

    def _add_snapshot(self, league: League, iteration: int) -> None:
        where = league.next_place
        self._trainer.copy_module(policies.MAIN, where)
        league.add(iteration, self._trainer.module_digests()[policies.MAIN][0])
        if iteration:
            self._progress.note(f"iteration {iteration}: main joins the league as {where}")

    def _tell_of_lost(self, lost: list[int]) -> None:
        names = ", ".join(map(str, lost))
        iteration = self._reached.iteration + 1
        invariants.a_runner_is_replaced(where={"iteration": iteration})
        self._progress.note(
            f"env runner {names} was lost in iteration {iteration}: going back to iteration {self._saved}"
        )
        self._directory.ledger.add_event(
            {
                "wall_time_s": time.monotonic() - self._began,
                "update": iteration,
                "event": "env runner lost",
                "runners": lost,
            }
        )


def _reward(record: EpisodeRecord, learning: set[str]) -> float:
    mine = [value for agent, value in record.returns.items() if record.modules[agent] in learning]
    return float(np.mean(mine)) if mine else 0.0
