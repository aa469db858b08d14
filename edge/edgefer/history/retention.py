"""Deletes the oldest rows of a history, by age and by size."""

from __future__ import annotations

import math
import sqlite3

MIN_BYTES = 1_000_000
"""However full the disk is, a history keeps this size."""
_TIME_COLUMNS = {"minutes": "start", "expressions": "start", "visits": "last_s", "changes": "time_s"}
"""Table -> the column with the age of a row."""


def delete_oldest(connection: sqlite3.Connection, before_s: float, limit_bytes: float) -> None:
    """Delete rows older than ``before_s``, and a tenth at a time while the database uses more than ``limit_bytes``.

    By age, one call deletes at most a tenth of the minutes: a clock that is wrong for a short time does not delete everything.
    """
    _delete_before(connection, min(before_s, _oldest_tenth_s(connection)))
    if size_bytes(connection, used=True) > 0.98 * limit_bytes:
        while size_bytes(connection, used=True) > 0.9 * limit_bytes:
            if (end_s := _oldest_tenth_s(connection)) == math.inf:
                break
            _delete_before(connection, end_s)


def size_bytes(connection: sqlite3.Connection, used: bool = False) -> float:
    """Size of the database, or of its used pages."""
    size, pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count"))
    return float(size * (pages - free if used else pages))


def _oldest_tenth_s(connection: sqlite3.Connection) -> float:
    """Where the oldest tenth of the minutes ends, at least one minute; infinite where no minute follows."""
    count = connection.execute("SELECT count(*) FROM minutes").fetchone()[0]
    row = connection.execute("SELECT start FROM minutes ORDER BY start LIMIT 1 OFFSET ?", (max(1, count // 10),)).fetchone()
    return float(row[0]) if row else math.inf


def _delete_before(connection: sqlite3.Connection, time_s: float) -> None:
    for table, column in _TIME_COLUMNS.items():
        connection.execute(f"DELETE FROM {table} WHERE {column} < ?", (time_s,))
