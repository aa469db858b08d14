"""What the history says: as a table, CSV, JSON or curves in the terminal, and as one page of HTML to keep or print."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from edgefer.errors import SettingsError
from edgefer.files import ASSETS, write_atomic
from edgefer.history.aggregate import MINUTE_S
from edgefer.history.store import Bucket, FaceChange, FaceVisit, History, default_path
from edgefer.history.timespec import duration_s, fitting_bucket_s, moment_s, words
from edgefer.html_template import Html, fill, fill_all
from edgefer.settings import CONFIG, load_settings
from edgefer.spec import parse_spec
from edgefer.types import UNCERTAIN

_ASSETS = ASSETS / "web"
SERVICE_STATE = Path("/var/lib/edgefer")
"""Where the service runs, and its relative paths begin: StateDirectory= in edge/deploy/edgefer.service."""
_BARS = " ▁▂▃▄▅▆▇█"
_KINDS = {"minutes": Bucket, "visits": FaceVisit, "changes": FaceChange}


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is asked for: from one time until before another, in buckets; seconds since 1970, seconds."""

    from_s: float
    to_s: float
    bucket_s: int


def stretch(begin: str, end: str, bucket: str | None, most: int) -> Stretch:
    """The times as typed; without a bucket the shortest usual one of which there are at most ``most``.

    Raises `SettingsError` where a time cannot be read, or the end is not after the beginning.
    """
    now_s = time.time()
    from_s, to_s = moment_s(begin, now_s), moment_s(end, now_s)
    if from_s >= to_s:
        raise SettingsError(f"--from {begin} ({_local(from_s)}) is not before --to {end} ({_local(to_s)})")
    if bucket is None:
        return Stretch(from_s, to_s, fitting_bucket_s(to_s - from_s, most))
    found_s = duration_s(bucket)
    if found_s < MINUTE_S:
        raise SettingsError(f"--bucket {bucket}: the history is kept by the minute; 1m is the shortest")
    return Stretch(from_s, to_s, round(found_s / MINUTE_S) * MINUTE_S)


def history_path(given: str | None, config: str | None) -> Path:
    """The file given, else that of the configuration's ``history:`` sink, else the usual place; without ``config`` the service's counts."""
    if given:
        return Path(given)
    file = Path(config) if config else CONFIG if os.access(CONFIG, os.R_OK) else None
    for spec in map(parse_spec, load_settings(file).sinks):
        if spec.scheme == "history":
            usual = default_path()
            return SERVICE_STATE / (spec.path or usual.name) if file == CONFIG else Path(spec.path or usual)
    return default_path()


def as_json(history: History, of: str, asked: Stretch) -> str:
    """An object with the rows of one kind, times in seconds since 1970."""
    rows = [asdict(row) for row in _rows(history, of, asked)]
    return json.dumps({"from": asked.from_s, "to": asked.to_s, "bucket_s": asked.bucket_s if of == "minutes" else None, of: rows}, indent=1)


def as_csv(history: History, of: str, asked: Stretch) -> str:
    """Rows under a header; each expression is a column of seconds, times are ISO 8601."""
    rows = [asdict(row) for row in _rows(history, of, asked)]
    columns = [field.name for field in fields(_KINDS[of])]
    times = [name for name in columns if name in ("time_s", "first_s", "last_s")]
    plain = [name for name in columns if name not in (*times, "expressions_s")]
    names = _ordered(history, {name for row in rows for name in row["expressions_s"]}) if "expressions_s" in columns else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(name.removesuffix("_s") for name in times), *plain, *(f"{name}_s" for name in names)])
    for row in rows:
        shares = [row["expressions_s"].get(name, 0.0) for name in names]
        writer.writerow([*(_iso(row[name]) for name in times), *(row[name] for name in plain), *shares])
    return out.getvalue().rstrip("\n")


def _rows(history: History, of: str, asked: Stretch) -> Sequence[Bucket | FaceVisit | FaceChange]:
    if of == "visits":
        return history.visits(asked.from_s, asked.to_s)
    if of == "changes":
        return history.changes(asked.from_s, asked.to_s)
    return history.buckets(asked.from_s, asked.to_s, asked.bucket_s)


def as_table(history: History, asked: Stretch) -> str:
    """For people: what was watched, and how long each expression was seen."""
    buckets = history.buckets(asked.from_s, asked.to_s, asked.bucket_s)
    seconds = _sums(bucket.expressions_s for bucket in buckets)
    visits = history.visits(asked.from_s, asked.to_s)
    head = f"{_local(asked.from_s)} to {_local(asked.to_s)}: watched {words(sum(bucket.watched_s for bucket in buckets))}"
    if not seconds:
        return f"{head}, no face seen{_kept(history)}"
    stays = sorted(visit.last_s - visit.first_s for visit in visits)
    lines = [f"{head}, {len(visits)} visits" + (f", half of them longer than {words(stays[len(stays) // 2])}" if stays else "")]
    whole = sum(seconds.values()) or 1.0
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        share = seconds[name] / whole
        lines.append(f"{name:12} {100 * share:5.1f} %  {'█' * round(30 * share):30}  {words(seconds[name])}")
    return "\n".join(lines)


def as_plot(history: History, asked: Stretch, width: int) -> str:
    """One line of bars for each expression: how many faces showed it, on average, in each bucket.

    Buckets are lengthened until they fit into ``width`` characters.
    """
    bucket_s = max(asked.bucket_s, fitting_bucket_s(asked.to_s - asked.from_s, max(10, width - 34)))
    buckets = history.buckets(asked.from_s, asked.to_s, bucket_s)
    seconds = _sums(bucket.expressions_s for bucket in buckets)
    if not seconds:
        return f"{_local(asked.from_s)} to {_local(asked.to_s)}: no face seen{_kept(history)}"
    # A bucket begins where its neighbours end, and the first of them perhaps before what is asked for.
    begin_s = buckets[0].time_s - -(-int(buckets[0].time_s - asked.from_s) // bucket_s) * bucket_s
    columns = int(asked.to_s - begin_s) // bucket_s + 1
    grid = {name: [0.0] * columns for name in seconds}
    for bucket in buckets:
        for name, found in bucket.expressions_s.items():
            grid[name][(bucket.time_s - begin_s) // bucket_s] += found
    most, whole = max(map(max, grid.values())) or 1.0, sum(seconds.values()) or 1.0
    begin, end = _local(asked.from_s), _local(asked.to_s)
    lines = [f"{'':13}{begin}{end:>{max(1, columns - len(begin))}}"]
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        # Whatever is there at all shows as the lowest bar.
        bars = "".join(_BARS[-int(-8 * value // most)] for value in grid[name])
        lines.append(f"{name:12} {bars} {100 * seconds[name] / whole:4.0f} %  {words(seconds[name])}")
    return "\n".join(lines)


def as_page(history: History, asked: Stretch) -> str:
    """One HTML page that needs nothing else: the timeline, the shares, the figures."""
    buckets = history.buckets(asked.from_s, asked.to_s, asked.bucket_s)
    seconds = _sums(bucket.expressions_s for bucket in buckets)
    visits = history.visits(asked.from_s, asked.to_s)
    labels = [name for name in _ordered(history, set(seconds)) if name != UNCERTAIN]
    stays = sorted(visit.last_s - visit.first_s for visit in visits)
    figures = {
        "Watched": words(sum(bucket.watched_s for bucket in buckets)),
        "Faces in view, added up": words(sum(seconds.values())),
        "Visits": str(len(visits)),
        "Half of them longer than": words(stays[len(stays) // 2]) if stays else "–",
        "Changes of expression": str(sum(visit.changes for visit in visits)),
    }
    data = {"from": asked.from_s, "to": asked.to_s, "bucket_s": asked.bucket_s, "buckets": [asdict(bucket) for bucket in buckets]}
    whole = sum(seconds.values()) or 1.0
    return fill(
        (_ASSETS / "report.html").read_text(encoding="utf-8"),
        style=Html((_ASSETS / "page.css").read_text(encoding="utf-8")),
        chart=Html((_ASSETS / "chart.js").read_text(encoding="utf-8")),
        # "</script>" inside a label must not end the script.
        data=Html(json.dumps({"data": data, "labels": labels, "seconds": seconds}).replace("<", "\\u003c")),
        begin=_local(asked.from_s),
        end=_local(asked.to_s),
        made=_local(time.time()),
        figures=fill_all("<div><dt>$term</dt><dd>$value</dd></div>", ({"term": term, "value": value} for term, value in figures.items())),
        rows=fill_all(
            '<tr><th scope="row">$name</th><td>$time</td><td>$share %</td></tr>',
            (
                {"name": name, "time": words(found_s), "share": f"{100 * found_s / whole:.0f}"}
                for name, found_s in sorted(seconds.items(), key=lambda entry: -entry[1])
            ),
        ),
    )


def write_page(history: History, asked: Stretch, path: Path) -> None:
    """`as_page` into a file, whole or not at all; raises `SettingsError` where it cannot be written."""
    write_atomic(path, as_page(history, asked), flag="--out ")


def _sums(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for row in rows:
        for name, found in row.items():
            seconds[name] = seconds.get(name, 0.0) + found
    return seconds


def _ordered(history: History, seen: set[str]) -> list[str]:
    """The model's classes in its order, then what else was seen."""
    labels = history.labels()
    return [*labels, *sorted(seen - {*labels, UNCERTAIN}), UNCERTAIN]


def _kept(history: History) -> str:
    span = history.span()
    return f"; the history holds {_local(span[0])} to {_local(span[1] + MINUTE_S)}" if span else "; the history is empty"


def _local(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).strftime("%Y-%m-%d %H:%M")


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).astimezone().isoformat(timespec="seconds" if float(time_s).is_integer() else "milliseconds")
