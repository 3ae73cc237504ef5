"""What faults cost: which of them training survived, how much it computed again, how much time it lost.

    accounts = Accounts()
    accounts.began(now_s)
    accounts.struck(fault)
    accounts.committed(commit)
    Console().print(accounts.table())

Time counts between updates that are new to a ledger. What an interval takes beyond the median of those in which nothing
struck is charged to the faults in it, in equal parts, or to the last one before it: a fault may slow down more than one
update. So all that was lost is charged once.
"""

import math
import statistics
from dataclasses import dataclass
from itertools import islice

from rich.table import Table

from workload.driver_process import Commit
from workload.fault_schedule import DRIVER_KILLS, Fault, Kind


@dataclass
class Outcome:
    """What became of one fault."""

    fault: Fault
    survived: bool = False  # a further update was committed, or the training completed
    redone: int = 0  # updates computed again because of it: those after the checkpoint that was resumed from
    lost_s: float = 0.0


class Accounts:
    """Which fault cost what."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.updates = 0  # new ones, of all trainings
        self._since_update: list[Outcome] = []
        self._last_at_s = 0.0
        self._is_first = True
        self._intervals: list[tuple[float, list[Outcome]]] = []  # seconds, and the faults that are charged
        self._quiet_s: list[float] = []  # the intervals in which no fault struck

    def began(self, now_s: float) -> None:
        """A training begins: what it takes to its first update is not what an update takes."""
        self._last_at_s, self._is_first = now_s, True

    def struck(self, fault: Fault) -> None:
        """A fault struck."""
        self.outcomes.append(Outcome(fault))
        self._since_update.append(self.outcomes[-1])

    def committed(self, commit: Commit) -> None:
        """An update was committed, for the first time or again."""
        if commit.again:
            kills = (outcome for outcome in reversed(self.outcomes) if outcome.fault.kind in DRIVER_KILLS)
            for kill in islice(kills, 1):  # none, if the driver ended by itself
                kill.redone += 1
            return
        self.updates += 1
        if self._since_update or not self._is_first:
            self._intervals.append((commit.at_s - self._last_at_s, self._since_update or self.outcomes[-1:]))
        if not self._since_update and not self._is_first:
            self._quiet_s.append(commit.at_s - self._last_at_s)
        self._last_at_s, self._is_first = commit.at_s, False
        self.completed()

    def completed(self) -> None:
        """The training went on, or came to its end, after all faults so far."""
        for outcome in self._since_update:
            outcome.survived = True
        self._since_update = []

    def progress_share(self) -> float:
        """The share of the time between updates that no fault took (ETTR, the effective training time ratio)."""
        self._charge()
        lost_s = math.fsum(outcome.lost_s for outcome in self.outcomes)
        total_s = math.fsum(seconds for seconds, _ in self._intervals)
        return 1.0 - lost_s / total_s if total_s else 1.0

    def table(self) -> Table:
        """A row for each kind of fault that struck."""
        self._charge()
        table = Table(show_edge=False)
        for heading in ("fault", "how many", "survived", "updates redone", "time lost", "each"):
            table.add_column(heading, justify="left" if heading == "fault" else "right")
        for kind in Kind:
            of_kind = [outcome for outcome in self.outcomes if outcome.fault.kind is kind]
            if of_kind:
                self._add_row(table, kind.value, of_kind)
        table.add_section()
        self._add_row(table, "all", self.outcomes)
        return table

    @staticmethod
    def _add_row(table: Table, name: str, outcomes: list[Outcome]) -> None:
        lost_s = math.fsum(outcome.lost_s for outcome in outcomes)
        counts = (len(outcomes), sum(one.survived for one in outcomes), sum(one.redone for one in outcomes))
        table.add_row(name, *map(str, counts), f"{lost_s:.0f} s", f"{lost_s / max(1, len(outcomes)):.1f} s")

    def _charge(self) -> None:
        """Charge each interval's excess over the median quiet one to its faults, or to the last one before it."""
        usual_s = statistics.median(self._quiet_s) if self._quiet_s else 0.0
        for outcome in self.outcomes:
            outcome.lost_s = 0.0
        for seconds, charged in self._intervals:
            for outcome in charged:
                outcome.lost_s += (seconds - usual_s) / len(charged)
