"""The register of kernels: every function on the path to the weights is held to its bytes over processor classes.

`test_one_digest.py` computes the golden updates of both presets as other processors would. A function that these
updates call is held by them; each of the others is named here, with the test that holds it, or why no weight depends
on it. A function that is neither fails, and so does a name that is not needed any more.
"""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from commands import ROOT

from training import deciding_code

TESTS = ROOT / "tests"
# Prints each function that the first golden updates, and the imports before them, called: module and qualified name.
CALLED_BY_THE_GOLDEN_UPDATES = """
import json, sys
called = set()
def note(frame, event, argument):
    if event == "call":
        called.add((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))
sys.setprofile(note)
import commands
for settings in (commands.GOLDEN_SETTINGS, commands.PPO_SETTINGS):
    commands.digests_without_ray(1, **settings)
sys.setprofile(None)
print(json.dumps(sorted(called)))
"""

# By what holds them, or why no weight depends on them: module and functions.
HELD_BY: dict[str, dict[str, str]] = {
    "test_gradients_are_added_on_their_nodes_to_the_bits_of_one_machine: sums made on a cluster's nodes": {
        "bitexact.determinism.tree_sum": "sum_of",
        "training.reinforce_batch": "RemoteSumBatch.__init__ RemoteSumBatch._take RemoteSumBatch._total "
        "RemoteSumBatch.add RemoteSumBatch.missing",
    },
    "test_sums_that_do_not_come_are_the_drivers_and_no_rollout_is_played_again: a sum that is lost": {
        "training.reinforce_batch": "RemoteSumBatch._add_here RemoteSumBatch._forget",
    },
    "test_a_game_is_the_same_whatever_was_played_before: Gymnasium's way to the same steps, and what it shows": {
        "pong.game": "Pong.picture Pong.render Pong.score Pong.step foreground",
    },
    "it computes no number of a weight: which files, packages and processes take part": {
        "bitexact.determinism.arrays": "kinds strip_prefix",
        "bitexact.determinism.code": "_digest _file difference digests folder_of modules_of",
        "bitexact.determinism.process": "ProcessInfo.mismatch describe is_tested_processor keep_denormals",
        "bitexact.determinism.versions": "differences installed pinned",
    },
    "it computes no number of a weight: what is said of a rollout, an update, a state": {
        "pong.play": "RolloutId.__str__",
        "training.initial_state": "outline",
        "training.rollout_record": "RolloutRecord.mismatch",
        "training.update": "summarize",
    },
    "it computes no number of a weight: sums that were made on nodes are compared": {
        "bitexact.determinism.tree_sum": "_stretch excess_of_some",
    },
    "it has no body: what another class must have": {
        "pong.play": "Game.advance Game.changed Game.observe Game.reset",
        "training.batch": "Batch._learn Batch._take Optimizer.arrays Optimizer.square",
        "training.reinforce_batch": "Reducer.begin RemoteSum.add RemoteSum.gradients RemoteSum.total",
    },
}


def test_every_function_on_the_path_to_the_weights_is_held_over_processor_classes():
    named = {f"{module}:{name}" for of in HELD_BY.values() for module, names in of.items() for name in names.split()}
    assert functions() - called() == named


def test_the_tests_that_the_register_names_are_there():
    there = {name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert {name for reason in HELD_BY for name in re.findall(r"test_\w+", reason)} <= there


def functions() -> set[str]:
    """All that are written in the modules that decide a run's result."""
    found = set()
    for module in deciding_code.modules():
        path = ROOT / f"{module.replace('.', '/')}.py"
        found |= {f"{module}:{name}" for name in qualified(ast.parse(path.read_text()), "")}
    return found


def qualified(tree: ast.AST, prefix: str) -> Iterator[str]:
    """The qualified names of the functions in a module or class, as Python has them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from qualified(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}"
            yield from qualified(node, f"{prefix}{node.name}.<locals>.")


def called() -> set[str]:
    """Those that the golden updates call."""
    path = os.pathsep.join((str(ROOT), str(TESTS)))
    program = [sys.executable, "-c", CALLED_BY_THE_GOLDEN_UPDATES]
    done = subprocess.run(program, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True, timeout=200)
    return {f"{module}:{name}" for module, name in json.loads(done.stdout.splitlines()[-1])}
