"""The history as one HTML page, to keep or to print: the timeline, the shares and the figures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgefer.files import ASSETS, write_atomic
from edgefer.history.store import History
from edgefer.history.summary import Summary, ordered, summarise
from edgefer.history.timespec import TimeRange, format_duration, format_time
from edgefer.html_template import Html, fill, fill_all
from edgefer.types import UNCERTAIN


def as_page(history: History, span: TimeRange) -> str:
    """One HTML page without links to other files."""
    figures = summarise(history, span)
    labels = [name for name in ordered(history, figures.seconds) if name != UNCERTAIN]
    buckets = history.buckets(span.from_s, span.to_s, span.bucket_s)
    data = {"from": span.from_s, "to": span.to_s, "bucket_s": span.bucket_s, "buckets": buckets}
    content = msgspec.json.encode({"data": data, "labels": labels, "seconds": figures.seconds}).decode()
    return fill(
        _asset("report.html"),
        style=Html(_asset("page.css")),
        chart=Html(_asset("chart.js")),
        # "</script>" inside a label must not end the script.
        data=Html(content.replace("<", "\\u003c")),
        begin=format_time(span.from_s),
        end=format_time(span.to_s),
        made=format_time(time.time()),
        figures=fill_all("<div><dt>$term</dt><dd>$value</dd></div>", _figures(figures)),
        rows=fill_all('<tr><th scope="row">$name</th><td>$time</td><td>$share %</td></tr>', _shares(figures)),
    )


def write_page(history: History, span: TimeRange, path: Path) -> None:
    """Write `as_page` into a file; raises `SettingsError` where it cannot be written."""
    write_atomic(path, as_page(history, span), flag="--out ")


def _figures(figures: Summary) -> Iterator[dict[str, str]]:
    rows = {
        "Watched": format_duration(figures.watched_s),
        "Faces in view, added up": format_duration(figures.faces_s),
        "Visits": str(figures.visits),
        "Median visit": "–" if figures.median_visit_s is None else format_duration(figures.median_visit_s),
        "Changes of expression": str(figures.changes),
    }
    return ({"term": term, "value": value} for term, value in rows.items())


def _shares(figures: Summary) -> Iterator[dict[str, str]]:
    for name, seconds in figures.seconds.items():
        yield {"name": name, "time": format_duration(seconds), "share": f"{100 * figures.share(name):.0f}"}


def _asset(name: str) -> str:
    return (ASSETS / "web" / name).read_text(encoding="utf-8")
