"""OpenCV's Haar cascade for frontal faces (Viola & Jones 2001), with the cascade file that edgefer ships."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.errors import MissingLibrary
from edge.settings import DetectorSettings
from edge.types import Box, Pixels

CASCADE = Path(__file__).parents[1] / "assets" / "haarcascade_frontalface_default.xml"

_EXPECTED_NEIGHBORS = 1
"""Overlapping finds that are enough where a face was a moment ago."""


class Haar:
    """Upright frontal faces in (H, W) uint8 luma; deterministic, boxes are square."""

    def __init__(self, settings: DetectorSettings) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise MissingLibrary(
                f"OpenCV {cv2.__version__} has no Haar cascades (they left in OpenCV 5): pip install 'opencv-python-headless<5'"
            )
        self._cascade = cv2.CascadeClassifier(str(CASCADE))
        if self._cascade.empty():
            raise MissingLibrary(f"{CASCADE}: the cascade file is missing or damaged; install edgefer again")
        self._settings = settings

    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, sure: bool = True) -> list[Box]:
        """Boxes in pixels of ``luma``, largest first."""
        found = self._cascade.detectMultiScale(
            luma,
            scaleFactor=self._settings.scale_factor,
            minNeighbors=self._settings.min_neighbors if sure else min(_EXPECTED_NEIGHBORS, self._settings.min_neighbors),
            minSize=(smallest_px, smallest_px),
            maxSize=(largest_px, largest_px),
        )
        boxes = [Box(*map(int, box)) for box in found]
        return sorted(boxes, key=lambda box: (-box.area_px, box.x, box.y))
