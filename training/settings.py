"""The settings of a training run: one dataclass, from which the command line and its help are made.

Each field stands in one place with its type, its range, its default and its text: what both presets need in
base_settings.py, PPO's in ppo.py, REINFORCE's in reinforce.py, and here what concerns a run as a whole. Settings that
decide the result are part of every digest and stay as they are for the life of a run; the others say where, how fast
and how long, and may change at each resume.
"""

import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput
from bitexact.cli.ranges import POSITIVE, check_values, flag_of, real, whole
from bitexact.storage import config
from pong import games
from pong.game import STICKY_PROBABILITY
from pong.games import ChosenGame
from training.base_settings import MOST, BaseSettings
from training.ppo import PPOSettings
from training.reinforce import ReinforceSettings

Preset = Literal["ppo", "reinforce"]
PPO: Final = "ppo"
REINFORCE: Final = "reinforce"
# What the presets change of the defaults, and where the settings are that only one of them has.
_PRESETS: dict[str, dict[str, Any]] = {PPO: {}, REINFORCE: {"learning_rate": 1e-4, "hidden_units": 200}}
_KIND_OF: dict[str, type[BaseSettings]] = {PPO: PPOSettings, REINFORCE: ReinforceSettings}
_OTHER_NAMES = {"classic": REINFORCE, "proximal": PPO}  # of presets
_OLD_NAMES = {  # of settings, in the config.json of earlier runs
    "trace_decay": "gae_lambda",
    "longest_gradient": "max_grad_norm",
    "value_weight": "value_coef",
    "entropy_bonus": "entropy_coef",
    "entropy_bonus_end": "entropy_coef_end",
    "passes": "epochs",
    "minibatch": "minibatch_size",
    "decline_updates": "anneal_updates",
}


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


_OF_ALL = ("preset", *_names(BaseSettings))
_ONLY_OF = {preset: tuple(name for name in _names(kind) if name not in _OF_ALL) for preset, kind in _KIND_OF.items()}
DECIDE_THE_RESULT = (*_OF_ALL, *_ONLY_OF[PPO], *_ONLY_OF[REINFORCE])
_AUTO = "--resume=auto"
_OF_ONE_COMMAND = ("init_weights", "resume", "overwrite", "accept_new_code", "redis_address")

_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
_Count = Annotated[int | None, tyro.conf.arg(metavar="N"), whole(1)]
_Text = Annotated[str | None, tyro.conf.arg(metavar="ADDR")]


@dataclass(frozen=True)
class Settings(PPOSettings, ReinforceSettings):
    """Train a Pong player on Ray; every bit of the result can be reproduced, whatever fails while it runs."""

    preset: Preset = PPO
    """How it learns. ppo: many small steps over each batch. reinforce: Karpathy's, one gradient a game, one step."""
    updates: _Count = None
    """Stop after update N; without it, train until stopped."""
    until_reward: Annotated[float | None, tyro.conf.arg(metavar="X"), real(-21.0, 21.0)] = None
    """Stop once the mean reward of the last 100 rollouts is X or more."""
    actors: Annotated[int | None, tyro.conf.arg(metavar="N"), whole(1, MOST)] = None
    """Actors that play; without it, one per CPU of the cluster, at most the batch size. Never changes the result."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the run is kept; without it, runs/<name made of the settings that decide the result>."""
    train_inside: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Play a model's dream instead of the game: the folder of one of atari, as pretrained/atari-rnn. Its digest is part
    of the run, and evaluate.py then plays the real game."""
    init_weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Begin with a checkpoint's or pretrained weights: the run keeps them, and its digests are of what follows."""
    resume: _Flag = False
    """Go on with the run in the run directory; what the command line leaves out is taken from there. --resume=auto:
    go on where there is one, else begin it."""
    overwrite: _Flag = False
    """Delete the run in the run directory and start anew."""
    accept_new_code: _Flag = False
    """With --resume: go on although the code that decides the result has changed; the ledger says so."""
    checkpoint_every: Annotated[int, whole(1)] = 10
    """Updates between checkpoints: as many may have to be computed again after a crash."""
    keep_checkpoints: Annotated[int, whole(1)] = 3
    """How many of the newest checkpoints to keep; every hundredth update's is kept as well."""
    rollout_timeout_s: Annotated[float | None, tyro.conf.arg(metavar="X"), POSITIVE] = None
    """Seconds after which a rollout is started a second time elsewhere; without it, from what rollouts have taken."""
    rollout_attempts: Annotated[int, whole(1, MOST)] = 20
    """How often one rollout may be begun before the run ends: it may be what kills its actors."""
    cluster_timeout_s: Annotated[float, POSITIVE] = 120.0
    """Seconds to wait for a node when there is none left, or for a head that does not answer."""
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
        """Raise BadInput for a value that cannot be used, or two that do not go together."""
        check_values(self)
        for other in _PRESETS.keys() - {self.preset}:
            for name in _ONLY_OF[other]:
                if getattr(self, name) != getattr(type(self), name):
                    raise BadInput(f"{flag_of(name)} belongs to --preset={other}, not to {self.preset}: leave it out.")
        for address in (self.address, self.redis_address):
            _check_address(address)
        if self.address and self.redis_address:
            raise BadInput("--redis-address is the old name of --address: give one of them.")
        if self.mlflow is not None and not re.match(r"(https?|file|sqlite)://?", self.mlflow):
            raise BadInput(f"--mlflow must be http://HOST:PORT or file:///FOLDER, not {self.mlflow}.")
        if self.train_inside and self.sticky_actions != STICKY_PROBABILITY:
            raise BadInput("--sticky-actions is the real game's: a dream goes on as the game that it was learned from.")
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
        if self.train_inside:
            parts.append(f"inside-{Path(self.train_inside).name}")
        if self.init_weights:
            parts.append(f"from-{self.init_weights.stem}")
        return "-".join(parts)

    def game(self) -> ChosenGame:
        """What is played. Raises BadInput."""
        return games.choose(self.train_inside, self.sticky_actions)

    def deciding(self) -> dict[str, Any]:
        """The settings that decide the result, by name."""
        return {name: getattr(self, name) for name in (*_OF_ALL, *_ONLY_OF[self.preset])}

    def lasting(self) -> dict[str, Any]:
        """What config.json keeps: all but what concerns one command or says where the run is."""
        values = dataclasses.asdict(self)
        left_out = {*_OF_ONE_COMMAND, "run_dir"} | ({"train_inside"} if self.train_inside is None else set())
        return {name: value for name, value in values.items() if name not in left_out}

    def resume_command(self) -> str:
        """The command that goes on with this run."""
        return shlex.join(["python", "driver.py", "--resume", f"--run-dir={self.directory}"])


def of_preset(preset: Preset, **changes: Any) -> Settings:
    """A preset's settings, with changes."""
    return Settings(preset=preset, **_PRESETS[preset] | changes)


def from_command_line(arguments: Sequence[str]) -> Settings:
    """The settings that a command line asks for, with those of the run where it resumes one. Raises BadInput."""
    _no_empty_values(arguments)
    arguments = _started_or_resumed(_with_presets_own_names(arguments))
    settings = _parse(arguments)
    if settings.resume:
        recorded = dataclasses.replace(read_settings(settings.directory), run_dir=settings.run_dir)
        settings = command_line.parse(Settings, arguments, "python driver.py", defaults=recorded)
        settings.check()
        _same_result(settings, recorded)
    if settings.redis_address:
        print("--redis-address is now called --address.")
        settings = dataclasses.replace(settings, address=settings.redis_address, redis_address=None)
    return settings


def _parse(arguments: Sequence[str]) -> Settings:
    """What a command line says, over its preset's defaults."""
    settings = command_line.parse(Settings, arguments, "python driver.py")
    settings = command_line.parse(Settings, arguments, "python driver.py", defaults=of_preset(settings.preset))
    settings.check()
    return settings


def _started_or_resumed(arguments: Sequence[str]) -> Sequence[str]:
    """The same with `--resume=auto` decided: `--resume` where there is a run, nothing where there is none.

    A run that is there has begun with its own weights: what the command gave it to begin with is left out then.
    """
    if _AUTO not in arguments:
        return arguments
    settings = _parse([argument for argument in arguments if argument != _AUTO])
    if settings.overwrite or settings.resume:
        raise BadInput(f"{_AUTO} goes with neither --overwrite nor --resume: it decides by what is there.")
    beginning = ["--init-weights", f"--init-weights={settings.init_weights}", str(settings.init_weights)]
    is_there = (settings.directory / config.CONFIG).exists()
    left_out = {_AUTO, *(beginning if is_there and settings.init_weights else [])}
    others = [argument for argument in arguments if argument not in left_out]
    named = [] if settings.run_dir else [f"--run-dir={settings.directory}"]
    return [*others, "--resume", *named] if is_there else others


def read_settings(directory: Path) -> Settings:
    """The settings of the run in a directory. Raises BadInput if there is none, or its config is damaged."""
    recorded = config.read(directory)
    try:
        named = {_OLD_NAMES.get(name, name): value for name, value in recorded["settings"].items()}
        settings = Settings(**named | {"preset": _OTHER_NAMES.get(named["preset"], named["preset"])})
        settings.check()
        if not settings.lasting().keys() >= named.keys():
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


def _with_presets_own_names(arguments: Sequence[str]) -> list[str]:
    """The same with a preset's other names replaced: "classic" is accepted for reinforce."""
    names = _OTHER_NAMES | {f"--preset={other}": f"--preset={name}" for other, name in _OTHER_NAMES.items()}
    pairs = zip(("", *arguments), arguments, strict=False)
    return [
        names.get(argument, argument) if before == "--preset" or argument.startswith("--preset=") else argument
        for before, argument in pairs
    ]


def _check_address(address: str | None) -> None:
    if address is None or address == "auto":
        return
    if "://" in address:
        raise BadInput(f"{address} is a Ray Client address: run the driver on a node of the cluster, with HOST:PORT.")
    if not re.fullmatch(r"([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}", address):
        raise BadInput(f"--address must be HOST:PORT or auto, not {address}.")


def _same_result(settings: Settings, recorded: Settings) -> None:
    for name, value in settings.deciding().items():
        before = getattr(recorded, name)
        if value != before:
            flag = flag_of(name)
            raise BadInput(
                f"{flag} is {value}, but the run in {settings.directory} was made with {before}: "
                f"leave {flag} out to resume it, or choose another --run-dir."
            )
