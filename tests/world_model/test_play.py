"""The page in a real browser: keys pressed, canvases changed, scores moving, at its pace; and the session beneath."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from world_model.model import load
from world_model.session import Session, players_of

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")


@contextlib.contextmanager
def served(model: Path, *flags: str) -> Iterator[str]:
    """A server on a free port: its address. It is stopped by Ctrl-C, as a person stops it."""
    command = [sys.executable, "-m", "world_model", "play", f"--model-path={model}", "--port=0", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address, process.communicate(timeout=10)[1]
        yield address[0]
    finally:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert error.count("\n") == 1, error


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("there is no chromium here")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def test_the_page_plays_both_games(browser: Any, small_model: Path, tmp_path: Path) -> None:
    with served(small_model) as address:
        page, complaints = browser.new_page(), []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_function("stats.frames > 30", timeout=20_000)
        before = page.evaluate("[exact.toDataURL(), dream.toDataURL(), shown.exact.right[1], shown.dream.right[1]]")
        page.keyboard.down("ArrowUp")
        page.wait_for_function("stats.keyToFrame.length > 0", timeout=10_000)
        page.wait_for_function(f"shown.exact.right[1] < {before[2]} - 0.05", timeout=10_000)
        page.keyboard.up("ArrowUp")
        assert page.input_value("#player") == "you"
        after = page.evaluate("[exact.toDataURL(), dream.toDataURL()]")
        assert before[0] != after[0]
        assert before[1] != after[1]
        page.select_option("#player", "you")
        page.keyboard.down("ArrowDown")  # in a corner it loses
        page.wait_for_function("shown.exact.score[0] + shown.exact.score[1] > 0", timeout=60_000)
        page.wait_for_function("shown.dream.score[0] + shown.dream.score[1] > 0", timeout=60_000)
        page.keyboard.up("ArrowDown")
        page.keyboard.press("Space")
        page.wait_for_function("shown.error < 0.2", timeout=10_000)
        page.screenshot(path=os.environ.get("WORLD_MODEL_SCREENSHOT", str(tmp_path / "page.png")))
        assert complaints == []


@pytest.mark.slow
def test_sixty_steps_a_second_and_a_key_within_50_ms(browser: Any, small_model: Path) -> None:
    with served(small_model) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_function("stats.frames > 60", timeout=20_000)
        paces = []
        for _ in range(30):  # until a second in which nothing else took the cores
            steps, frames, delay = one_second(page)
            paces.append((round(steps, 1), round(frames, 1), round(delay, 1)))
            if steps > 59 and frames > 30 and delay < 50:
                return
    raise AssertionError(f"steps and frames a second, and ms from key to frame: {paces}")


def one_second(page: Any) -> tuple[float, float, float]:
    """Steps a second, frames drawn a second, and the median ms from a key to the frame that shows it, over ten keys."""
    page.evaluate("stats.steps = stats.frames = 0, stats.keyToFrame = [], stats.started = performance.now()")
    for key in ("ArrowUp", "ArrowDown") * 5:
        page.keyboard.down(key)
        page.wait_for_timeout(60)  # as long as a person holds it
        page.keyboard.up(key)
        page.wait_for_timeout(40)
    steps, frames = page.evaluate(
        "[stats.steps, stats.frames].map(n => n / (performance.now() - stats.started) * 1000)"
    )
    delays = sorted(page.evaluate("stats.keyToFrame"))
    return steps, frames, delays[len(delays) // 2] if delays else float("inf")


def test_a_port_in_use_is_said_in_one_sentence(small_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "world_model", "play", f"--model-path={small_model}", f"--port={port}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr


def test_a_session_replays_and_sync_takes_the_error_away(small_model: Path) -> None:
    model = load(small_model)
    assert players_of(model.layout) == ("you", "tracker")
    first, second = Session(model, seed=3), Session(model, seed=3)
    shown = {}
    for step in range(200):
        key = step // 10 % 3 - 1
        shown = first.tick(key)
        assert shown == second.tick(key)
    assert shown["error"] > 0.0
    first.sync()
    assert first.tick(0)["error"] < 0.01


def test_the_terminal_shows_both_games(small_model: Path) -> None:
    from world_model.terminal import picture

    text = picture(Session(load(small_model)).tick(0), ("exact", "dream")).plain
    lines = text.splitlines()
    assert "exact  0 : 0" in lines[0]
    assert text.count("●") == 2
    assert text.count("█") >= 8
    assert len({len(line) for line in lines[1:-1]}) == 1
