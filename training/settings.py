"""The settings of a training run: one dataclass, from which the command line and its help are made.

Settings that decide the result are part of every digest and stay as they are for the life of a run; the others say
where, how fast and how long, and may change at each resume.
"""

import dataclasses
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput
from bitexact.storage import config

Preset = Literal["ppo", "reinforce"]
PPO: Final = "ppo"
REINFORCE: Final = "reinforce"
# What the presets change of the defaults below, and which settings only one of them has.
_PRESETS: dict[str, dict[str, Any]] = {PPO: {}, REINFORCE: {"learning_rate": 1e-4, "hidden_units": 200}}
_ONLY_OF = {
    PPO: (
        "learning_rate_end",
        "entropy_coef",
        "entropy_coef_end",
        "temperature_end",
        "anneal_updates",
        "epochs",
        "minibatch_size",
        "clip",
        "gae_lambda",
        "value_coef",
        "max_grad_norm",
    ),
    REINFORCE: ("decay_rate",),
}
_OF_ALL = ("preset", "seed", "batch_size", "learning_rate", "discount", "hidden_units")
DECIDE_THE_RESULT = (*_OF_ALL, *_ONLY_OF[PPO], *_ONLY_OF[REINFORCE])
_OF_ONE_COMMAND = ("init_weights", "resume", "overwrite", "redis_address")
_MOST = 100_000  # enough for anybody; a slip of the finger beyond would only fill the memory
_SMALLEST_RATE = 1e-30  # float32 holds it; RMSProp's steps are below ten times the rate, so that none is above 1
_LARGEST_FACTOR = 1000.0  # float32 holds what it multiplies, and what it divides

_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
_Count = Annotated[int | None, tyro.conf.arg(metavar="N")]
_Number = Annotated[float | None, tyro.conf.arg(metavar="X")]
_Text = Annotated[str | None, tyro.conf.arg(metavar="ADDR")]
_Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]
_File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class Settings:
    """Train a Pong player on Ray; every bit of the result can be reproduced, whatever fails while it runs."""

    batch_size: int = 10
    """Rollouts (games to 21 points) per update. Larger: steadier steps, fewer of them."""
    updates: _Count = None
    """Stop after update N; without it, train until stopped."""
    until_reward: _Number = None
    """Stop once the mean reward of the last 100 rollouts is X or more."""
    seed: int = 0
    """All randomness comes from it: another seed is another run."""
    preset: Preset = PPO
    """How it learns. ppo: many small steps over each batch. reinforce: Karpathy's, one gradient a game, one step."""
    learning_rate: float = 2e-3
    """The optimizer's step size at first (reinforce: always, and 1e-4; 1e-3 learns faster)."""
    learning_rate_end: float = 1e-4
    """Its step size in the end (ppo)."""
    entropy_coef: float = 0.01
    """What a policy is worth for not being sure, at first (ppo). Higher: it explores more, and plays worse."""
    entropy_coef_end: float = 0.0005
    """The same in the end (ppo)."""
    temperature_end: float = 0.25
    """The logits' temperature in the end, 1 at first (ppo). Lower: actions are drawn less at random."""
    anneal_updates: int = 100
    """Updates over which all three go from the one to the other, in a straight line (ppo)."""
    epochs: int = 4
    """How often each batch is learned from (ppo)."""
    minibatch_size: int = 512
    """Steps of games for one step of the optimizer, about (ppo)."""
    clip: float = 0.2
    """How far an action's probability may move in an update before it counts no more, as a part of it (ppo)."""
    gae_lambda: float = 0.95
    """How much advantages trust rewards to come over the value head: 1 rewards alone, 0 the next step's (ppo)."""
    value_coef: float = 0.5
    """The weight of the value head's error (ppo)."""
    max_grad_norm: float = 0.5
    """A minibatch's gradient is shortened to this length (ppo)."""
    discount: float = 0.99
    """How much a reward one step later is worth now."""
    decay_rate: float = 0.99
    """How much of RMSProp's running mean of squares stays at each update (reinforce)."""
    hidden_units: int = 64
    """Hidden units of the policy (reinforce: 200)."""
    actors: _Count = None
    """Actors that play; without it, one per CPU of the cluster, at most the batch size. Never changes the result."""
    run_dir: _Folder = None
    """Where the run is kept; without it, runs/<name made of the settings that decide the result>."""
    init_weights: _File = None
    """Begin with a checkpoint's or pretrained weights: the run keeps them, and its digests are of what follows."""
    resume: _Flag = False
    """Go on with the run in the run directory; what the command line leaves out is taken from there."""
    overwrite: _Flag = False
    """Delete the run in the run directory and start anew."""
    checkpoint_every: int = 10
    """Updates between checkpoints: as many may have to be computed again after a crash."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints to keep; every hundredth update's is kept as well."""
    rollout_timeout_s: _Number = None
    """Seconds after which a rollout is started a second time elsewhere; without it, from what rollouts have taken."""
    cluster_timeout_s: float = 120.0
    """Seconds to wait for a node when there is none left."""
    tensorboard: _Flag = False
    """Write TensorBoard's event files into the run directory (tensorboard --logdir runs)."""
    mlflow: Annotated[str | None, tyro.conf.arg(metavar="URI")] = None
    """Log to an MLflow server, http://HOST:PORT, or a local store, file:///FOLDER (needs requirements-mlflow.txt)."""
    video_every: _Count = None
    """Film a game every N updates, for TensorBoard."""
    address: _Text = None
    """Address of a Ray cluster (HOST:PORT, or auto); without it, Ray starts inside this program, on loopback only."""
    redis_address: _Text = None
    """Old name of --address."""

    def check(self) -> None:
        """Raise BadInput for a value that cannot be used."""
        for name in ("checkpoint_every", "keep_checkpoints", "updates", "video_every"):
            value = getattr(self, name)
            _require(value is None or (_is_whole(value) and value >= 1), name, value, "a whole number from 1")
        _require(self.preset in _PRESETS, "preset", self.preset, " or ".join(_PRESETS))
        for name in ("batch_size", "hidden_units", "actors", "anneal_updates", "epochs", "minibatch_size"):
            value = getattr(self, name)
            fits = value is None or (_is_whole(value) and 1 <= value <= _MOST)
            _require(fits, name, value, f"a whole number from 1 to {_MOST}")
        seed_fits = _is_whole(self.seed) and 0 <= self.seed < 2**63
        _require(seed_fits, "seed", self.seed, "a whole number from 0 to 2^63 - 1")
        for name in ("learning_rate", "learning_rate_end"):
            rate = getattr(self, name)
            _require(_SMALLEST_RATE <= rate <= 1.0, name, rate, f"a number from {_SMALLEST_RATE:g} to 1")
        for name in ("clip", "max_grad_norm"):
            value = getattr(self, name)
            _require(0.0 < value < math.inf, name, value, "a finite number above 0")
        for name in ("entropy_coef", "entropy_coef_end", "value_coef"):
            value = getattr(self, name)
            _require(0.0 <= value <= _LARGEST_FACTOR, name, value, f"a number from 0 to {_LARGEST_FACTOR:g}")
        least, temperature = 1.0 / _LARGEST_FACTOR, self.temperature_end
        fits = least <= temperature <= _LARGEST_FACTOR
        _require(fits, "temperature_end", temperature, f"a number from {least:g} to {_LARGEST_FACTOR:g}")
        _require(0.0 <= self.gae_lambda <= 1.0, "gae_lambda", self.gae_lambda, "a number from 0 to 1")
        for name in ("cluster_timeout_s", "rollout_timeout_s"):
            value = getattr(self, name)
            _require(value is None or 0.0 < value < math.inf, name, value, "a finite number above 0")
        _require(0.0 <= self.discount <= 1.0, "discount", self.discount, "a number from 0 to 1")
        _require(0.0 <= self.decay_rate < 1.0, "decay_rate", self.decay_rate, "a number from 0 to below 1")
        reward = self.until_reward
        _require(reward is None or -21.0 <= reward <= 21.0, "until_reward", reward, "a number from -21 to 21")
        for other in _PRESETS.keys() - {self.preset}:
            for name in _ONLY_OF[other]:
                if getattr(self, name) != getattr(type(self), name):
                    raise BadInput(f"{_flag(name)} belongs to --preset={other}, not to {self.preset}: leave it out.")
        for address in (self.address, self.redis_address):
            _check_address(address)
        if self.address and self.redis_address:
            raise BadInput("--redis-address is the old name of --address: give one of them.")
        if self.mlflow is not None and not re.match(r"(https?|file|sqlite)://?", self.mlflow):
            raise BadInput(f"--mlflow must be http://HOST:PORT or file:///FOLDER, not {self.mlflow}.")
        if self.resume and self.init_weights:
            raise BadInput("--resume and --init-weights exclude each other: a run has begun with its own weights.")
        if self.resume and self.overwrite:
            raise BadInput("--resume and --overwrite exclude each other: one keeps the run, the other deletes it.")

    @property
    def directory(self) -> Path:
        """The run directory: as given, or named after the settings that decide the result."""
        return self.run_dir or Path("runs") / self._name()

    def _name(self) -> str:
        usual = of_preset(self.preset)
        parts = ["pong", *([] if self.preset == PPO else [self.preset])]
        parts += [f"seed{self.seed}", f"batch{self.batch_size}"]
        for name, value in self.deciding().items():
            if name not in ("preset", "seed", "batch_size") and value != getattr(usual, name):
                parts.append(f"{name.replace('_', '')}{value}")
        if self.init_weights:
            parts.append(f"from-{self.init_weights.stem}")
        return "-".join(parts)

    def deciding(self) -> dict[str, Any]:
        """The settings that decide the result, by name."""
        return {name: getattr(self, name) for name in (*_OF_ALL, *_ONLY_OF[self.preset])}

    def of_a_rollout(self) -> tuple[int, float, float]:
        """What a rollout depends on beside its weights and its name: seed, discount, trace decay."""
        return self.seed, self.discount, self.gae_lambda

    def lasting(self) -> dict[str, Any]:
        """What config.json keeps: all but what concerns one command or says where the run is."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in (*_OF_ONE_COMMAND, "run_dir")}

    def resume_command(self) -> str:
        """The command that goes on with this run."""
        return shlex.join(["python", "driver.py", "--resume", f"--run-dir={self.directory}"])


def of_preset(preset: Preset, **changes: Any) -> Settings:
    """A preset's settings, with changes."""
    return Settings(preset=preset, **_PRESETS[preset] | changes)


def from_command_line(arguments: Sequence[str]) -> Settings:
    """The settings that a command line asks for, with those of the run where it resumes one. Raises BadInput."""
    _no_empty_values(arguments)
    settings = command_line.parse(Settings, arguments, "python driver.py")
    settings = command_line.parse(Settings, arguments, "python driver.py", defaults=of_preset(settings.preset))
    settings.check()
    if settings.resume:
        recorded = dataclasses.replace(read_settings(settings.directory), run_dir=settings.run_dir)
        settings = command_line.parse(Settings, arguments, "python driver.py", defaults=recorded)
        settings.check()
        _same_result(settings, recorded)
    if settings.redis_address:
        print("--redis-address is now called --address.")
        settings = dataclasses.replace(settings, address=settings.redis_address, redis_address=None)
    return settings


def read_settings(directory: Path) -> Settings:
    """The settings of the run in a directory. Raises BadInput if there is none, or its config is damaged."""
    recorded = config.read(directory)
    try:
        settings = Settings(**recorded["settings"])
        settings.check()
        if not settings.lasting().keys() >= recorded["settings"].keys():
            raise ValueError("it holds settings that are not kept")
    except (ValueError, TypeError, KeyError, AttributeError, BadInput) as error:
        raise config.damaged(directory / config.CONFIG, error) from None
    return settings


def _no_empty_values(arguments: Sequence[str]) -> None:
    """An unset shell variable must not become the current directory, or no address."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        flag, equals, value = argument.partition("=")
        if not value and (equals or not flag):
            raise BadInput(f"{flag if equals else before} has no value.")


def _check_address(address: str | None) -> None:
    if address is None or address == "auto":
        return
    if "://" in address:
        raise BadInput(f"{address} is a Ray Client address: run the driver on a node of the cluster, with HOST:PORT.")
    if not re.fullmatch(r"([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}", address):
        raise BadInput(f"--address must be HOST:PORT or auto, not {address}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise BadInput(f"{_flag(name)} must be {wanted}, not {value}.")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _same_result(settings: Settings, recorded: Settings) -> None:
    for name, value in settings.deciding().items():
        before = getattr(recorded, name)
        if value != before:
            flag = _flag(name)
            raise BadInput(
                f"{flag} is {value}, but the run in {settings.directory} was made with {before}: "
                f"leave {flag} out to resume it, or choose another --run-dir."
            )
