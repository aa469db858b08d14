"""A configuration file checked against the plugs, models and programs that exist here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgefer.errors import EdgeferError, SettingsError
from edgefer.settings import Settings, load_settings, location
from edgefer.spec import parse_spec


def check_config(path: Path) -> Settings:
    """The settings of a file whose source, sinks, detectors, model and actions could be opened; opens nothing.

    Raises `SettingsError` naming file and line.
    """
    from edgefer.detectors import DETECTORS
    from edgefer.model.card import read_card
    from edgefer.model.prior import ratio
    from edgefer.model.store import find_model
    from edgefer.sinks import SINKS
    from edgefer.sinks.actions import check_actions
    from edgefer.sources import SOURCES
    from edgefer.update.updater import check_updates

    settings = load_settings(path)
    keys = list[str]()
    try:
        if settings.source:
            keys = ["source"]
            SOURCES.check(settings.source)
        for index, text in enumerate(settings.sinks):
            keys = [f"sinks[{index}]"]
            SINKS.check(text)
            refuse_overlap(settings.source, [text])
        detector = settings.detector
        for key, name in (("name", detector.name), ("follow_name", detector.follow_name), ("photo_name", detector.photo_name)):
            keys = ["detector", key]
            DETECTORS.check(name)
        keys = ["model"]
        card = read_card(find_model(settings.model))
        labels = card.labels
        keys = ["classify", "prior"]
        if settings.classify.prior:
            ratio(settings.classify.prior, card.prior, labels, settings.model)
        for index in range(len(settings.action)):
            keys = [f"action[{index}]"]
            check_actions(settings.action[: index + 1], labels)
        if settings.update.enabled:
            keys = ["update", "enabled"]
            check_updates(settings, settings.sinks)
    except EdgeferError as error:
        raise SettingsError(f"{location(path, keys)}: {error}") from None
    return settings


def refuse_overlap(source: str, sinks: Sequence[str]) -> None:
    """Raises `SettingsError` where annotated pictures would be written among the pictures that are read: the next run would read them."""
    read = parse_spec(source) if source.startswith("images:") else None
    if read is None or not Path(read.path).is_dir():
        return
    folder, below = Path(read.path).resolve(), read.options.get("recurse", "true").lower() not in ("false", "0")
    for spec in (parse_spec(text) for text in sinks if text.startswith("snapshots:")):
        out = Path(spec.path).resolve()
        if out == folder or (below and out.is_relative_to(folder)):
            raise SettingsError(f"{spec}: lies in the folder of {read}, and the next run would read it; choose another folder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer check-config``."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="the TOML file to check")
    parser.add_argument("--config", metavar="FILE", help="the same, as a flag")


def main(options: argparse.Namespace) -> int:
    """Check the file; the first error is one line with its position."""
    name = options.file or options.config
    if not name:
        print("edgefer: no file given; write edgefer check-config FILE", file=sys.stderr)
        return 2
    check_config(Path(name))
    print(f"{name}: good")
    return 0
