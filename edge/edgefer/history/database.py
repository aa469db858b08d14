"""The history's SQLite file: its tables, opening it, and renaming one that is corrupt.

For SD cards: commits are few and in batches. They go to a write-ahead log and are on the card when they return
(``synchronous=FULL``): a killed process or a power cut loses at most the batch that was not committed, and the file stays intact.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from pathlib import Path
from typing import Literal

from edgefer.errors import SinkError

_LOG = logging.getLogger(__name__)

Mode = Literal["write", "read"]
APPLICATION = 0x65644665
"""SQLite's application_id: "edFe". A database with another one is refused and not written."""
VERSION = 1
"""SQLite's user_version: the format of the tables."""

_TABLES = f"""
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
_OWN_TABLES = set(re.findall(r"CREATE [^;]*", _TABLES))
"""As SQLite keeps them."""


class CorruptDatabase(sqlite3.DatabaseError):
    """A check of all pages failed."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the error means that the file is damaged, or not a database."""
    # The low byte is the kind of error; the rest is a detail.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_database(path: Path | None, mode: Mode) -> sqlite3.Connection:
    """A connection to a history, in memory where ``path`` is None; to write, a missing file is created and a corrupt one renamed.

    Raises `SinkError` for another program's database or a newer format, `sqlite3.Error` where it cannot be opened.
    """
    try:
        return _open(path, mode)
    except sqlite3.DatabaseError as error:
        if path is None or mode == "read" or not is_corrupt(error):
            raise
        set_aside(path, error)
        return _open(path, mode)


def _open(path: Path | None, mode: Mode) -> sqlite3.Connection:
    # A write-ahead log without its process means that the process was killed. Only then every page is checked, which takes time.
    killed = path is not None and path.with_name(path.name + "-wal").exists()
    uri = path.resolve().as_uri() + ("?mode=ro" if mode == "read" else "") if path else ":memory:"
    connection = sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        new = _check_format(connection, path)
        if mode == "write":
            if killed and (result := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise CorruptDatabase(result)
            if new:
                connection.executescript("PRAGMA auto_vacuum = INCREMENTAL; BEGIN;" + _TABLES + "COMMIT;")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 4000000")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path | None) -> bool:
    """Whether the database is empty; raises `SinkError` where it is not a history, or a newer one.

    Raises `CorruptDatabase` where the tables are exactly ours and one bit of the marks is not.
    """
    application, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if tables == _OWN_TABLES and (application ^ APPLICATION).bit_count() + (version ^ VERSION).bit_count() == 1:
        raise CorruptDatabase(f"application_id {application:#x}, user_version {version}")
    if (tables or application) and application != APPLICATION:
        raise SinkError(f"{path}: a database, but not a history of edgefer's; choose another file")
    if version > VERSION:
        raise SinkError(f"{path}: written by a newer edgefer (format {version}, this one knows {VERSION}); update edgefer")
    return not tables


def set_aside(path: Path, why: Exception) -> None:
    """Rename a corrupt file and its log, so that a new file can begin and nothing is lost."""
    aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    _LOG.error("%s: the history is corrupt (%s); it is renamed to %s, and a new one begins", path, why, aside.name)
