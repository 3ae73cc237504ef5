"""Two records of the same updates compared: what differs first, in words. Bounded memory, however long the runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bitexact.cli.exits import Differs
from bitexact.determinism import versions
from bitexact.storage.ledger import Entry, Ledger
from bitexact.storage.lines import Line
from bitexact.storage.run import Run

_NOTHING = "recorded digest"  # where no array differs, but the digest of all does


@dataclass(frozen=True)
class Agreement:
    """What two runs have in common, to the bit."""

    updates: int
    last: int
    digest: str


def compare(a: Run, b: Run, deciding: Sequence[str], tell: Callable[[str], None]) -> Agreement | None:
    """Hold all updates that both runs have against each other; None if they have none. Raises Differs at the first.

    `deciding` names the settings that decide the result: those among them that differ explain it.
    """
    count, last = 0, Entry({}, {})
    try:
        for ours, theirs in _in_both(a.ledger, b.ledger):
            difference = first_difference(*_comparable(ours, theirs))
            if difference:
                raise Differs(f"update {ours.number} differs: {difference}.{_explanation(a, b, deciding)}")
            count, last = count + 1, ours
    finally:
        for sentence in a.ledger.damage + b.ledger.damage:
            tell(sentence)
    return Agreement(count, last.number, last.digest or "") if count else None


def first_difference(a: Entry, b: Entry) -> str:
    """What differs first between two entries of one update, in words; empty if nothing does."""
    for index in sorted(a.rollouts.keys() | b.rollouts.keys()):
        ours, theirs = a.rollouts.get(index), b.rollouts.get(index)
        if ours is None or theirs is None:
            return f"rollout {index}, which only one of them has"
        if ours["digest"] != theirs["digest"]:
            return f"rollout {index}, in its {_first_name(_digests(ours, 'arrays'), _digests(theirs, 'arrays'))}"
        if (name := _first_name(_to_the_bit(ours), _to_the_bit(theirs))) != _NOTHING:
            return f"rollout {index}, in its {name}"
    if a.digest != b.digest:
        name = _first_name(_digests(a.metrics, "array_digests"), _digests(b.metrics, "array_digests"))
        return f"its {name}" + (", although its rollouts are equal" if a.rollouts else "")
    return ""


def _in_both(a: Ledger, b: Ledger) -> Iterator[tuple[Entry, Entry]]:
    """The entries of updates that both ledgers have a sound line of, in order."""
    ours, theirs = (iter(entry for entry in ledger.entries() if entry.metrics) for ledger in (a, b))
    one, other = next(ours, None), next(theirs, None)
    while one and other:
        if one.number == other.number:
            yield one, other
            one, other = next(ours, None), next(theirs, None)
        elif one.number < other.number:
            one = next(ours, None)
        else:
            other = next(theirs, None)


def _comparable(*entries: Entry) -> list[Entry]:
    """An update's entries without the rollouts that one of them has lost the lines of: no line is no difference."""
    any_has = {index for one in entries for index in one.rollouts}
    lost = {index for one in entries for index in any_has - one.rollouts.keys() if 0 <= index < one.rollouts_said}
    kept = [{index: line for index, line in one.rollouts.items() if index not in lost} for one in entries]
    return [Entry(one.metrics, rollouts) for one, rollouts in zip(entries, kept, strict=True)]


def _explanation(a: Run, b: Run, deciding: Sequence[str]) -> str:
    """What decides the result and is not the same: then equal digests were not to be expected."""
    ours, theirs = a.config.get("settings", {}), b.config.get("settings", {})
    names = [name for name in ours if name in deciding and ours[name] != theirs.get(name)]
    told = ", ".join(f"{name} {ours[name]} and {theirs.get(name)}" for name in names)
    began_otherwise = not told and a.config["initial_digest"] != b.config["initial_digest"]
    packages = versions.differences(a.config["versions"], b.config["versions"])
    return (
        (f" Their settings differ: {told}." if told else "")
        + (" They began with other weights." if began_otherwise else "")
        + (f" Their package versions differ: {packages}." if packages else "")
    )


def _digests(line: Line, name: str) -> Line:
    """The digests of arrays that a line holds; none where something else stands in their place."""
    found = line.get(name)
    return found if isinstance(found, dict) else {}


def _first_name(digests: Line, others: Line) -> str:
    """The first name under which two sets of values differ."""
    names = [*digests, *(name for name in others if name not in digests)]
    return next((name for name in names if digests.get(name) != others.get(name)), _NOTHING)


def _to_the_bit(rollout: Line) -> Line:
    """What a rollout's line says that is the same on every machine: its loss is a statistic, made with a logarithm."""
    return {name: value for name, value in rollout.items() if name != "loss"}
