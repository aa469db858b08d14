"""Face detectors, by name: luma in, boxes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum

from edgefer import builtin
from edgefer.plug import Plug, Registry
from edgefer.settings import DetectorSettings
from edgefer.types import Box, Pixels

__all__ = ["DETECTORS", "Detector", "Evidence", "open_detector"]


class Evidence(Enum):
    """How much a detector must see before it calls something a face."""

    LITTLE = "little"
    """Near the last position of a face."""
    ENOUGH = "enough"
    """Anywhere."""
    PLENTY = "plenty"
    """To count as found twice."""


class Detector(Plug, ABC):
    """Finds faces. A subclass has ``__call__``.

    It is called with a checked `Spec` and the table ``[detector]``, and raises `EdgeferError` if it cannot be opened.
    """

    kind = "detector"
    resizes: bool = False
    """Brings every picture to a size of its own: a picture that is shrunk before only loses detail."""

    @abstractmethod
    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Box]:
        """Faces in ``luma``, (H, W) uint8, as boxes in its pixels, largest first.

        ``smallest_px`` and ``largest_px`` (0: any) bound a face's side.
        """


DETECTORS: Registry[Detector] = Registry("detector", builtin.DETECTORS)
"""edgefer's own detectors, and those that other packages publish under ``edgefer.detectors``."""


def open_detector(name: str, settings: DetectorSettings) -> Detector:
    """The detector of that name, options after ``:?``; raises `SettingsError` for an unknown one."""
    return DETECTORS.open(name, settings)
