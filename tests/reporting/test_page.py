"""The report's page, as a browser shows it."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_runs import alter, copied, damage, lines

from bitexact.cli.exits import DiskRefused
from bitexact.reporting import catalog, verdicts
from bitexact.reporting import page as pages
from bitexact.reporting.verdicts import FAILED, NEVER, PASSED, Report
from training.charts import CHARTS
from training.pace import SPENT

pytest_plugins = ["real_runs"]

NASTY = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\"> & 'quoted' \"twice\""
DETAILS = {"update": 3, "found": f"{NASTY} {'long' * 40}"}
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine to show the page")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
LOADING = {"src", "srcset", "href", "xlink:href", "data", "poster", "background", "action", "formaction", "manifest"}
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Elements(HTMLParser):
    """The elements of a page, each with its attributes, and with the text within it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(len(self.all) - 1)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self.all[self._open.pop()][0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for number in self._open:
            self.all[number][2].append(data)

    def of(self, tag: str) -> list[str]:
        """The texts of all elements of a kind."""
        return ["".join(text) for name, _, text in self.all if name == tag]


def rows(page: str, table: str) -> list[list[str]]:
    """The cells of a table's body, of the table that an id or a class names."""
    _, _, after = page.partition(table)
    body = after.partition("<tbody>")[2].partition("</tbody>")[0]
    return [Elements(row).of("td") for row in body.split("</tr>")[:-1]]


# ---- the page ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(failed: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report with a failed property, passed and unreached ones, faults, and texts that are no harmless HTML."""
    run = copied(failed, tmp_path_factory.mktemp("page") / "run <b>bold</b> & 'co'")
    config = json.loads((run / "config.json").read_text())
    config["versions"] |= {NASTY: NASTY}
    (run / "config.json").write_text(json.dumps(config))
    with (run / "events.jsonl").open("a") as events:
        events.write(json.dumps({"wall_time_s": 90.0, "update": 2, "event": NASTY}) + "\n")
    hit = {"message": catalog.find()[0].properties[0].claim, "assert_type": "always", "details": DETAILS}
    line = {"antithesis_assert": hit | {"hit": True, "condition": False}}
    (run / "properties" / "0.jsonl").write_text(json.dumps(line) + "\n")
    return verdicts.make([run])


@pytest.fixture(scope="module")
def page(made: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    pages.write(made, path, CHARTS.curve)
    return path


@pytest.fixture(scope="module")
def shown(page: Path) -> str:
    """The page's elements, as they are in the browser when it is loaded."""
    return chromium("--dump-dom", page)


def chromium(action: str, page: Path, width: int = 1200) -> str:
    assert CHROMIUM
    profile = page.with_suffix(".profile")
    line = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},900", action, page.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout


@needs_chromium
def test_the_table_a_browser_shows_is_that_of_the_verdicts(made, shown):
    seen = {cells[1]: (cells[0], cells[2]) for cells in rows(shown, 'id="properties"')}
    expected = {}
    for one in made.verdicts:
        failure = f"first failure: {one.details}\n{one.reproduce}" if one.status == FAILED else ""
        text = one.declared.claim + one.declared.meaning + failure
        expected[text] = (one.status, one.declared.kind)
    assert {verdict.status for verdict in made.verdicts} == {PASSED, FAILED, NEVER}
    assert seen == expected


@needs_chromium
def test_what_went_wrong_stands_above_what_did_not(shown):
    order = [cells[0] for cells in rows(shown, 'id="properties"')]
    assert order == sorted(order, key=[FAILED, NEVER, PASSED].index)


@needs_chromium
def test_texts_are_shown_as_texts(made, shown):
    elements = Elements(shown)
    assert "script" not in [tag for tag, _, _ in elements.all]
    assert "img" not in [tag for tag, _, _ in elements.all]
    assert elements.of("title") == [f"Report: {made.runs[0]}"]
    assert elements.of("h1") == [f"Report: {made.runs[0]}"]
    assert rows(shown, 'class="events"')[-1] == ["1.5 min", "after update 2", NASTY]
    assert dict(rows(shown, 'class="settings"'))[NASTY] == NASTY


@needs_chromium
def test_faults_are_shown_in_their_order(made, shown):
    events = lines(made.runs[0] / "events.jsonl")
    assert [cells[2] for cells in rows(shown, 'class="events"')] == [event["event"] for event in events]


@needs_chromium
@pytest.mark.parametrize("width", [1200, 700])
def test_nothing_is_wider_than_the_window(width, page, tmp_path):
    measured = tmp_path / "measured.html"
    script = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script>"
    measured.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    assert Elements(chromium("--dump-dom", measured, width)).of("title") == [f"{width} of {width}"]


@needs_chromium
def test_a_browser_draws_the_page(page, tmp_path):
    picture = tmp_path / "page.png"
    chromium(f"--screenshot={picture}", page)
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (900, 1200)
    assert (np.abs(pixels - (198, 42, 47)).max(axis=2) < 30).sum() > 20  # the red of what failed
    assert (pixels.min(axis=2) > 250).mean() > 0.5


def test_the_page_needs_no_other_file_and_no_network(page):
    for tag, attributes, texts in Elements(page.read_text()).all:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed", "base")
        for name, value in attributes.items():
            assert name not in LOADING or (value or "").startswith("#")
            assert not name.startswith("on")
            assert "url(" not in (value or "").replace("url(#", "")
        if tag == "style":
            assert "url(" not in "".join(texts).replace("url(#", "")
            assert "@import" not in "".join(texts)


def test_the_same_report_gives_the_same_page(made, page, tmp_path):
    pages.write(made, tmp_path / "again.html", CHARTS.curve)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


# ---- its parts --------------------------------------------------------------------------------------------------


def written(runs: list[Path], folder: Path) -> str:
    pages.write(verdicts.make(runs), folder / "page.html", CHARTS.curve)
    return (folder / "page.html").read_text()


def test_the_curve_has_a_point_for_each_update_and_a_tick_for_each_fault(run, tmp_path):
    events = [{"wall_time_s": 10.0 * number, "update": 1, "event": f"fault {number}"} for number in range(7)]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    page = Elements(written([run], tmp_path))
    counts = [list(count) for count in uses(page)]
    legend = 1  # of each kind, one is in the legend
    assert sorted(map(len, counts)) == sorted([len(lines(run / "metrics.jsonl")) + legend, len(events) + legend])


def uses(page: Elements) -> Iterator[list[str]]:
    """The marks of the curve, by kind: those of batches and of faults, not of the axes."""
    axes = {"M 0 0 L 0 3.5", "M 0 0 L -3.5 0"}
    shapes = {
        attributes["id"]: " ".join((attributes.get("d") or "").split())
        for tag, attributes, _ in page.all
        if tag == "path" and attributes.get("id")
    }
    marks: dict[str, list[str]] = {}
    for tag, attributes, _ in page.all:
        name = (attributes.get("xlink:href") or "").removeprefix("#")
        if tag == "use" and shapes.get(name) not in axes:
            marks.setdefault(shapes[name], []).append(name)
    yield from marks.values()


def test_where_the_time_went_is_drawn_of_a_run_that_says_so(run, tmp_path):
    page = Elements(written([run], tmp_path))
    assert "Where the time went" in page.of("h2")
    assert set(SPENT.values()) <= set(page.of("text"))
    alter(run / "metrics.jsonl", lambda line: line.pop("idle_s"))
    assert "Where the time went" not in Elements(written([run], tmp_path)).of("h2"), "as of an earlier version"


def test_a_run_without_an_update_shows_its_faults_and_settings(run, tmp_path):
    (run / "metrics.jsonl").write_text("")
    (run / "events.jsonl").write_text(json.dumps({"wall_time_s": 3.0, "update": 0, "event": "no node is left"}) + "\n")
    page = written([run], tmp_path)
    assert "No update is committed yet." in page
    assert rows(page, "class='events'") == [["0.1 min", "after update 0", "no node is left"]]
    assert dict(rows(page, "class='settings'"))["batch_size"] == "2"


def test_a_run_without_faults_says_so(run, tmp_path):
    assert "Nothing went wrong." in written([run], tmp_path)


def test_of_very_many_faults_the_last_are_shown_and_the_number_is_said(run, tmp_path):
    events = [{"wall_time_s": float(number), "update": 1, "event": f"fault {number}"} for number in range(1234)]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    page = written([run], tmp_path)
    assert [cells[2] for cells in rows(page, "class='events'")] == [f"fault {number}" for number in range(1034, 1234)]
    assert "(the last 200 of 1234)" in page


def test_damaged_lines_of_a_run_are_left_out(run, tmp_path):
    damage(run / "metrics.jsonl", 0)
    (run / "events.jsonl").write_text("torn\n")
    assert "Learning curve" in written([run], tmp_path)


def test_settings_and_versions_are_those_of_the_run(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    shown = dict(rows(written([run], tmp_path), "class='settings'"))
    flat = {name: value for name, value in config.items() if not isinstance(value, dict)}
    everything = {**config["settings"], **config["versions"], **config["code"], **flat}
    assert shown == {name: str(value) for name, value in everything.items()}


def test_several_runs_have_a_section_each_and_no_name_twice(run, resumed, tmp_path):
    page = written([run, resumed], tmp_path)
    headings = Elements(page).of("h2")
    assert [heading for heading in headings if heading.startswith("Learning curve")] == [
        f"Learning curve of {run}",
        f"Learning curve of {resumed}",
    ]
    assert page.count("id='properties'") == 1
    assert "id='events'" not in page


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(), lambda path: path.parent.rmdir()])
def test_a_page_that_cannot_be_written_is_named(run, tmp_path, spoil: Callable[[Path], None]):
    path = tmp_path / "folder" / "page.html"
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(DiskRefused, match=r"page\.html cannot be written"):
        pages.write(verdicts.make([run]), path, CHARTS.curve)
