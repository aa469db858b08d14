"""The history's rows as CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime

import msgspec

from edgefer.history.rows import Bucket, FaceChange, FaceVisit
from edgefer.history.store import History
from edgefer.history.summary import ordered
from edgefer.history.timespec import TimeRange

Row = Bucket | FaceVisit | FaceChange
_KINDS: dict[str, type[Row]] = {"minutes": Bucket, "visits": FaceVisit, "changes": FaceChange}
_TIMES = ("time_s", "first_s", "last_s")


def as_json(history: History, kind: str, span: TimeRange) -> str:
    """An object with the rows of one kind (minutes, visits or changes); times are seconds since 1970."""
    bucket_s = span.bucket_s if kind == "minutes" else None
    content = {"from": span.from_s, "to": span.to_s, "bucket_s": bucket_s, kind: _rows(history, kind, span)}
    return msgspec.json.format(msgspec.json.encode(content), indent=1).decode()


def as_csv(history: History, kind: str, span: TimeRange) -> str:
    """The rows of one kind under a header; each expression is a column of seconds, times are ISO 8601."""
    rows = [msgspec.structs.asdict(row) for row in _rows(history, kind, span)]
    columns = [field.name for field in msgspec.structs.fields(_KINDS[kind])]
    times = [name for name in columns if name in _TIMES]
    plain = [name for name in columns if name not in (*_TIMES, "expressions_s")]
    names = ordered(history, {name for row in rows for name in row["expressions_s"]}) if "expressions_s" in columns else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(name.removesuffix("_s") for name in times), *plain, *(f"{name}_s" for name in names)])
    for row in rows:
        seconds = [row["expressions_s"].get(name, 0.0) for name in names]
        writer.writerow([*(_iso(row[name]) for name in times), *(row[name] for name in plain), *seconds])
    return out.getvalue().rstrip("\n")


def _rows(history: History, kind: str, span: TimeRange) -> Sequence[Row]:
    if kind == "visits":
        return history.visits(span.from_s, span.to_s)
    if kind == "changes":
        return history.changes(span.from_s, span.to_s)
    return history.buckets(span.from_s, span.to_s, span.bucket_s)


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).astimezone().isoformat(timespec="seconds" if float(time_s).is_integer() else "milliseconds")
