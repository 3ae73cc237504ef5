"""The league of self-play: frozen snapshots of main in a bounded number of places, and when one is added.

Places are made when the algorithm is built; main alone is trained. A snapshot is a copy of main's weights into a place,
at the learner and at every runner; its digest is recorded and compared at both at each iteration.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from rllib_worker.env_runner import EpisodeRecord
from rllib_worker.policies import MAIN, LeagueSettings, place


@dataclass
class Snapshot:
    """What is known of one that was added."""

    place: str
    iteration: int
    digest: str  # of the policy's weights, as runners have them


@dataclass
class League:
    """Snapshots, oldest first, and main's games against the newest since it was added."""

    settings: LeagueSettings
    snapshots: list[Snapshot] = field(default_factory=list)
    added: int = 0
    wins: int = 0
    draws: int = 0
    losses: int = 0

    @property
    def games(self) -> int:
        """Main's games against the newest."""
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Main's part of the points against the newest: a draw is a half."""
        return (self.wins + self.draws / 2) / self.games if self.games else 0.0

    @property
    def next_place(self) -> str:
        """Where the next snapshot goes: a free place, or the oldest one's."""
        return place(self.added % self.settings.league_size)

    def count(self, records: Iterable[EpisodeRecord]) -> None:
        """Take in games that were played."""
        newest = self.snapshots[-1].place
        for record in records:
            if newest not in record.modules.values():
                continue
            mine = sum(value for agent, value in record.returns.items() if record.modules[agent] == MAIN)
            theirs = sum(value for agent, value in record.returns.items() if record.modules[agent] == newest)
            self.wins += mine > theirs
            self.draws += mine == theirs
            self.losses += mine < theirs

    def is_due(self) -> bool:
        """Whether main has beaten the newest often enough to become a snapshot."""
        return self.games >= self.settings.window_games and self.score >= self.settings.win_rate

    def add(self, iteration: int, digest: str) -> None:
        """A snapshot was put in `next_place`."""
        where = self.next_place
        self.snapshots = [one for one in self.snapshots if one.place != where]
        self.snapshots.append(Snapshot(where, iteration, digest))
        self.added += 1
        self.wins = self.draws = self.losses = 0

    def dump(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: value for name, value in asdict(self).items() if name != "settings"}

    @classmethod
    def parse(cls, settings: LeagueSettings, values: dict[str, Any]) -> "League":
        """The reverse of `dump`."""
        snapshots = [Snapshot(**one) for one in values["snapshots"]]
        return cls(settings, **{**values, "snapshots": snapshots})
