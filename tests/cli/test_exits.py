"""How a program ends from a thread of its own while what it started runs: its sentence, and nothing beside it."""

from pathlib import Path

from commands import ROOT, running

WITH_THREADS_THAT_FAIL_WITHOUT_THEIR_PROCESSES = """
import subprocess, sys, threading
from bitexact.cli import exits

def needs(process):
    process.wait()
    raise ConnectionError("the process is gone")

sys.setswitchinterval(1e-6)
for process in [subprocess.Popen(["sleep", "60"]) for _ in range(50)]:
    threading.Thread(target=needs, args=(process,), daemon=True).start()
exits.at_once(exits.Interrupted(2))
"""


def test_an_end_at_once_says_its_sentence_alone(tmp_path: Path) -> None:
    program = tmp_path / "driver.py"
    program.write_text(WITH_THREADS_THAT_FAIL_WITHOUT_THEIR_PROCESSES)
    with running(program=program, PYTHONPATH=str(ROOT)) as driver:
        assert (driver.wait(), driver.out, driver.err) == (130, "", "driver.py: stopped by SIGINT\n")
        driver.wait_for_the_last_process()
