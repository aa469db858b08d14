"""A part of a frame, shrunk: what detectors and templates are shown of it."""

from __future__ import annotations

import cv2
import numpy as np

from edgefer.types import Box, Pixels


class View:
    """``area`` of a frame (H, W) uint8 as ``picture``, about ``scale`` (0..1) times as large.

    ``across`` and ``down`` are pixels of the picture a pixel of the frame. What cannot be halved evenly is left out at the right and at
    the bottom, a pixel or two, so that geometry stays exact.
    """

    __slots__ = ("across", "area", "down", "picture")

    def __init__(self, luma: Pixels, area: Box, scale: float = 1.0) -> None:
        self.area = area
        picture, w, h = luma[area.y : area.y + area.h, area.x : area.x + area.w], area.w, area.h
        width, height = max(1, round(scale * w)), max(1, round(scale * h))
        halvings = 0
        while min(w, h) >> halvings + 1 >= 2 and w >> halvings + 1 >= width and h >> halvings + 1 >= height:
            # By halves first: averages as good, at a third of the cost of uneven ones.
            halvings += 1
            rows, columns = h >> halvings, w >> halvings
            picture = np.asarray(cv2.resize(picture[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
        used_w, used_h = w >> halvings << halvings, h >> halvings << halvings
        if picture.shape != (height, width):
            picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        self.picture: Pixels = picture
        self.across, self.down = width / used_w, height / used_h

    def box(self, x: float, y: float, w: float, h: float) -> Box:
        """A rectangle of the picture (left, top, width, height), in whole pixels of the frame."""
        left, top = self.area.x + round(x / self.across), self.area.y + round(y / self.down)
        return Box(left, top, round(w / self.across), round(h / self.down))
