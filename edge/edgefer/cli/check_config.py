"""A configuration file held against what there is."""

from __future__ import annotations

from pathlib import Path

from edgefer.errors import EdgeferError, SettingsError
from edgefer.settings import Settings, load_settings, place


def check_config(path: Path) -> Settings:
    """The settings of a file whose source, sinks, detector, model and actions could be opened; nothing is.

    Raises `SettingsError` naming file and line.
    """
    from edgefer.detectors import DETECTORS
    from edgefer.model.card import read_card
    from edgefer.model.prior import ratio
    from edgefer.model.store import find_model
    from edgefer.sinks import SINKS
    from edgefer.sinks.actions import check_actions
    from edgefer.sources import SOURCES
    from edgefer.spec import check_spec, resolve
    from edgefer.update.updater import check_updates

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
        raise SettingsError(f"{place(path, keys)}: {error}") from None
    return settings
