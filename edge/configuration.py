"""A configuration file held against what there is, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from edge.errors import EdgeferError, SettingsError
from edge.settings import Settings, load_settings, place
from edge.system import put

CONFIG = Path("/etc/edgefer/config.toml")
"""Where ``edgefer setup`` writes, and the service reads."""


def check_config(path: Path) -> Settings:
    """The settings of a file whose source, sinks, detector, model and actions could be opened; nothing is.

    Raises `SettingsError` naming file and line.
    """
    from edge.actions import check_actions
    from edge.card import read_card
    from edge.detectors import DETECTORS
    from edge.plug import check_spec, resolve
    from edge.sinks import SINKS
    from edge.sources import SOURCES
    from edge.store import find_model
    from edge.updater import check_updates

    settings = load_settings(path)
    keys = list[str]()
    try:
        if settings.source:
            keys = ["source"]
            check_spec(SOURCES, settings.source, "source")
        for index, text in enumerate(settings.sinks):
            keys = [f"sinks[{index}]"]
            check_spec(SINKS, text, "sink")
        for key in ("name", "follow_name", "photo_name"):
            keys = ["detector", key]
            resolve(DETECTORS, getattr(settings.detector, key), "detector")
        keys = ["model"]
        labels = read_card(find_model(settings.model)).labels
        for index in range(len(settings.action)):
            keys = [f"action[{index}]"]
            check_actions(settings.action[: index + 1], labels)
        if settings.update.enabled:
            keys = ["update", "enabled"]
            check_updates(settings, settings.sinks)
    except EdgeferError as error:
        raise SettingsError(f"{place(path, keys)}: {error}") from None
    return settings


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
            put(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        advice = "; try it with sudo" if isinstance(error, PermissionError) else ""
        raise SettingsError(f"{flag}{path}: cannot be written: {error.strerror}{advice}") from None
