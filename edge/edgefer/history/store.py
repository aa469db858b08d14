"""The history: one SQLite file of minutes, visits and changes of expression. No images, nobody's identity."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from edgefer.errors import SinkError
from edgefer.history.access import make_private
from edgefer.history.aggregate import MINUTE_S, Batch
from edgefer.history.database import Mode, is_corrupt, open_database, set_aside
from edgefer.history.retention import MIN_BYTES, delete_oldest, move_early, size_bytes
from edgefer.history.rows import Bucket, FaceChange, FaceVisit
from edgefer.history.wall_clock import local_shift_sql, utc_of_local

HOUR_S = 3600
DAY_S = 86_400


class History:
    """An open history; any thread may use it. ``path`` None keeps it in memory. Closing twice is safe.

    To write, a missing file is created and a corrupt one is renamed; to ``read``, the file must exist.
    Raises `SinkError` where it cannot be opened, is not a history, or was written by a newer edgefer.
    """

    def __init__(self, path: Path | None, mode: Mode = "write") -> None:
        self.path, self._mode, self._lock = path, mode, threading.RLock()
        self._run = time.time_ns() // 1_000_000
        try:
            if path and mode == "read" and not path.is_file():
                raise SinkError(f"{path}: no history there; 'edgefer run --sink history:{path}' keeps one")
            if path and mode == "write":
                path.parent.mkdir(parents=True, exist_ok=True)
                make_private(path)
            self._connection = open_database(path, mode)
        except SinkError:
            raise  # is an OSError too, and its message is complete
        except (OSError, sqlite3.Error) as error:
            advice = "; try it with sudo" if isinstance(error, PermissionError) else ""
            raise SinkError(f"{path}: the history cannot be opened: {getattr(error, 'strerror', None) or error}{advice}") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def add(self, batch: Batch) -> None:
        """Write a batch in one transaction; where the file turns out to be corrupt, it is renamed and a new one begins with the batch.

        Raises `sqlite3.Error` where the batch cannot be written now; then no part of it is.
        """
        try:
            self._add(batch)
        except sqlite3.DatabaseError as error:
            if self.path is None or not is_corrupt(error):
                raise
            with self._lock:
                self._connection.close()
                set_aside(self.path, error)
                self._connection = open_database(self.path, self._mode)
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        run = self._run
        minutes = [(start, minute.frames, minute.watched_s) for start, minute in batch.minutes.items()]
        seconds = [(start, *share) for start, minute in batch.minutes.items() for share in minute.expressions_s.items()]
        visits = [(run, track, round(visit.first_s, 3), round(visit.last_s, 3)) for track, visit in batch.visits.items()]
        changes = [(run, change.track, round(change.time_s, 3), change.expression, round(change.score, 4)) for change in batch.changes]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO minutes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET frames = frames + excluded.frames, "
                "watched_s = watched_s + excluded.watched_s", minutes,
            )  # fmt: skip
            connection.executemany(
                "INSERT INTO expressions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds", seconds
            )
            connection.executemany(
                "INSERT INTO visits VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET first_s = min(first_s, excluded.first_s), "
                "last_s = max(last_s, excluded.last_s)", visits,
            )  # fmt: skip
            connection.executemany("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?)", changes)

    def keep_labels(self, labels: Sequence[str]) -> None:
        """Store the model's classes in their order, for readers that have no model."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM labels")
            connection.executemany("INSERT INTO labels VALUES (?, ?)", enumerate(labels))

    def labels(self) -> list[str]:
        """The classes of the model used last, in its order."""
        return [label for (label,) in self._rows("SELECT label FROM labels ORDER BY position", ())]

    def make_room(self, keep_days: float, max_mb: float, free_mb: float, now_s: float | None = None) -> None:
        """Delete rows older than ``keep_days``, and the oldest while the file is larger than ``max_mb`` (10^6 bytes).

        On a disk with less than ``free_mb`` free the file does not grow: new rows replace the oldest. A clock that is not confirmed
        by rows of some days ago deletes nothing by age.
        """
        now_s = time.time() if now_s is None else now_s
        limit_bytes = max_mb * 1e6
        with self._lock:
            if self.path and shutil.disk_usage(self.path.parent).free < free_mb * 1e6:
                limit_bytes = max(MIN_BYTES, min(limit_bytes, size_bytes(self._connection)))
            with self._transaction() as connection:
                delete_oldest(connection, now_s, keep_days * DAY_S, limit_bytes)
            if size_bytes(self._connection) > max_mb * 1e6:
                # As a script: sqlite3 steps a plain statement without columns only once, which frees one page.
                self._connection.executescript("PRAGMA incremental_vacuum")

    def redate(self, by_s: float) -> None:
        """Add ``by_s`` to the times before 2025 of this run: they were recorded before the clock was set."""
        minutes_s = round(by_s / MINUTE_S) * MINUTE_S
        with self._transaction() as connection:
            move_early(connection, self._run, minutes_s)

    def span(self) -> tuple[int, int] | None:
        """Beginning of the first and the last minute; None where the history is empty."""
        first, last = self._rows("SELECT min(start), max(start) FROM minutes", ())[0]
        return None if first is None else (first, last)

    def recorded(self) -> tuple[int, int] | None:
        """From the first minute to the end of the last; None where the history is empty."""
        minutes = self.span()
        return minutes and (minutes[0], minutes[1] + MINUTE_S)

    def buckets(self, from_s: float, to_s: float, bucket_s: int) -> list[Bucket]:
        """What was seen from one time until before another, in buckets of ``bucket_s`` (whole minutes); empty ones are left out.

        Buckets begin at local midnight or a multiple of ``bucket_s`` from it; those of more than an hour follow the clock on the wall,
        so that a day with a change of clocks has 23 or 25 hours.
        """
        first, last = self.span() or (0, 0)
        limits = (_minute_start(from_s), to_s)
        long = bucket_s > HOUR_S
        shift = local_shift_sql("start", max(from_s, first), max(from_s, first) if not long else min(to_s, last + MINUTE_S))
        start = f"(start + {shift}) / {bucket_s} * {bucket_s}" + (f" - {shift}" if not long else "")
        shares: dict[int, dict[str, float]] = {}
        sql = f"SELECT {start} AS at, expression, sum(seconds) FROM expressions WHERE start >= ? AND start < ? GROUP BY at, expression"
        for at, expression, seconds in self._rows(f"{sql} ORDER BY at, expression", limits):
            shares.setdefault(at, {})[expression] = round(seconds, 3)
        sql = f"SELECT {start} AS at, sum(frames), sum(watched_s) FROM minutes WHERE start >= ? AND start < ? GROUP BY at ORDER BY at"
        return [
            Bucket(utc_of_local(at) if long else at, frames, round(watched, 3), shares.get(at, {}))
            for at, frames, watched in self._rows(sql, limits)
        ]

    def totals(self, from_s: float, to_s: float) -> dict[str, float]:
        """Seconds of each expression between two times."""
        sql = "SELECT expression, sum(seconds) FROM expressions WHERE start >= ? AND start < ? GROUP BY expression"
        return dict(self._rows(sql, (_minute_start(from_s), to_s)))

    def visits(self, from_s: float, to_s: float) -> list[FaceVisit]:
        """Every face seen between two times, in the order they came."""
        sql = "SELECT run, track, first_s, last_s FROM visits WHERE last_s >= ? AND first_s < ? ORDER BY first_s, run, track"
        return [self._visit(*row) for row in self._rows(sql, (from_s, to_s))]

    def _visit(self, run: int, track: int, first_s: float, last_s: float) -> FaceVisit:
        sql = "SELECT time_s, expression FROM changes WHERE run = ? AND track = ? ORDER BY time_s"
        changes = self._rows(sql, (run, track))
        seconds: dict[str, float] = {}
        for (begin, expression), (end, _) in zip(changes, [*changes[1:], (last_s, "")], strict=True):
            seconds[expression] = round(seconds.get(expression, 0.0) + max(0.0, end - begin), 3)
        return FaceVisit(run, track, first_s, last_s, max(0, len(changes) - 1), seconds)

    def changes(self, from_s: float, to_s: float) -> list[FaceChange]:
        """Every change of expression between two times, in order."""
        sql = "SELECT time_s, run, track, expression, score FROM changes WHERE time_s >= ? AND time_s < ? ORDER BY time_s, run, track"
        return [FaceChange(*row) for row in self._rows(sql, (from_s, to_s))]

    def _rows(self, sql: str, values: tuple[object, ...]) -> list[tuple]:  # type: ignore[type-arg]
        try:
            if self.path and self._mode == "write":
                # A connection of its own: a long query never delays the writer.
                with closing(sqlite3.connect(self.path.resolve().as_uri() + "?mode=ro", uri=True, timeout=5)) as connection:
                    return connection.execute(sql, values).fetchall()
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise SinkError(f"{self.path or 'history'}: cannot be read: {error}") from None

    def close(self) -> None:
        """Close the file; SQLite merges the log into it."""
        with self._lock:
            self._connection.close()


def _minute_start(time_s: float) -> float:
    """The beginning of a time's minute: a minute begun counts whole."""
    return time_s // MINUTE_S * MINUTE_S
