"""Deletes the oldest rows of a history, by age and by size."""

from __future__ import annotations

import math
import sqlite3

from edgefer.history.aggregate import MINUTE_S
from edgefer.history.wall_clock import EARLIEST_S

MIN_BYTES = 1_000_000
"""However full the disk is, a history keeps this size."""
CONFIRM_S = 7 * 86_400
"""Seconds ago that rows must reach back before the clock is believed."""
_TIME_COLUMNS = {"minutes": "start", "expressions": "start", "visits": "last_s", "changes": "time_s"}
"""Table -> the column with the age of a row."""


def delete_oldest(connection: sqlite3.Connection, now_s: float, keep_s: float, limit_bytes: float) -> None:
    """Delete rows older than ``keep_s``, and a tenth at a time while the database uses more than ``limit_bytes``.

    By age, one call deletes at most a tenth of the minutes, and nothing from before 2025: no clock that was set recorded that. A clock
    that is years ahead deletes nothing: between ``now_s - keep_s`` and some days ago there must be rows.
    """
    before_s = now_s - keep_s
    if _confirmed(connection, before_s, now_s - min(CONFIRM_S, keep_s / 2)):
        _delete(connection, EARLIEST_S, min(before_s, _oldest_tenth_s(connection, EARLIEST_S)))
    if size_bytes(connection, used=True) > 0.98 * limit_bytes:
        while size_bytes(connection, used=True) > 0.9 * limit_bytes:
            if (end_s := _oldest_tenth_s(connection, 0)) == math.inf:
                break
            _delete(connection, 0, end_s)


def move_early(connection: sqlite3.Connection, run: int, by_s: int) -> None:
    """Add ``by_s`` to the times before 2025 of one run; ``run`` is when it began, in milliseconds."""
    for table in ("minutes", "expressions"):
        sql = f"UPDATE OR REPLACE {table} SET start = start + ? WHERE start >= ? AND start < ?"
        connection.execute(sql, (by_s, run / 1000 - MINUTE_S, EARLIEST_S))
    early = (by_s, run, EARLIEST_S)
    connection.execute("UPDATE visits SET first_s = first_s + ? WHERE run = ? AND first_s < ?", early)
    connection.execute("UPDATE visits SET last_s = last_s + ? WHERE run = ? AND last_s < ?", early)
    connection.execute("UPDATE OR REPLACE changes SET time_s = time_s + ? WHERE run = ? AND time_s < ?", early)


def _confirmed(connection: sqlite3.Connection, from_s: float, to_s: float) -> bool:
    """Whether there are minutes between two times."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM minutes WHERE start >= ? AND start < ?)", (from_s, to_s)).fetchone()[0])


def size_bytes(connection: sqlite3.Connection, used: bool = False) -> float:
    """Size of the database, or of its used pages."""
    size, pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count"))
    return float(size * (pages - free if used else pages))


def _oldest_tenth_s(connection: sqlite3.Connection, from_s: float) -> float:
    """Where the oldest tenth of the minutes from a time on ends, at least one minute; infinite where no minute follows."""
    count = connection.execute("SELECT count(*) FROM minutes WHERE start >= ?", (from_s,)).fetchone()[0]
    sql = "SELECT start FROM minutes WHERE start >= ? ORDER BY start LIMIT 1 OFFSET ?"
    row = connection.execute(sql, (from_s, max(1, count // 10))).fetchone()
    return float(row[0]) if row else math.inf


def _delete(connection: sqlite3.Connection, from_s: float, before_s: float) -> None:
    for table, column in _TIME_COLUMNS.items():
        connection.execute(f"DELETE FROM {table} WHERE {column} >= ? AND {column} < ?", (from_s, before_s))
