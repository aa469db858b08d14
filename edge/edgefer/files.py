"""Folders that edgefer ships or keeps its state in, and atomic writes."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TextIO, cast

from edgefer.errors import SettingsError

_PACKAGE = Path(__file__).parent
ASSETS = _PACKAGE / "assets"
MAX_READ_BYTES = 500_000_000
"""A larger file is no model: `update.max_mb` ends there too."""
DRAFTS = ".part-edgefer-"
"""How the name of every folder of unfinished files begins."""


def shipped(name: str) -> Path:
    """The folder "deploy" or "models": part of the package in a wheel, part of the repository in a checkout."""
    checkout = {"deploy": _PACKAGE.parent / "deploy", "models": _PACKAGE.parents[1] / "models"}
    installed = ASSETS / name
    return installed if installed.is_dir() else checkout[name]


def state_dir() -> Path:
    """Folder of the files that outlive the process: systemd's state directory, else the user's.

    Raises `SettingsError` where the user has no home folder.
    """
    if state := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(state)
    if home := os.environ.get("XDG_STATE_HOME"):
        return Path(home) / "edgefer"
    try:
        return Path.home() / ".local" / "state" / "edgefer"
    except RuntimeError:
        raise SettingsError("this user has no home folder for edgefer's files; set STATE_DIRECTORY, or HOME") from None


@contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent`` that only this user may open, for unfinished files; it is removed at the end.

    Folders that killed processes left in ``parent`` are removed first. Raises `OSError`.
    """
    import tempfile  # slow to import, and most commands write nothing

    _remove_stale(parent)
    with tempfile.TemporaryDirectory(prefix=DRAFTS, dir=parent, ignore_cleanup_errors=True) as name:
        lock = os.open(name, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(lock)


@lru_cache(maxsize=64)
def _remove_stale(parent: Path) -> None:
    """Remove draft folders that no process holds; once a process and folder, because listing a large folder is slow."""
    for folder in parent.glob(f"{DRAFTS}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                # The lock of a process ends with it, whatever ends it.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path for the new content of ``path``, which replaces ``path`` when the block ends without an error.

    Readers see the old file or the new one, also after a power cut. The file name is the same, since libraries choose the format
    by its suffix; the file mode is that of the old file. Raises `OSError`.
    """
    with draft_folder(path.parent) as folder:
        draft = folder / path.name
        yield draft
        replace_durably(draft, path)


def replace_durably(draft: Path, path: Path) -> None:
    """Rename a complete draft to ``path``, once it is on the disk; it gets the mode of the old file."""
    with suppress(FileNotFoundError):
        draft.chmod(stat.S_IMODE(path.stat().st_mode))
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def only_user(folder: Path) -> Iterator[None]:
    """Hold a folder, which must exist, for one process; raises `BlockingIOError` where another holds it.

    The lock is the kernel's and leaves no file: it ends with the process, whatever ends that.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # some network file systems have no locks
        yield
    finally:
        os.close(lock)


def open_private(path: Path) -> TextIO:
    """A file to write, for this user only; a link with its name is not followed. Raises `OSError`."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return cast(TextIO, os.fdopen(number, "r+"))


def read_regular(path: Path, limit_bytes: int = MAX_READ_BYTES) -> bytes:
    """The content of a regular file; raises `OSError` for a pipe or a device, which may never end, and for a file above the limit."""
    # Without waiting: a pipe that nobody writes to would never open.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if found.st_size > limit_bytes:
            raise OSError(errno.EFBIG, f"larger than {limit_bytes // 1_000_000} MB")
        return file.read(limit_bytes)


def write_atomic(path: Path, content: str | bytes, flag: str = "") -> None:
    """Replace ``path`` by ``content``; raises `SettingsError` where it cannot be written.

    ``flag``: the option that names the path; the message begins with it, and the folder must exist. Without it, the folder is created.
    """
    try:
        if not flag:
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as draft:
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        advice = "; try it with sudo" if isinstance(error, PermissionError) else ""
        raise SettingsError(f"{flag}{path}: cannot be written: {error.strerror}{advice}") from None
