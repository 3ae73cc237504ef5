"""Labels, bands and cells of runs of several seeds, against medians by hand."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from bitexact.cli.exits import BadInput
from bitexact.reporting import bands


def points(*heights, every=1.0):
    return every * np.arange(1, len(heights) + 1), np.array(heights)


def test_a_label_says_what_differs_among_runs_of_its_name_but_the_seed():
    runs = [
        {"kind": "a", "seed": 1, "learning_rate": 0.1, "layers": [8]},
        {"kind": "a", "seed": 2, "learning_rate": 0.1, "layers": [8]},
        {"kind": "a", "seed": 1, "learning_rate": 0.2, "layers": [8]},
        {"kind": "b", "seed": 1, "learning_rate": 0.3, "layers": [8, 8]},
    ]
    found = bands.labels(runs, "kind")
    assert found == ["a, learning rate 0.1", "a, learning rate 0.1", "a, learning rate 0.2", "b"]
    assert bands.grouped(found, [1, 2, 3, 4]) == {found[0]: [1, 2], found[2]: [3], "b": [4]}


def test_a_band_is_median_and_range_where_all_have_values():
    curves = [points(0.0, 2.0, 4.0), points(1.0, 1.0, 1.0, 9.0), points(-3.0, -3.0, -3.0)]
    places, (low, middle, high) = bands.band(curves)
    assert (places[0], places[-1]) == (1.0, 3.0)
    assert (low[0], middle[0], high[0]) == (-3.0, 0.0, 1.0)
    assert (low[-1], middle[-1], high[-1]) == (-3.0, 1.0, 4.0)


def test_several_are_drawn_as_a_median_in_a_band_and_one_as_a_line():
    axes = Figure().subplots()
    bands.draw(axes, {"three": [points(0.0, 0.0), points(1.0, 2.0), points(3.0, 3.0)], "one": [points(5.0, 6.0)]})
    assert [line.get_label() for line in axes.lines] == ["three (3 seeds: median, lowest to highest)", "one"]
    assert [line.get_ydata()[-1] for line in axes.lines] == [2.0, 6.0]
    assert len(axes.collections) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([2.0], "2.0"),
        ([3.0, 1.0, 2.0], "2.0 (1.0 to 3.0)"),
        ([1.0, math.inf, math.inf], "not (1.0 to not)"),
        ([1.0, math.nan], "-"),
    ],
)
def test_a_cell_is_the_median_with_its_range(values, said):
    assert bands.cell(values, "{:.1f}") == said


def test_a_picture_of_another_kind_or_in_no_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="gif"):
        bands.expect_a_picture(tmp_path / "a.gif")
    with pytest.raises(BadInput, match="cannot be written"):
        bands.save(Figure(), tmp_path / "missing" / "a.png")
