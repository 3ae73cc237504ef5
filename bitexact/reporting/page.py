"""The report as one self-contained HTML page: properties, learning curve, where time went, faults, config."""

import html
import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bitexact.reporting.charts import Curve, Line, Thinned
from bitexact.reporting.verdicts import FAILED, NEVER, PASSED, Report, Verdict
from bitexact.storage import durable
from bitexact.storage.ledger import METRICS
from bitexact.storage.run import Run

_CLASSES = {PASSED: "passed", FAILED: "failed", NEVER: "never"}
_MOST_EVENTS = 200  # shown of one run; the file holds all
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2129; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h1, h2, td, pre { overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #e3e6ea; }
.small { color: #5c6470; font-size: .87em; }
.status { font-weight: 600; } .status, .short, th { white-space: nowrap; }
.passed .status { color: #18794e; } .failed .status { color: #c62a2f; } .never .status { color: #8f6a00; }
code, pre { font: 13px ui-monospace, monospace; }
pre { background: #f6f7f9; padding: .6rem; overflow-x: auto; white-space: pre-wrap; }
svg { width: 100%; height: auto; }
#properties td:nth-child(2) { width: 50%; } #properties td:nth-child(4) { min-width: 10rem; }
.settings { width: auto; } .settings td:first-child { padding-right: 2rem; }
"""


def write(made: Report, path: Path, curve: Curve) -> None:
    """Write the page; the curve is drawn of runs that have what it shows. Raises DiskRefused."""
    title = "Report: " + ", ".join(str(run) for run in made.runs)
    sections = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(made.summary())}</p>",
        _properties(made.verdicts),
        *(section for run in made.runs for section in _run(run, curve)),
    ]
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )
    durable.write_atomically(path, page.encode())


def _properties(verdicts: Iterable[Verdict]) -> str:
    order = (FAILED, NEVER, PASSED)
    rows = [_row(verdict) for status in order for verdict in verdicts if verdict.status == status]
    head = "<tr><th>result</th><th>property</th><th>kind</th><th>reached by</th></tr>"
    return f"<h2>Properties</h2><table id='properties'><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _row(verdict: Verdict) -> str:
    one = verdict.declared
    failure = ""
    if verdict.status == FAILED:
        text = f"first failure: {verdict.details}\n{verdict.reproduce}".rstrip()
        failure = f"<pre>{html.escape(text)}</pre>"
    return (
        f"<tr class='{_CLASSES[verdict.status]}'><td class='status'>{verdict.status}</td>"
        f"<td>{html.escape(one.claim)}<div class='small'>{html.escape(one.meaning)}</div>{failure}</td>"
        f"<td class='short'>{one.kind}</td>"
        f"<td class='small'>{html.escape(one.situation)}: {html.escape(one.reached_by)}</td></tr>"
    )


def _run(run: Path, curve: Curve) -> list[str]:
    recorded, drawn, spent, updates = Run.open(run), Thinned(), Thinned(), 0
    for line in recorded.ledger.lines(METRICS):
        updates += 1
        if curve.is_in(line):
            drawn.add((line["wall_time_s"] / 60, line[curve.dots], line[curve.line]))
        if curve.spent_is_in(line):
            spent.add((line["wall_time_s"] / 60, *(line[name] for name in curve.spent)))
    events = _Events(recorded.ledger.events())
    name = html.escape(str(run))
    if drawn.points:
        head = f"<h2>Learning curve of {name}</h2>{_drawn(curve, drawn, events)}"
    else:
        done = f"{updates} updates are committed." if updates else "No update is committed yet."
        head = f"<h2>{name}</h2><p>{done}</p>"
    return [head, _where_time_went(curve, spent), _time_line(events), _config(recorded.config)]


class _Events:
    """The last events of a run, how many there were, and when."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.minutes, self.count = Thinned(), 0
        self.last: deque[Line] = deque(maxlen=_MOST_EVENTS)
        for line in lines:
            self.count += 1
            self.last.append(line)
            self.minutes.add((line["wall_time_s"] / 60,))


def _drawn(curve: Curve, drawn: Thinned, events: _Events) -> str:
    """The curve over wall-clock time, with a tick for each event, as inline SVG."""
    with _picture(height=3.2) as (axes, svg):
        minutes, dots, smooth = zip(*drawn.points, strict=True)
        axes.plot(minutes, dots, ".", color="#b9c4d0", label=curve.dots_label)
        axes.plot(minutes, smooth, color="#1f6feb", label=curve.line_label)
        at, foot = [minute for (minute,) in events.minutes.points], axes.get_xaxis_transform()
        axes.plot(at, [0.03] * len(at), "|", color="#c62a2f", markersize=12, label="fault or recovery", transform=foot)
        axes.set(ylabel=curve.ylabel)
    return svg.getvalue()


def _where_time_went(curve: Curve, spent: Thinned) -> str:
    """What each update's time went into, over wall-clock time; nothing for a run that does not say."""
    if not spent.points:
        return ""
    with _picture(height=2.2) as (axes, svg):
        minutes, *seconds = zip(*spent.points, strict=True)
        for values, label in zip(seconds, curve.spent.values(), strict=True):
            axes.plot(minutes, values, label=label, linewidth=1)
        axes.set(ylabel="seconds an update")
    return f"<h2>Where the time went</h2>{svg.getvalue()}"


@contextmanager
def _picture(height: float) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes over minutes to draw on, and what holds the picture when the block has ended: inline SVG."""
    drawing, svg = io.StringIO(), io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "report", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, height), layout="constrained")
        axes = figure.add_subplot()
        yield axes, svg
        axes.set(xlabel="minutes")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)  # above what is drawn
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    text = drawing.getvalue()
    svg.write(text[text.index("<svg") :])


def _time_line(events: _Events) -> str:
    rows = [
        f"<tr><td class='status'>{event['wall_time_s'] / 60:.1f} min</td>"
        f"<td class='short'>after update {event['update']}</td>"
        f"<td>{html.escape(event['event'])}</td></tr>"
        for event in events.last
    ]
    shown = f" (the last {_MOST_EVENTS} of {events.count})" if events.count > _MOST_EVENTS else ""
    body = f"<table class='events'><tbody>{''.join(rows)}</tbody></table>" if rows else "<p>Nothing went wrong.</p>"
    return f"<h2>Faults and recoveries{shown}</h2>{body}"


def _config(recorded: dict[str, Any]) -> str:
    """Whatever a run's config holds: what is grouped in it, such as its settings, one by one."""
    pairs: dict[str, Any] = {}
    for name, value in recorded.items():
        pairs |= value if isinstance(value, dict) else {name: value}
    rows = [f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>" for name, value in pairs.items()]
    return f"<h2>Settings and versions</h2><table class='settings'><tbody>{''.join(rows)}</tbody></table>"
