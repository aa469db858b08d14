"""A region of interest (ROI) of a frame, scaled down for a detector or a template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from edgefer.detectors import Detector, Evidence
from edgefer.luma import turned, turned_square
from edgefer.types import Box, Detection, Pixels, wrapped_deg


class Roi:
    """``area`` of a frame (H, W) uint8 as ``pixels``, scaled by about ``scale`` (0..1), turned upright by ``roll_deg``.

    ``scale_x`` and ``scale_y`` are pixels of the ROI per pixel of the frame. Rows and columns that cannot be halved evenly are
    left out at the right and at the bottom, a pixel or two, so that the geometry stays exact. A turned ROI is the square around
    the middle of the area, see `edgefer.luma.turned_square`.
    """

    __slots__ = ("area", "pixels", "roll_deg", "scale_x", "scale_y")

    def __init__(self, luma: Pixels, area: Box, scale: float = 1.0, roll_deg: float = 0.0) -> None:
        self.roll_deg = roll_deg
        if roll_deg:
            side = max(area.w, area.h)
            self.area = Box(round(area.centre[0] - side / 2), round(area.centre[1] - side / 2), side, side)
            self.pixels = turned_square(luma, self.area.centre, side, roll_deg, max(1, round(scale * side)))
            self.scale_x = self.scale_y = len(self.pixels) / side
            return
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
        self.pixels = pixels
        self.scale_x, self.scale_y = width / used_w, height / used_h

    def to_frame(self, x: float, y: float, w: float, h: float) -> Box:
        """A rectangle of the ROI (left, top, width, height) in whole pixels of the frame; of a turned one, the middle is turned back."""
        if self.roll_deg:
            middle, step = len(self.pixels) / 2, 1 / self.scale_x
            dx, dy = turned((step * (x + w / 2 - middle), step * (y + h / 2 - middle)), self.roll_deg)
            cx, cy = self.area.centre
            return Box(round(cx + dx - step * w / 2), round(cy + dy - step * h / 2), round(step * w), round(step * h))
        left, top = self.area.x + round(x / self.scale_x), self.area.y + round(y / self.scale_y)
        return Box(left, top, round(w / self.scale_x), round(h / self.scale_y))

    def from_frame(self, x: float, y: float) -> tuple[float, float]:
        """A point of the frame in pixels of the ROI."""
        if self.roll_deg:
            (cx, cy), middle = self.area.centre, len(self.pixels) / 2
            px, py = turned((x - cx, y - cy), -self.roll_deg)
            return middle + px * self.scale_x, middle + py * self.scale_y
        return (x - self.area.x) * self.scale_x, (y - self.area.y) * self.scale_y


def detect(detector: Detector, roi: Roi, evidence: Evidence, sizes_px: tuple[float, float]) -> list[Detection]:
    """Faces in a ROI, in pixels of the frame, largest first; ``sizes_px``: least and greatest side of a face there, 0: any."""
    smallest, largest = (round(side * roi.scale_x) for side in sizes_px)
    return in_frame(roi, detector.faces(roi.pixels, smallest, largest, evidence))


def in_frame(roi: Roi, faces: Sequence[Detection]) -> list[Detection]:
    """Faces found in a ROI, in pixels of the frame."""
    boxes = (roi.to_frame(face.box.x, face.box.y, face.box.w, face.box.h) for face in faces)
    rolls = (wrapped_deg(roi.roll_deg + face.roll_deg) for face in faces)
    return [replace(face, box=box, roll_deg=roll) for face, box, roll in zip(faces, boxes, rolls, strict=True)]


def whole_frame(luma: Pixels) -> Box:
    """All of a frame (H, W)."""
    return Box(0, 0, luma.shape[1], luma.shape[0])


def fit_scale(shape: tuple[int, ...], max_side_px: int) -> float:
    """The scale, at most 1, at which the longer side of a shape (H, W) is ``max_side_px``; 0: full size."""
    return min(1.0, max_side_px / max(shape)) if max_side_px else 1.0


def expand(box: Box, share: float, shape: tuple[int, ...]) -> Box:
    """``box`` widened on every side by a share of its own size, inside a frame of ``shape`` (H, W)."""
    dx, dy = round(share * box.w), round(share * box.h)
    left, top = max(0, box.x - dx), max(0, box.y - dy)
    right, bottom = min(shape[1], box.x + box.w + dx), min(shape[0], box.y + box.h + dy)
    return Box(left, top, max(1, right - left), max(1, bottom - top))


def expand_to(area: Box, side_px: int, shape: tuple[int, ...]) -> Box:
    """``area`` with sides of ``side_px`` around its middle, moved into a frame of ``shape`` (H, W), which may be smaller."""
    width, height = min(side_px, shape[1]), min(side_px, shape[0])
    left, top = area.x + (area.w - width) // 2, area.y + (area.h - height) // 2
    return Box(min(max(0, left), shape[1] - width), min(max(0, top), shape[0] - height), width, height)
