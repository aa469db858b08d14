"""Folders that edgefer ships and keeps, and files that a reader sees whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from edgefer.errors import SettingsError

_PACKAGE = Path(__file__).parent
ASSETS = _PACKAGE / "assets"


def shipped(name: str) -> Path:
    """The folder "deploy" or "models": inside the package in a wheel, at its place in the tree in a checkout."""
    places = {"deploy": _PACKAGE.parent / "deploy", "models": _PACKAGE.parents[1] / "models"}
    installed = ASSETS / name
    return installed if installed.is_dir() else places[name]


def state_dir() -> Path:
    """Where edgefer keeps what must outlive it: systemd's state directory, else the user's."""
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state or Path(home) / "edgefer")


def replace_durably(part: Path, path: Path) -> None:
    """Give a finished file its name, once it is on the disk: a power cut leaves the old file or the new one, whole."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def write_whole(path: Path, content: str | bytes, flag: str = "") -> None:
    """Write a file that a reader sees whole or not at all; raises `SettingsError` where it cannot be written.

    ``flag``: where the user typed the path; the message begins with it, and the folder must be there.
    """
    part = path.parent / f".part-{path.name}"
    try:
        if not flag:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
            replace_durably(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        advice = "; try it with sudo" if isinstance(error, PermissionError) else ""
        raise SettingsError(f"{flag}{path}: cannot be written: {error.strerror}{advice}") from None
