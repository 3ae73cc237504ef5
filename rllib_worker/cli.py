"""The worker's command line.

    python -m rllib_worker --config run.json [--dry-run] [--overwrite] [--set FIELD=VALUE ...]
    python -m rllib_worker --resume var/trainer/runs/RUN_ID
    python -m rllib_worker evaluate RUN --opponent random --games 1000
    python -m rllib_worker cross-play RUN RUN@10 random
    python -m rllib_worker watch RUN [--png FILE]
    python -m rllib_worker curves RUN... --out FILE
    python -m rllib_worker schema PPO          the JSON Schema of an algorithm's parameters; `schema run` of a config
    python -m rllib_worker environments        families, ids, apis, spaces, masks

Exit codes are the house's (bitexact/cli/exits.py). A run's digests must not depend on the caller's PYTHONHASHSEED,
which Python reads when it starts: so the program starts itself again with one of its own, before Ray is imported.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from bitexact.cli import command_line, exits, process_environment
from bitexact.cli.exits import BadInput
from rllib_worker import algo_params, catalog
from rllib_worker.config import EnvironmentConfig, PettingZooAPIType, RayWorkerConfig, load

_PROGRAM = "python -m rllib_worker"
_HASH_SEED = "0"


@dataclass(frozen=True)
class Train:
    """Train policies as a JSON file says."""

    config: Path | None = None
    """The run's config."""
    resume: Path | None = None
    """The folder of a run to go on with, under the config that it holds."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Validate, print all that is derived, start no cluster, train nothing."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Delete the run that is in the folder, and start anew."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change one value of the config: training.algo_params.lr=3e-4."""


@dataclass(frozen=True)
class Schema:
    """Print a JSON Schema."""

    of: Annotated[str, tyro.conf.Positional]
    """An algorithm, or `run` for the whole config."""


@dataclass(frozen=True)
class Environments:
    """List the games: family, id, api, action and observation kinds, masks."""

    family: str | None = None
    """Of one family alone."""


def start() -> None:
    """Run the program, with a hash seed of its own."""
    if os.environ.get("PYTHONHASHSEED") != _HASH_SEED:
        os.environ["PYTHONHASHSEED"] = _HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "rllib_worker", *sys.argv[1:]])
    sys.argv[0] = "rllib_worker"
    exits.run(main)


def main(arguments: Sequence[str]) -> None:
    """Dispatch to the subcommand, or train."""
    commands: dict[str, Callable[[Sequence[str]], None]] = {
        "evaluate": _evaluate,
        "cross-play": _cross_play,
        "watch": _watch,
        "curves": _curves,
        "schema": _schema,
        "environments": _environments,
    }
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
    else:
        _train(command_line.parse(Train, arguments, _PROGRAM))


def _train(asked: Train) -> None:
    if (asked.config is None) == (asked.resume is None):
        raise BadInput(f"name a config with --config, or a run to go on with with --resume. See {_PROGRAM} --help.")
    if asked.config is not None:
        config = load(asked.config, asked.set)
    else:
        config = _config_of(Path(asked.resume or ""), asked.set)
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    process_environment.prepare_ray(embedded=True)  # before Ray is imported: it reads its environment then
    from rllib_worker import compatibility  # imports torch and RLlib, which the other commands do without

    for name in ("ray", "ray.rllib"):  # set anew when they are imported
        logging.getLogger(name).setLevel(logging.ERROR)
    report = compatibility.check(config)
    if asked.dry_run:
        print(report.text())
        return
    from rllib_worker import session

    session.train(config, resume=asked.resume is not None, overwrite=asked.overwrite)


def _config_of(run: Path, changes: Sequence[str]) -> RayWorkerConfig:
    """The config that a run holds; it stays where it is."""
    from rllib_worker.kept import config_of

    config = config_of(run)
    if changes:
        raise BadInput("--set changes a new run's config; one that goes on keeps its own.")
    return config


def _evaluate(arguments: Sequence[str]) -> None:
    from rllib_worker import playing  # imports torch, which training imports only when its environment is prepared

    playing.evaluate(arguments)


def _cross_play(arguments: Sequence[str]) -> None:
    from rllib_worker import playing

    playing.play_all(arguments)


def _watch(arguments: Sequence[str]) -> None:
    from rllib_worker import watch

    watch.watch(arguments)


def _curves(arguments: Sequence[str]) -> None:
    from rllib_worker import curves  # imports matplotlib

    curves.curves(arguments)


def _schema(arguments: Sequence[str]) -> None:
    asked = command_line.parse(Schema, arguments, f"{_PROGRAM} schema")
    if asked.of == "run":
        print(json.dumps(RayWorkerConfig.model_json_schema(), indent=2))
        return
    if asked.of.upper() not in algo_params.ALGORITHMS:
        raise BadInput(f"there is no algorithm {asked.of}; choose one of {', '.join(algo_params.ALGORITHMS)}, or run.")
    print(json.dumps(algo_params.schema(asked.of.upper()), indent=2))


def _environments(arguments: Sequence[str]) -> None:
    from rllib_worker.environments import EnvironmentFactory

    asked = command_line.parse(Environments, arguments, f"{_PROGRAM} environments")
    if asked.family is not None and asked.family not in catalog.FAMILIES:
        raise BadInput(f"there is no family {asked.family}; choose one of {', '.join(catalog.FAMILIES)}.")
    print(f"{'family':10} {'id':28} {'api':14} {'kind':12} {'agents':>6} {'masks':5}  actions; observation")
    for entry in catalog.GAMES.values():
        if asked.family in (None, entry.family):
            api = PettingZooAPIType.AEC if entry.turns_only else PettingZooAPIType.PARALLEL
            config = EnvironmentConfig(family=entry.family, env_id=entry.env_id, api_type=api)  # type: ignore[call-arg]
            game = EnvironmentFactory(config).make()
            apis = "aec" if entry.turns_only else "parallel" if entry.at_once_only else "aec, parallel"
            layout = next(iter(game.layouts.values()))
            kinds = {_kind(space) for space in game.action_spaces.values()}
            seen = "picture" if layout.picture else f"{layout.own} numbers"
            masks = "yes" if layout.mask else "no"
            print(
                f"{entry.family:10} {entry.env_id:28} {apis:14} {entry.kind:12} {len(game.agents):6} {masks:5}  "
                f"{', '.join(sorted(kinds))}; {seen}"
            )
            game.close()


def _kind(space: Any) -> str:
    return f"{space.n} discrete" if hasattr(space, "n") else f"{space.shape[0]} continuous"
