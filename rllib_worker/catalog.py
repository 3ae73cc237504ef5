"""The games that can be trained on: family, id, where it is imported from, and of what kind it is.

Spaces and masks are not written here: `environments.py` reads them from the game itself.
"""

import re
from dataclasses import dataclass

from bitexact.cli.exits import BadInput

COMPETITIVE, COOPERATIVE, MIXED = "competitive", "cooperative", "mixed"


@dataclass(frozen=True)
class Entry:
    """One game. Competitive means that what one of two players wins, the other loses."""

    family: str
    env_id: str
    module: str
    kind: str
    turns_only: bool = False  # it has no parallel form
    at_once_only: bool = False  # an action lasts several frames here, which has no meaning in turns
    made_anew: bool = False  # the game before leaves traces in it: one seed gives another game the second time
    drawn: bool = False  # agents see a picture that is drawn only where pictures are asked for


FAMILIES = ("sisl", "classic", "butterfly", "mpe", "atari")
_MODULES = {"mpe": "mpe2"} | {name: f"pettingzoo.{name}" for name in ("sisl", "classic", "butterfly", "atari")}
_COMPETITIVE = {"chess_v6", "connect_four_v3", "go_v5", "leduc_holdem_v4", "rps_v2", "texas_holdem_v4"}
_COMPETITIVE |= {"texas_holdem_no_limit_v6", "tictactoe_v3", "pong_v3"}
_MIXED = {"simple_adversary_v3", "simple_crypto_v3", "simple_push_v3", "simple_tag_v3", "simple_world_comm_v3"}
_IDS = {
    "sisl": ("multiwalker_v9", "pursuit_v5"),
    "classic": (
        *("chess_v6", "connect_four_v3", "go_v5", "hanabi_v5", "leduc_holdem_v4", "rps_v2"),
        *("texas_holdem_no_limit_v6", "texas_holdem_v4", "tictactoe_v3"),
    ),
    "butterfly": ("cooperative_pong_v6", "knights_archers_zombies_v11", "pistonball_v6"),
    "mpe": (
        *("collect_treasure_v1", "simple_adversary_v3", "simple_crypto_v3", "simple_formation_v1", "simple_line_v1"),
        *("simple_push_v3", "simple_reference_v3", "simple_speaker_listener_v4", "simple_spread_v3", "simple_tag_v3"),
        *("simple_v3", "simple_world_comm_v3"),
    ),
    "atari": ("pong_v3",),
}


def _kind(env_id: str) -> str:
    if env_id in _COMPETITIVE:
        return COMPETITIVE
    return MIXED if env_id in _MIXED else COOPERATIVE


GAMES = {
    env_id: Entry(
        family,
        env_id,
        f"{_MODULES[family]}.{env_id}",
        _kind(env_id),
        turns_only=family == "classic" and env_id != "rps_v2",
        at_once_only=family == "atari",
        made_anew=env_id == "knights_archers_zombies_v11",
        drawn=env_id in ("cooperative_pong_v6", "pistonball_v6"),
    )
    for family, ids in _IDS.items()
    for env_id in ids
}


def find(family: str, env_id: str) -> Entry:
    """The game of a family with an id. Raises BadInput, which names today's id for one that was renamed."""
    entry = GAMES.get(env_id)
    if entry and entry.family == family:
        return entry
    if entry:
        raise BadInput(f"environment.env_id: {env_id} is of the family {entry.family}, not {family}.")
    base = re.sub(r"_v\d+$", "", env_id)
    today = [one for one in GAMES if re.sub(r"_v\d+$", "", one) == base]
    if today:
        raise BadInput(f"environment.env_id: {env_id} no longer exists; today it is {today[0]}.")
    if base == "waterworld":
        raise BadInput(
            f"environment.env_id: {env_id} no longer exists in PettingZoo; "
            f"of its family there are {', '.join(_IDS['sisl'])} today."
        )
    raise BadInput(f"environment.env_id: there is no {env_id}; {family} has {', '.join(_IDS[family])}.")
