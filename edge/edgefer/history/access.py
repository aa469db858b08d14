"""Who may use a history file: its owner alone, and one process that writes."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from edgefer.errors import SinkError


def make_private(path: Path) -> None:
    """Create a missing history with mode 0600, and take what everybody may do with an existing one; SQLite's other files follow it."""
    with suppress(OSError):  # opening it reports the error
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & stat.S_IRWXO:
            path.chmod(mode & ~stat.S_IRWXO)


class WriterLock:
    """Held by the one process that writes a history; it ends with the process.

    Raises `SinkError` that names the other process. The lock is a file of its own: SQLite has its locks on the database.
    """

    def __init__(self, path: Path) -> None:
        lock = path.with_name(f"{path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SinkError(f"{path}: the history cannot be opened: {lock.name}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._descriptor, 20).decode(errors="replace").strip()
            self.close()
            raise SinkError(f"{path}: process {owner} writes this history already; give each edgefer its own: history:PATH") from None
        except OSError:  # some network file systems have no locks
            return
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Release it; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
