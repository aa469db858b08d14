"""The motion gate: whether a frame differs enough from the last one that was searched to be searched again."""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import Pixels

_WIDTH_PX, _HEIGHT_PX = 40, 30


class Gate:
    """Compares frames as thumbnails 40 pixels wide, where one pixel averages away the noise of hundreds.

    ``threshold``: levels of 0..255 by which one thumbnail pixel must change to count as motion; 0 lets every frame
    through. ``refresh_s``: a still scene is searched again after so long.
    """

    def __init__(self, threshold: float, refresh_s: float) -> None:
        self._threshold, self._refresh_s = threshold, refresh_s
        self._last: Pixels | None = None
        self._last_s = 0.0

    def open_for(self, luma: Pixels, time_s: float) -> bool:
        """Whether the frame (H, W) uint8 should be searched; if so it becomes the one to compare with."""
        if self._threshold <= 0:
            return True
        height, width = luma.shape
        # Nearest first, then area: a full-size average would cost more than it saves.
        sparse = luma[:: max(1, height // 120), :: max(1, width // 160)]
        small = np.asarray(cv2.resize(sparse, (_WIDTH_PX, _HEIGHT_PX), interpolation=cv2.INTER_AREA), np.uint8)
        fresh = 0 <= time_s - self._last_s < self._refresh_s
        if fresh and self._last is not None and cv2.norm(small, self._last, cv2.NORM_INF) < self._threshold:
            return False
        self._last, self._last_s = small, time_s
        return True
