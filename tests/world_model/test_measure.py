"""The measures: zero for the exact game, and right where a hand can count."""

from pathlib import Path

import numpy as np

from world_model import measure, recording
from world_model.baselines import baselines, exact_table
from world_model.compare import CompareSettings, measured
from world_model.model import load
from world_model.states import BALL_Y, PREDICTED_EVENTS, SPEED_Y
from world_model.table import TableSettings


def test_the_exact_game_compared_with_itself_is_never_off(table: Path) -> None:
    held_out = recording.read(table, "heldout")
    starts = measure.starts_of(held_out, 200, 150, seed=0)
    figures = measure.compared(exact_table(TableSettings()), starts, held_out.layout)
    assert all(errors == [0.0, 0.0, 0.0] for errors in figures["ball_error"].values())
    assert figures["steps_until_off"] is None
    assert all(one == {"precision": 1.0, "recall": 1.0, "f1": 1.0} for one in figures["events"].values())


def test_baselines_are_right_until_the_first_hit(table: Path) -> None:
    held_out = recording.read(table, "heldout")
    starts = measure.starts_of(held_out, 200, 60, seed=1)
    low, high = 0.01, 0.99
    for name, predict in baselines(low, high).items():
        found, _ = predict(starts.warm, starts.actions, starts.states)
        error = measure.ball_error(found, starts.states, 1.0)
        walls_too = 3 if "walls" in name else 2
        happened = np.cumsum(starts.events[:, :, [0, 1, 3, 4, 2][: 2 + 3]].sum(axis=2), axis=1)
        hits = np.cumsum(starts.events[:, :, [0, 1, 3, 4]].sum(axis=2), axis=1)
        quiet = (happened == 0) if walls_too == 2 else (hits == 0)
        if name == "nothing changes":
            speed = np.abs(starts.warm[:, -1, SPEED_Y])
            assert (error[:, 0] >= speed - 1e-12).mean() > 0.9
        else:
            assert error[quiet & starts.inside].max() < 1e-9


def test_a_median_takes_rallies_that_end_before_as_unknown() -> None:
    off = np.zeros((4, 10), bool)
    inside = np.ones((4, 10), bool)
    off[0, 4:] = off[1, 6:] = True
    assert measure._steps_until_off(off, inside) == 7
    inside[2, 5:] = inside[3, 5:] = False  # of the two that are left at step 7, one is off: as many as if four were
    assert measure._steps_until_off(off, inside) == 7
    assert measure._steps_until_off(off[2:], inside[2:]) is None


def test_events_count_within_two_steps() -> None:
    true, found = np.zeros((1, 20, 6), bool), np.zeros((1, 20, 6), bool)
    true[0, [5, 15], 0] = True
    found[0, [7, 10], 0] = True
    scores = measure.event_scores(found, true, np.ones((1, 20), bool))[PREDICTED_EVENTS[0]]
    assert (scores["precision"], scores["recall"]) == (0.5, 0.5)


def test_figures_of_a_model_are_whole(table: Path, small_model: Path) -> None:
    model, held_out = load(small_model), recording.read(table, "heldout")
    figures = measured(model, held_out, CompareSettings(str(small_model), table, starts=20, steps=120))
    assert set(figures["open_loop"]) == {"nothing changes", "constant speed", "constant speed, walls", "model"}
    assert figures["games"]["exact"]["games"] == figures["games"]["model"]["games"] == 6
    assert model.constants.high[BALL_Y] > 0.95
