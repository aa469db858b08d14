"""The history: one SQLite file of minutes, visits and changes of expression. No images, nobody's identity.

Kept for SD cards: few, batched commits into a write-ahead log, each on the card before the next begins
(``synchronous=FULL``: whatever moment the process is killed or the power fails, the file stays whole and at most the last
batch is missing), and deleted rows are written over.
"""

from __future__ import annotations

import logging
import math
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefer.errors import SinkError
from edgefer.files import state_dir
from edgefer.history.aggregate import MINUTE_S, Batch

_LOG = logging.getLogger(__name__)

APPLICATION = 0x65644665
"""SQLite's application_id: "edFe". A database of something else is refused, never written into."""
VERSION = 1
DAY_S = 86_400
SMALLEST_BYTES = 1_000_000
"""A history is left in peace below this, however full the disk is."""

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE minutes (start INTEGER PRIMARY KEY, frames INTEGER NOT NULL, watched_s REAL NOT NULL);
CREATE TABLE expressions (start INTEGER, expression TEXT, seconds REAL NOT NULL, PRIMARY KEY (start, expression)) WITHOUT ROWID;
CREATE TABLE visits (run INTEGER, track INTEGER, first_s REAL NOT NULL, last_s REAL NOT NULL, PRIMARY KEY (run, track)) WITHOUT ROWID;
CREATE TABLE changes (run INTEGER, track INTEGER, time_s REAL, expression TEXT NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (run, track, time_s)) WITHOUT ROWID;
CREATE TABLE labels (position INTEGER PRIMARY KEY, label TEXT NOT NULL);
CREATE INDEX visits_last ON visits (last_s);
CREATE INDEX changes_time ON changes (time_s);
"""
_SPAN = "SELECT min(start), max(start) FROM minutes"
_TIMES = {"minutes": "start", "expressions": "start", "visits": "last_s", "changes": "time_s"}
"""Table -> the column that says how old a row is."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch of time: seconds since 1970, what was watched of it, and seconds of face by expression."""

    time_s: int
    frames: int
    watched_s: float
    expressions_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class FaceVisit:
    """One face's stay. ``run`` and ``track`` say which; neither says who. Seconds of each expression, and how often it changed."""

    run: int
    track: int
    first_s: float
    last_s: float
    changes: int
    expressions_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class FaceChange:
    """A face shows ``expression`` from ``time_s`` on, with that probability."""

    time_s: float
    run: int
    track: int
    expression: str
    score: float


def default_path() -> Path:
    """Where a history lies that was given no place."""
    return state_dir() / "history.db"


class History:
    """An open history; any thread may use it. ``path`` None keeps it in memory. Closing twice is safe.

    To write, the file is made where it is missing, and one that is corrupt is set aside; to ``read`` it must be there.
    Raises `SinkError` where it cannot be opened, is not a history, or is a newer edgefer's.
    """

    def __init__(self, path: Path | None, mode: Literal["write", "read"] = "write") -> None:
        self.path, self._mode, self._lock = path, mode, threading.RLock()
        self._run = time.time_ns() // 1_000_000
        try:
            if path and mode == "read" and not path.is_file():
                raise SinkError(f"{path}: no history there; 'edgefer run --sink history:{path}' keeps one")
            if path and mode == "write":
                path.parent.mkdir(parents=True, exist_ok=True)
            self._base = self._open_or_set_aside()
        except SinkError:
            raise  # an OSError itself, and in its own words already
        except (OSError, sqlite3.Error) as error:
            advice = "; try it with sudo" if isinstance(error, PermissionError) else ""
            raise SinkError(f"{path}: the history cannot be opened: {getattr(error, 'strerror', None) or error}{advice}") from None

    def _open_or_set_aside(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if self._mode == "read" or not _corrupt(error):
                raise
            self._set_aside(error)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        # A log left behind tells of a run that was killed: only then is the time taken to look at every page.
        killed = self.path is not None and self.path.with_name(self.path.name + "-wal").exists()
        where = self.path.resolve().as_uri() + ("?mode=ro" if self._mode == "read" else "") if self.path else ":memory:"
        base = sqlite3.connect(where, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            application, version = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
            new = not base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if (not new or application) and application != APPLICATION:
                raise SinkError(f"{self.path}: a database, but not a history of edgefer's; choose another file")
            if version > VERSION:
                raise SinkError(f"{self.path}: written by a newer edgefer (format {version}, this one knows {VERSION}); update edgefer")
            if self._mode == "write":
                if killed and (found := base.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise _Corrupt(found)
                if new:
                    base.executescript("PRAGMA auto_vacuum = INCREMENTAL; BEGIN;" + _SCHEMA + "COMMIT;")
                base.execute("PRAGMA journal_mode = WAL")
                base.execute("PRAGMA synchronous = FULL")
                base.execute("PRAGMA journal_size_limit = 4000000")
        except BaseException:
            base.close()
            raise
        return base

    def _set_aside(self, why: Exception) -> None:
        """Rename the file and its log, so that nothing is lost and a new one can begin."""
        assert self.path is not None
        aside = self.path.with_name(f"{self.path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
        for ending in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
        _LOG.error("%s: the history is corrupt (%s); it was set aside as %s, and a new one begins", self.path, why, aside.name)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def add(self, batch: Batch) -> None:
        """Write a batch in one transaction; a file found corrupt is set aside, and the batch begins the new one.

        Raises `sqlite3.Error` where it cannot be written now; nothing of it is then.
        """
        try:
            self._add(batch)
        except sqlite3.DatabaseError as error:
            if self.path is None or not _corrupt(error):
                raise
            with self._lock:
                self._base.close()
                self._set_aside(error)
                self._base = self._open()
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        minutes = [(start, minute.frames, minute.watched_s) for start, minute in batch.minutes.items()]
        seconds = [(start, *share) for start, minute in batch.minutes.items() for share in minute.expressions_s.items()]
        visits = [(self._run, track, round(visit.first_s, 3), round(visit.last_s, 3)) for track, visit in batch.visits.items()]
        changes = [
            (self._run, change.track, round(change.time_s, 3), change.expression, round(change.score, 4)) for change in batch.changes
        ]
        with self._transaction() as base:
            base.executemany(
                "INSERT INTO minutes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET frames = frames + excluded.frames, "
                "watched_s = watched_s + excluded.watched_s", minutes,
            )  # fmt: skip
            base.executemany(
                "INSERT INTO expressions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds", seconds
            )
            base.executemany(
                "INSERT INTO visits VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET first_s = min(first_s, excluded.first_s), "
                "last_s = max(last_s, excluded.last_s)", visits,
            )  # fmt: skip
            base.executemany("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?)", changes)

    def keep_labels(self, labels: Sequence[str]) -> None:
        """Remember the model's classes in their order: whoever reads the file has no model."""
        with self._transaction() as base:
            base.execute("DELETE FROM labels")
            base.executemany("INSERT INTO labels VALUES (?, ?)", enumerate(labels))

    def labels(self) -> list[str]:
        """The classes of the model that was last in use, in its order."""
        return [label for (label,) in self._rows("SELECT label FROM labels ORDER BY position", ())]

    def make_room(self, keep_days: float, max_mb: float, free_mb: float, now_s: float | None = None) -> None:
        """Delete the oldest: what is older than ``keep_days``, and a tenth at a time what is over ``max_mb`` (10^6 bytes).

        By age a tenth of the minutes at most goes at one call: a clock that is wrong for a moment does not take everything.
        On a disk with less than ``free_mb`` free the file may not grow: the newest takes the place of the oldest.
        """
        now_s = time.time() if now_s is None else now_s
        limit = max_mb * 1e6
        if self.path and shutil.disk_usage(self.path.parent).free < free_mb * 1e6:
            limit = max(SMALLEST_BYTES, min(limit, self._bytes()))
        with self._transaction() as base:
            _delete_before(base, min(now_s - keep_days * DAY_S, _tenth(base)))
            if self._bytes(used=True) > 0.98 * limit:
                while self._bytes(used=True) > 0.9 * limit:
                    if (end := _tenth(base)) == math.inf:
                        break
                    _delete_before(base, end)
        if self._bytes() > max_mb * 1e6:
            with self._lock:
                # As a script: sqlite3 steps a plain statement without columns only once, which frees one page.
                self._base.executescript("PRAGMA incremental_vacuum")

    def _bytes(self, used: bool = False) -> float:
        """Size of the database, or of what is in use of it."""
        with self._lock:
            size, pages, free = (
                self._base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
            )
        return float(size * (pages - free if used else pages))

    def span(self) -> tuple[int, int] | None:
        """Beginning of the first and the last minute kept; None where nothing is."""
        first, last = self._rows(_SPAN, ())[0]
        return None if first is None else (first, last)

    def buckets(self, from_s: float, to_s: float, bucket_s: int) -> list[Bucket]:
        """What was seen from one time until before another, in stretches of ``bucket_s`` (whole minutes); empty ones are left out.

        Stretches begin at local midnight or a multiple of ``bucket_s`` from it.
        """
        shift = time.localtime(from_s).tm_gmtoff or 0
        start = f"(start + {shift}) / {bucket_s} * {bucket_s} - {shift}"
        within = (_minute(from_s), to_s)
        shares: dict[int, dict[str, float]] = {}
        for at, expression, seconds in self._rows(
            f"SELECT {start} AS at, expression, sum(seconds) FROM expressions WHERE start >= ? AND start < ? GROUP BY at, expression "
            "ORDER BY at, expression", within,
        ):  # fmt: skip
            shares.setdefault(at, {})[expression] = round(seconds, 3)
        rows = self._rows(
            f"SELECT {start} AS at, sum(frames), sum(watched_s) FROM minutes WHERE start >= ? AND start < ? GROUP BY at ORDER BY at", within
        )
        return [Bucket(at, frames, round(watched, 3), shares.get(at, {})) for at, frames, watched in rows]

    def totals(self, from_s: float, to_s: float) -> dict[str, float]:
        """Seconds of each expression between two times."""
        sql = "SELECT expression, sum(seconds) FROM expressions WHERE start >= ? AND start < ? GROUP BY expression"
        return dict(self._rows(sql, (_minute(from_s), to_s)))

    def visits(self, from_s: float, to_s: float) -> list[FaceVisit]:
        """Every face seen between two times, the first come first."""
        rows = self._rows(
            "SELECT run, track, first_s, last_s FROM visits WHERE last_s >= ? AND first_s < ? ORDER BY first_s, run, track", (from_s, to_s)
        )
        return [self._visit(*row) for row in rows]

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
                # A connection of its own: a long look at years never holds up the writer.
                with closing(sqlite3.connect(self.path.resolve().as_uri() + "?mode=ro", uri=True, timeout=5)) as base:
                    return base.execute(sql, values).fetchall()
            with self._lock:
                return self._base.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise SinkError(f"{self.path or 'history'}: cannot be read: {error}") from None

    def close(self) -> None:
        """Close the file; the log is worked into it."""
        with self._lock:
            self._base.close()


class _Corrupt(sqlite3.DatabaseError):
    """What a look at every page found."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _corrupt(error: sqlite3.Error) -> bool:
    # The low byte is the kind; the rest says where in the file.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _tenth(base: sqlite3.Connection) -> float:
    """Where the oldest tenth of the minutes ends, one of them at least; infinite where nothing is after it."""
    count = base.execute("SELECT count(*) FROM minutes").fetchone()[0]
    row = base.execute("SELECT start FROM minutes ORDER BY start LIMIT 1 OFFSET ?", (max(1, count // 10),)).fetchone()
    return float(row[0]) if row else math.inf


def _delete_before(base: sqlite3.Connection, time_s: float) -> None:
    for table, column in _TIMES.items():
        base.execute(f"DELETE FROM {table} WHERE {column} < ?", (time_s,))


def _minute(time_s: float) -> float:
    """The beginning of the minute a time lies in: a minute begun counts whole."""
    return time_s // MINUTE_S * MINUTE_S
