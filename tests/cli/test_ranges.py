"""A field's range against comparisons written out, and the sentence that names what was wanted."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitexact.cli.exits import BadInput
from bitexact.cli.ranges import POSITIVE, check_values, real, whole


@dataclass(frozen=True)
class Some:
    count: Annotated[int, whole(1)] = 1
    few: Annotated[int, "of another library", whole(0, 9)] = 0
    rate: Annotated[float, real(-1.0, 2.0)] = 0.5
    seconds: Annotated[float | None, POSITIVE] = None
    on: bool = False
    name: str | None = None
    kind: Literal["this", "that"] = "this"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("count", 0, "--count must be a whole number from 1, not 0."),
        ("count", 1.0, "--count must be a whole number from 1, not 1.0."),
        ("count", True, "--count must be a whole number from 1, not True."),
        ("count", None, "--count must be a whole number from 1, not None."),
        ("few", 10, "--few must be a whole number from 0 to 9, not 10."),
        ("rate", math.nan, "--rate must be a number from -1 to 2, not nan."),
        ("rate", "1", "--rate must be a number from -1 to 2, not 1."),
        ("rate", [1], "--rate must be a number from -1 to 2, not [1]."),
        ("seconds", 0.0, "--seconds must be a finite number above 0, not 0.0."),
        ("seconds", math.inf, "--seconds must be a finite number above 0, not inf."),
        ("on", 1, "--on must be true or false, not 1."),
        ("on", None, "--on must be true or false, not None."),
        ("name", 5, "--name must be text, not 5."),
        ("kind", "other", "--kind must be this or that, not other."),
        ("kind", [], "--kind must be this or that, not []."),
    ],
)
def test_a_value_out_of_its_range_is_named(field, value, sentence):
    with pytest.raises(BadInput) as bad:
        check_values(Some(**{field: value}))
    assert str(bad.value) == sentence


@pytest.mark.parametrize("values", [{}, {"seconds": 5e-324}, {"seconds": 3}, {"name": ""}, {"kind": "that"}])
def test_a_value_in_its_range_is_taken(values):
    check_values(Some(**values))


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none()))
def test_a_range_holds_the_numbers_between_its_ends(value: Any):
    is_number = type(value) in (int, float)
    assert (value in real(-1.0, 2.0)) == (is_number and -1.0 <= value <= 2.0)
    assert (value in whole(-1, 2)) == (type(value) is int and -1 <= value <= 2)
