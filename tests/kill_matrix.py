"""The kill matrix: bugs that only faults bring out, by which property the simulation finds each, and after how long.

    PYTHONPATH=.:tests python tests/kill_matrix.py                             the table of docs/simulation.md
    PYTHONPATH=.:tests python tests/kill_matrix.py --bug=lock-skipped          one bug, and a short history for it

For each bug, histories are drawn until one fails; before that, some in which drivers come and go and nothing fails.
"""

import argparse
import importlib
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from histories import Histories, search, told
from hypothesis import Phase
from planted.fault_bugs import BUGS
from simulation import simulated

CALM, MOST = 20, 2000  # histories: without faults, and with them at most
SEED = 1


@contextmanager
def planted(name: str) -> Iterator[None]:
    """With a bug in this process."""
    module_name, change = BUGS[name]
    module = importlib.import_module(module_name)
    holders = [module, *(one for one in vars(module).values() if isinstance(one, type) and not is_built_in(one))]
    before = [(holder, dict(vars(holder))) for holder in holders]
    try:
        change(module)
        yield
    finally:
        for holder, attributes in before:
            for attribute in vars(holder).keys() - attributes.keys():
                delattr(holder, attribute)
            for attribute, value in attributes.items():
                if vars(holder)[attribute] is not value:
                    setattr(holder, attribute, value)


def is_built_in(kind: type) -> bool:
    """Whether a class is C's, and cannot be changed."""
    return not kind.__flags__ & (1 << 9)


def find(name: str, most: int = MOST, shrunk: bool = False) -> dict[str, Any]:
    """What finds a bug, without faults and with them."""
    phases = [Phase.generate, *([Phase.shrink] if shrunk else [])]
    with simulated(), planted(name):
        calm = outcome(CALM, phases, calm=True)
        return {"bug": name, "calm": calm, "faults": outcome(most, phases, calm=False)}


def outcome(histories: int, phases: Sequence[Phase], calm: bool) -> dict[str, Any]:
    """The property that fails first, after how many histories and seconds of this process, and in which history."""
    Histories.met.clear()
    Histories.calm = calm
    began = time.process_time()
    failed, history = "", ""
    try:
        search(histories, SEED, phases)
    except BaseException as failure:
        failed, history = in_words(failure), told(Histories.failed)
    took_s = time.process_time() - began
    return {"property": failed, "histories": Histories.met["histories"], "seconds": took_s, "history": history}


def in_words(failure: BaseException) -> str:
    """A property's name, or what an exception of the program's own is, without numbers."""
    text = re.sub(r"^property failed: | \([^()]*\)$", "", str(failure).split("\n")[0])
    kind = "" if isinstance(failure, AssertionError) or "property failed" in str(failure) else type(failure).__name__
    return re.sub(r"\d+(\.\d+)?", "N", f"{kind}: {text}" if kind else text)


def row(found: dict[str, Any]) -> str:
    """A bug's line of the table."""
    calm, faults = found["calm"], found["faults"]
    name = found["bug"].replace("-", " ")
    return (
        f"| {name} | {calm['property'] or 'nothing'} | {faults['property'] or '**nothing**'} "
        f"| {faults['histories']} | {faults['seconds']:.1f} |"
    )


def main(arguments: Sequence[str]) -> int:
    """Print the table, or what became of one bug; 1 if faults do not bring one out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bug", choices=sorted(BUGS), nargs="+")
    parser.add_argument("--most", type=int, default=MOST, help="histories for each")
    chosen = parser.parse_args(arguments)
    print("| bug | without faults, found by | with faults, found by | histories | seconds |\n|---|---|---|---:|---:|")
    missed = 0
    for name in chosen.bug or BUGS:
        found = find(name, chosen.most, shrunk=bool(chosen.bug))
        missed += not found["faults"]["property"]
        print(row(found), flush=True)
        if chosen.bug:
            print(found["faults"]["history"], flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
