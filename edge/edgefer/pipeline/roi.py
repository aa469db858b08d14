"""A region of interest (ROI) of a frame, scaled down for a detector or a template."""

from __future__ import annotations

import cv2
import numpy as np

from edgefer.detectors import Detector, Evidence
from edgefer.types import Box, Pixels


class Roi:
    """``area`` of a frame (H, W) uint8 as ``pixels``, scaled by about ``scale`` (0..1).

    ``scale_x`` and ``scale_y`` are pixels of the ROI per pixel of the frame. Rows and columns that cannot be halved evenly are
    left out at the right and at the bottom, a pixel or two, so that the geometry stays exact.
    """

    __slots__ = ("area", "pixels", "scale_x", "scale_y")

    def __init__(self, luma: Pixels, area: Box, scale: float = 1.0) -> None:
        self.area = area
        pixels, w, h = luma[area.y : area.y + area.h, area.x : area.x + area.w], area.w, area.h
        width, height = max(1, round(scale * w)), max(1, round(scale * h))
        halvings = 0
        while min(w, h) >> halvings + 1 >= 2 and w >> halvings + 1 >= width and h >> halvings + 1 >= height:
            # Halving first gives the same averages as one uneven resize, at a third of its cost.
            halvings += 1
            rows, columns = h >> halvings, w >> halvings
            pixels = np.asarray(cv2.resize(pixels[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
        used_w, used_h = w >> halvings << halvings, h >> halvings << halvings
        if pixels.shape != (height, width):
            pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        self.pixels: Pixels = pixels
        self.scale_x, self.scale_y = width / used_w, height / used_h

    def to_frame(self, x: float, y: float, w: float, h: float) -> Box:
        """A rectangle of the ROI (left, top, width, height) in whole pixels of the frame."""
        left, top = self.area.x + round(x / self.scale_x), self.area.y + round(y / self.scale_y)
        return Box(left, top, round(w / self.scale_x), round(h / self.scale_y))


def detect(detector: Detector, roi: Roi, evidence: Evidence, sizes_px: tuple[float, float]) -> list[Box]:
    """Faces in a ROI, in pixels of the frame, largest first; ``sizes_px``: least and greatest side of a face there, 0: any."""
    smallest, largest = (round(side * roi.scale_x) for side in sizes_px)
    return [roi.to_frame(box.x, box.y, box.w, box.h) for box in detector(roi.pixels, smallest, largest, evidence)]


def whole_frame(luma: Pixels) -> Box:
    """All of a frame (H, W)."""
    return Box(0, 0, luma.shape[1], luma.shape[0])


def fit_scale(luma: Pixels, max_side_px: int) -> float:
    """The scale, at most 1, at which the longer side of a frame is ``max_side_px``; 0: full size."""
    return min(1.0, max_side_px / max(luma.shape)) if max_side_px else 1.0


def expand(box: Box, share: float, shape: tuple[int, ...]) -> Box:
    """``box`` widened on every side by a share of its own size, inside a frame of ``shape`` (H, W)."""
    dx, dy = round(share * box.w), round(share * box.h)
    left, top = max(0, box.x - dx), max(0, box.y - dy)
    right, bottom = min(shape[1], box.x + box.w + dx), min(shape[0], box.y + box.h + dy)
    return Box(left, top, max(1, right - left), max(1, bottom - top))


def expand_to_short_side(area: Box, shape: tuple[int, ...]) -> Box:
    """``area`` with both sides at least as long as the shorter side of a frame of ``shape`` (H, W)."""
    width, height = max(area.w, min(shape)), max(area.h, min(shape))
    left, top = area.x + (area.w - width) // 2, area.y + (area.h - height) // 2
    return Box(min(max(0, left), shape[1] - width), min(max(0, top), shape[0] - height), width, height)
