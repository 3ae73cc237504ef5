"""Bugs planted one by one: each is caught by the property meant for it, before anything of it is committed."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from small_runs import Diary, go_on, small_settings, stand_in, train, written

import policy
from bitexact.cli.exits import PropertyFailed
from bitexact.determinism.arrays import Arrays, zeros_like
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage import checkpoints, durable
from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId
from training import initial_state, recorder, reinforce_batch, rmsprop
from training.rmsprop import RMSProp
from training.rollout_task import GradientTask
from training.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return small_settings(tmp_path / "run", keep_checkpoints=9)


@pytest.fixture
def behind(settings: Settings) -> Settings:
    """Four updates are recorded, the checkpoint is of the second: 3 and 4 will be done again."""
    train(dataclasses.replace(settings, updates=4))
    checkpoint(settings, 4).unlink()
    return settings


def checkpoint(settings: Settings, update: int) -> Path:
    return settings.directory / "checkpoints" / f"update-{update:08d}.npz"


def caught(settings: Settings, by: Callable[..., None] | str, update: int, **how) -> None:
    """Assert that the run stops at an update by this property, and that nothing of the update is written."""
    name = by if isinstance(by, str) else by.__name__
    before = lines_of(settings)
    diary = Diary()
    with pytest.raises(PropertyFailed, match=f"^property failed: {name.replace('_', ' ')} .*update {update}\\b"):
        go_on(settings, diary, **how)
    assert diary.computed[-1] == update
    assert diary.committed == diary.computed[:-1]
    assert lines_of(settings) == list(range(1, max(len(before), update - 1) + 1))


def lines_of(settings: Settings) -> list[int]:
    """The updates recorded."""
    path = settings.directory / "metrics.jsonl"
    return [json.loads(line)["update"] for line in path.read_text().splitlines()] if path.exists() else []


def backwards(indices: Iterable[int]) -> Iterable[int]:
    return reversed(list(indices))


# ---- in the batch -----------------------------------------------------------------------------------------------


class SumInOrderOfArrival(TreeSum):
    """The bug: whatever comes next is added to what there is."""

    def __init__(self, size: int) -> None:
        self._total: Arrays = {}

    def add(self, index: int, gradient: Arrays) -> None:
        self._total = {name: self._total[name] + array if self._total else array for name, array in gradient.items()}

    def total(self) -> Arrays:
        return self._total


def test_the_order_of_arrival_does_not_show(settings, tmp_path):
    other = dataclasses.replace(settings, run_dir=tmp_path / "other")
    assert train(settings).digest() == train(other, arrival=backwards).digest()
    assert written(settings.directory) == written(other.directory)


def test_sums_in_order_of_arrival_are_caught_when_an_update_is_done_again(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(reinforce_batch, "TreeSum", SumInOrderOfArrival)
    train(dataclasses.replace(settings, updates=4))
    checkpoint(settings, 4).unlink()
    caught(settings, "an_update_done_again_gives_its_recorded_digest", 3, arrival=backwards)


@pytest.mark.parametrize("indices", [[0, 1, 1], [0, 1, 2, 2], [0, 0, 1, 2], [0, 1], [0, 1, 2, 3], [1, 2, 3]])
def test_a_rollout_counted_twice_or_not_at_all_is_caught(settings, indices):
    caught(settings, "a_batch_holds_each_index_once", 1, arrival=lambda _: indices)


@pytest.mark.parametrize("times", [0.0, 2.0])
def test_a_rollout_counted_once_by_name_but_not_in_the_sum_is_caught(settings, monkeypatch, times):
    class Miscounting(TreeSum):
        def add(self, index: int, gradient: Arrays) -> None:
            factor = np.float32(times if index == 1 else 1.0)
            super().add(index, {name: array * factor for name, array in gradient.items()})

    monkeypatch.setattr(reinforce_batch, "TreeSum", Miscounting)
    caught(settings, "a_sum_agrees_with_float64", 1)


def test_a_rollout_played_with_stale_weights_is_caught(settings):
    def stale(settings: Settings, weights: Arrays, update: int, index: int):
        first = initial_state.from_seed(settings).weights
        return stand_in(settings, first if (update, index) == (3, 2) else weights, update, index)

    caught(settings, "a_result_comes_from_the_current_weights", 3, rollout=stale)


def test_a_rollout_that_is_no_pure_function_is_caught_when_it_is_done_again(behind):
    calls = itertools.count()

    def impure(settings: Settings, weights: Arrays, update: int, index: int):
        return stand_in(dataclasses.replace(settings, seed=next(calls)), weights, update, index)

    caught(behind, "a_rollout_done_twice_gives_the_same_bytes", 3, rollout=impure)


# ---- in the step ------------------------------------------------------------------------------------------------


def with_bad_gradient(value: float, update: int):
    """Rollouts of which one, of some update, has a bad entry in its gradient."""

    def bad(settings: Settings, weights: Arrays, number: int, index: int):
        gradient, record = stand_in(settings, weights, number, index)
        if (number, index) == (update, 1):
            gradient["W1"][77, 0] = value
        return gradient, record

    return bad


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("update", [2, 3])
def test_a_gradient_that_is_no_number_is_caught_in_the_weights_if_an_actor_let_it_pass(settings, value, update):
    caught(settings, "weights_are_finite", update, rollout=with_bad_gradient(value, update))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_is_caught_where_it_is_computed(settings, monkeypatch, value):
    gradient = policy.gradient

    def bad(*arguments):
        arrays = gradient(*arguments)
        arrays["W2"][0] = value
        return arrays

    monkeypatch.setattr(policy, "gradient", bad)
    weights = initial_state.from_seed(settings).weights
    with pytest.raises(PropertyFailed, match=r"^property failed: a gradient is finite \(update 1, index 0\)"):
        GradientTask(discount=0.99).run(Pong(), weights, RolloutId(seed=0, update=1, index=0))


def plant_in_rmsprop(monkeypatch, change: Callable[..., tuple[Arrays, Arrays]]) -> None:
    """Let `change(weights, new_weights, new_square)` have the last word."""
    step = RMSProp.step

    def planted(optimizer: RMSProp, weights: Arrays, *others):
        new_weights, new_optimizer = step(optimizer, weights, *others)
        new_weights, new_square = change(weights, new_weights, new_optimizer.square)
        return new_weights, RMSProp(new_square)

    monkeypatch.setattr(RMSProp, "step", planted)


def test_a_step_one_percent_too_large_is_caught(settings, monkeypatch):
    def too_large(weights, new_weights, new_square):
        longer = np.float32(1.01)
        return {name: w + (new_weights[name] - w) * longer for name, w in weights.items()}, new_square

    plant_in_rmsprop(monkeypatch, too_large)
    caught(settings, "no_weight_moves_further_than_the_optimizer_can", 1)


def test_a_step_divided_by_the_cache_from_before_is_caught(settings, monkeypatch):
    def too_early(optimizer, weights, gradient, learning_rate, decay_rate):
        _, new_optimizer = step(optimizer, weights, gradient, learning_rate, decay_rate)
        rate, epsilon, square = np.float32(learning_rate), np.float32(rmsprop.EPSILON), optimizer.square
        return {
            name: w + rate * gradient[name] / (np.sqrt(square[name]) + epsilon) for name, w in weights.items()
        }, new_optimizer

    step = RMSProp.step
    monkeypatch.setattr(RMSProp, "step", too_early)
    caught(settings, "no_weight_moves_further_than_the_optimizer_can", 1)


def test_a_negative_mean_square_is_caught(settings, monkeypatch):
    def negative(weights, new_weights, new_square):
        new_square["W1"][5, 0] = -1e-12
        return new_weights, new_square

    plant_in_rmsprop(monkeypatch, negative)
    caught(settings, "a_mean_square_is_never_negative", 1)


def test_a_mean_square_that_is_no_number_is_caught(settings, monkeypatch):
    def no_number(weights, new_weights, new_square):
        new_square["W2"][0] = np.nan
        return new_weights, new_square

    plant_in_rmsprop(monkeypatch, no_number)
    caught(settings, "a_mean_square_is_never_negative", 1)


# ---- in the commit ----------------------------------------------------------------------------------------------


def test_an_update_left_out_is_caught(settings, monkeypatch):
    def skipping(batch):
        following = batch.learn()
        return dataclasses.replace(following, update=following.update + (following.update == 3))

    with pytest.raises(PropertyFailed, match=r"^property failed: updates are committed in order \(update 4\)"):
        train(settings, learn=skipping)
    assert lines_of(settings) == [1, 2]


def test_a_resume_that_leaves_an_update_out_is_caught(behind, monkeypatch):
    restore = recorder.Recorder.restore

    def one_too_far(self) -> State:
        restored = restore(self)
        return dataclasses.replace(restored, update=restored.update + 1)

    monkeypatch.setattr(recorder.Recorder, "restore", one_too_far)
    caught(behind, "a_resumed_run_continues_after_its_checkpoint", 4)


def test_a_checkpoint_written_wrong_is_caught_when_it_is_read_back(settings, monkeypatch):
    write = durable.write_atomically

    def short(path: Path, data: bytes) -> None:
        write(path, data[:-1] if path.suffix == ".npz" else data)

    monkeypatch.setattr(durable, "write_atomically", short)
    with pytest.raises(PropertyFailed, match=r"^property failed: a checkpoint reads back as written \(update 2\)"):
        train(settings)


# ---- at a resume ------------------------------------------------------------------------------------------------


def without_optimizer(loaded: State) -> State:
    """The bug: RMSProp begins anew."""
    return dataclasses.replace(loaded, optimizer=zeros_like(loaded.optimizer))


def test_optimizer_state_lost_at_a_resume_is_caught_when_an_update_is_done_again(behind, monkeypatch):
    restore = recorder.Recorder.restore
    monkeypatch.setattr(recorder.Recorder, "restore", lambda self: without_optimizer(restore(self)))
    caught(behind, "an_update_done_again_gives_its_recorded_digest", 3)


def test_optimizer_state_lost_in_loading_is_caught_when_a_checkpoint_is_read_back(settings, monkeypatch):
    load = checkpoints.load
    monkeypatch.setattr(checkpoints, "load", lambda *arguments: without_optimizer(load(*arguments)))
    with pytest.raises(PropertyFailed, match=r"^property failed: a checkpoint reads back as written \(update 2\)"):
        train(settings)


def test_optimizer_state_lost_in_loading_is_not_gone_on_with(settings, monkeypatch):
    train(dataclasses.replace(settings, updates=4))
    load, diary = checkpoints.load, Diary()
    monkeypatch.setattr(checkpoints, "load", lambda *arguments: without_optimizer(load(*arguments)))
    with pytest.raises(PropertyFailed, match="a checkpoint reads back as written"):
        go_on(settings, diary)
    assert diary.began_after == 0
    for note, update in zip(diary.notes[:2], (4, 2), strict=True):
        assert note.startswith(f"{checkpoint(settings, update)} has another digest than the ledger's update {update}")


def test_an_altered_ledger_line_is_caught_when_its_update_is_done_again(behind):
    alter_digest(behind, 4)
    caught(behind, "an_update_done_again_gives_its_recorded_digest", 4)


def test_an_altered_ledger_line_of_a_checkpoints_update_is_caught_too(settings):
    """Checkpoint and ledger disagree, each sound in itself: computing the update again decides between them."""
    train(dataclasses.replace(settings, updates=4))
    alter_digest(settings, 4)
    caught(settings, "an_update_done_again_gives_its_recorded_digest", 4)


def alter_digest(settings: Settings, update: int) -> None:
    path = settings.directory / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    line = json.loads(lines[update - 1])
    lines[update - 1] = json.dumps({**line, "weights_digest": line["weights_digest"][::-1]}) + "\n"
    path.write_text("".join(lines))


@pytest.mark.parametrize("name", ["W1", "W2", "cache_W1", "cache_W2"])
def test_a_checkpoint_altered_together_with_its_digest_is_named_and_not_used(settings, tmp_path, name):
    train(dataclasses.replace(settings, updates=4))
    some = checkpoints.Checkpoints(settings.directory / "checkpoints")
    saved = some.load(4, initial_state.from_seed(settings))
    arrays = saved.arrays()
    arrays[name] = np.nextafter(arrays[name], np.float32(np.inf))
    altered = saved.with_arrays(4, arrays)
    some.save(altered)
    assert some.load(4, initial_state.from_seed(settings)).digest() == altered.digest()  # sound in itself
    diary = Diary()
    undisturbed = dataclasses.replace(settings, run_dir=tmp_path / "undisturbed")
    assert go_on(settings, diary).digest() == train(undisturbed).digest()
    assert diary.began_after == 2
    assert diary.notes[0].startswith(f"{some.path(4)} has another digest than the ledger's update 4")
    assert written(settings.directory) == written(undisturbed.directory)
