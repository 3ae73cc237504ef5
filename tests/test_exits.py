"""How a program ends from a thread of its own while what it started runs: its sentence, and nothing beside it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH_THREADS_THAT_FAIL_WITHOUT_THEIR_PROCESSES = """
import subprocess, sys, threading
import exits

def needs(process):
    process.wait()
    raise ConnectionError("the process is gone")

sys.argv = ["driver.py"]
sys.setswitchinterval(1e-6)
for process in [subprocess.Popen(["sleep", "60"]) for _ in range(50)]:
    threading.Thread(target=needs, args=(process,), daemon=True).start()
exits.at_once(exits.Interrupted(2))
"""


def test_an_end_at_once_says_its_sentence_alone() -> None:
    program = [sys.executable, "-c", WITH_THREADS_THAT_FAIL_WITHOUT_THEIR_PROCESSES]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "driver.py: stopped by SIGINT\n")
