"""The history as one HTML page, to keep or to print: the timeline, the shares and the figures."""

from __future__ import annotations

import html
import time
from pathlib import Path

import msgspec

from edgefer.files import ASSETS, write_atomic
from edgefer.history.store import History
from edgefer.history.summary import Summary, ordered, summarise
from edgefer.history.timespec import TimeRange, format_duration, format_time
from edgefer.types import UNCERTAIN

_ASSETS = ASSETS / "web"


def as_page(history: History, span: TimeRange) -> str:
    """One HTML page without links to other files."""
    figures = summarise(history, span)
    labels = [name for name in ordered(history, figures.seconds) if name != UNCERTAIN]
    buckets = history.buckets(span.from_s, span.to_s, span.bucket_s)
    data = {"from": span.from_s, "to": span.to_s, "bucket_s": span.bucket_s, "buckets": buckets}
    parts = {
        "style": (_ASSETS / "page.css").read_text(encoding="utf-8"),
        "chart": (_ASSETS / "chart.js").read_text(encoding="utf-8"),
        # "</script>" inside a label must not end the script.
        "data": msgspec.json.encode({"data": data, "labels": labels, "seconds": figures.seconds}).decode().replace("<", "\\u003c"),
        "from": format_time(span.from_s),
        "to": format_time(span.to_s),
        "made": format_time(time.time()),
        "figures": _figures(figures),
        "rows": "".join(_row(name, format_duration(seconds), figures.share(name)) for name, seconds in figures.seconds.items()),
    }
    page = (_ASSETS / "report.html").read_text(encoding="utf-8")
    head, *pieces = page.split("{{")
    return head + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces))


def write_page(history: History, span: TimeRange, path: Path) -> None:
    """Write `as_page` into a file; raises `SettingsError` where it cannot be written."""
    write_atomic(path, as_page(history, span), flag="--out ")


def _row(name: str, duration: str, share: float) -> str:
    return f'<tr><th scope="row">{html.escape(name)}</th><td>{duration}</td><td>{100 * share:.0f} %</td></tr>'


def _figures(figures: Summary) -> str:
    rows = {
        "Watched": format_duration(figures.watched_s),
        "Faces in view, added up": format_duration(figures.faces_s),
        "Visits": str(figures.visits),
        "Median visit": "–" if figures.median_visit_s is None else format_duration(figures.median_visit_s),
        "Changes of expression": str(figures.changes),
    }
    return "".join(f"<div><dt>{term}</dt><dd>{html.escape(value)}</dd></div>" for term, value in rows.items())
