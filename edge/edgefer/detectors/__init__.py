"""Face detectors, by name: luma in, boxes out."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from edgefer.settings import DetectorSettings
from edgefer.spec import resolve
from edgefer.types import Box, Pixels

__all__ = ["DETECTORS", "Detector", "Evidence", "open_detector"]

DETECTORS = {
    "haar": "edgefer.detectors.haar:Haar",
    "blazeface": "edgefer.detectors.blazeface:BlazeFace",
    "yunet": "edgefer.detectors.yunet:YuNet",
}
"""Name -> "module:Class", imported on use. A class is called with the settings."""


class Evidence(Enum):
    """How much a detector must see before it calls something a face."""

    LITTLE = "little"
    """Where a face was a moment ago."""
    ENOUGH = "enough"
    """Anywhere."""
    PLENTY = "plenty"
    """To count as found twice."""


class Detector(Protocol):
    """Finds faces: ``luma`` (H, W) uint8 -> boxes in its pixels.

    ``smallest_px`` and ``largest_px`` (0: any) bound a face's side. One that brings every picture to a size of its own
    has an attribute ``resizes = True``: shrinking it before would only lose.
    """

    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Box]:
        """Boxes in pixels of ``luma``, largest first."""


def open_detector(name: str, settings: DetectorSettings) -> Detector:
    """The detector of that name; raises `SettingsError` for an unknown one."""
    detector: Detector = resolve(DETECTORS, name, "detector")(settings)
    return detector
