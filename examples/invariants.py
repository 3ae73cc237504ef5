"""The properties of the example's runs: what must hold, called by `lake.py` where it must hold."""

from bitexact.cli import process_environment

process_environment.direct_properties()  # before the SDK is imported: it chooses its output then

from antithesis.assertions import always, sometimes

from bitexact.reporting.guards import Where, guard, reached_by

REPRODUCED_BY = ("python -m examples.frozen_lake {run} --replay",)


@guard
@reached_by("every run: each update")
def a_generation_holds_each_index_once(indices: list[int], size: int, where: Where) -> bool:
    """No try is lost, none is counted twice."""
    holds = sorted(indices) == list(range(size))
    always(holds, "A generation holds each of its tries once", where)
    return holds


@guard
@reached_by("every run: each update")
def updates_are_written_in_order(update: int, last: int, where: Where) -> bool:
    """Each update follows the last one recorded, or repeats one that is recorded."""
    holds = 1 <= update <= last + 1
    always(holds, "The lake's updates are written in order", {**where, "last": last})
    return holds


@guard
@reached_by("faults: the program killed after an update, before its checkpoint")
def an_update_done_again_is_the_same(digest: str, recorded: str, where: Where) -> bool:
    """What is computed again after a kill comes out as it did."""
    holds = digest == recorded
    always(holds, "The lake's updates computed again are the same", {**where, "digest": digest, "recorded": recorded})
    return holds


@guard
@reached_by("faults: a slow actor's try that comes back twice")
def a_try_done_twice_is_the_same(first: str, second: str, where: Where) -> bool:
    """A try is a pure function of the table and its name."""
    holds = first == second
    always(holds, "A try computed twice gives the same bytes", {**where, "first": first, "second": second})
    return holds


@reached_by("every run: some 30 updates")
def the_walkers_learn(wins: float, where: Where) -> None:
    """It is learned from what is tried."""
    sometimes(wins > 0.4, "Two of five walkers reach the other side", where)
