"""A configuration file held against what there is, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from edge.errors import EdgeferError, SettingsError
from edge.settings import Settings, load_settings

CONFIG = Path("/etc/edgefer/config.toml")
"""Where ``edgefer setup`` writes, and the service reads."""


def check_config(path: Path) -> Settings:
    """The settings of a file whose source, sinks, detector and model exist; raises `SettingsError` naming the file."""
    from edge.actions import check_actions
    from edge.card import read_card
    from edge.detectors import DETECTORS
    from edge.plug import parse_spec, resolve
    from edge.sinks import SINKS
    from edge.sources import SOURCES
    from edge.store import find_model
    from edge.updater import check_updates

    settings = load_settings(path)
    try:
        if settings.source:
            resolve(SOURCES, parse_spec(settings.source).scheme, "source")
        for text in settings.sinks:
            spec = parse_spec(text)
            getattr(resolve(SINKS, spec.scheme, "sink"), "check", lambda _: None)(spec)
        for name in (settings.detector.name, settings.detector.photo_name):
            resolve(DETECTORS, name, "detector")
        check_actions(settings.action, read_card(find_model(settings.model)).labels)
        if settings.update.enabled:
            check_updates(settings, settings.sinks)
    except EdgeferError as error:
        raise SettingsError(f"{path}: {error}") from None
    return settings


def write_whole(path: Path, text: str, flag: str = "") -> None:
    """Write a file that a reader sees whole or not at all; raises `SettingsError` where it cannot be written.

    ``flag``: where the user typed the path; the message begins with it, and the folder must be there.
    """
    part = path.parent / f".part-{path.name}"
    try:
        if not flag:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        advice = "; try it with sudo" if isinstance(error, PermissionError) else ""
        raise SettingsError(f"{flag}{path}: cannot be written: {error.strerror}{advice}") from None
