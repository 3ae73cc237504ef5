"""A referee that is not ours: ckpt-chaos kills driver.py at the file events of its run, resumes it, and compares bytes.

    pytest -s tests/test_foreign_referee.py                     a sample of the events, as in CI
    CKPT_CHAOS_POINTS=40 pytest -s tests/test_foreign_referee.py     all of them

It knows nothing of this program: it records every file that the driver opens, renames or makes below its run directory,
then kills a fresh run at each, or with the file torn in half, and runs the same line again.
"""

import os
import re
import sys

import pytest
from commands import DRIVER, command

POINTS = os.environ.get("CKPT_CHAOS_POINTS", "10")  # at most, half of them for files torn in half
UPDATES = 3
# One line that starts a run, or goes on with it.
LINE = [sys.executable, str(DRIVER), "--run-dir={out}", "--resume=auto", f"--updates={UPDATES}", "--batch-size=1"]
LINE += ["--hidden-units=8", "--checkpoint-every=1", "--actors=1"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_file_event_it_ends_in_the_same_bytes(tmp_path):
    result = f"{{out}}/checkpoints/update-{UPDATES:08d}.npz"
    words = [sys.executable, "-m", "ckpt_chaos", "run", "--work", str(tmp_path / "work"), "--result-file", result]
    words += ["--max-points", POINTS, "--timeout", "300", "--fail-on", "HARD_FAIL,SILENT_DIVERGENCE"]
    with command([*words, "--", *LINE]) as referee:
        code = referee.wait(1100)
        said = referee.out + referee.err
    print(said)
    assert code == 0, said
    (points,) = re.findall(r"-> (\d+) crash points \(\+1 control\)", said)
    assert f"\nPASS: {int(points) + 1}\n" in said, said
