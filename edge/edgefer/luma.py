"""Luma: colour converted to it once, at the source, and squares of it turned upright."""

from __future__ import annotations

import math

import cv2
import numpy as np

from edgefer.types import Box, Frame, Pixels


def colour_frame(index: int, time_s: float, bgr: cv2.typing.MatLike, name: str | None = None) -> Frame:
    """A frame from an (H, W, 3) uint8 BGR picture, with its luma (ITU-R BT.601 weights)."""
    return Frame(index, time_s, luma_of(bgr), np.asarray(bgr, np.uint8), name)


def luma_of(bgr: cv2.typing.MatLike) -> Pixels:
    """(H, W, 3) uint8 BGR -> (H, W) uint8 luma."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)


def turned_square(luma: Pixels, centre: tuple[float, float], side: float, roll_deg: float, size_px: int) -> Pixels:
    """(size_px, size_px) uint8: the square of ``side`` pixels around ``centre`` of (H, W) luma, turned upright.

    A head that leans by ``roll_deg``, clockwise in the picture, is upright in it. Pixels outside the picture repeat its edge.
    `from_turned` maps positions back.
    """
    reach = side * 0.7072 + 2
    height, width = luma.shape
    (x, y), step = centre, side / size_px
    left, top = (min(max(0, math.floor(at - reach)), end - 1) for at, end in ((x, width), (y, height)))
    right, bottom = max(left + 1, math.ceil(x + reach)), max(top + 1, math.ceil(y + reach))
    part: cv2.typing.MatLike = luma[top:bottom, left:right]
    x, y, factor = x - left, y - top, math.floor(step)
    if factor > 1:  # averaged first: the turn alone would pick pixels
        rows, columns = part.shape
        small = max(1, columns // factor), max(1, rows // factor)
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        x, y, step = x * small[0] / columns, y * small[1] / rows, step / factor
    cos, sin, middle = step * math.cos(math.radians(roll_deg)), step * math.sin(math.radians(roll_deg)), (size_px - 1) / 2
    matrix = np.array([[cos, -sin, x - 0.5 - (cos - sin) * middle], [sin, cos, y - 0.5 - (sin + cos) * middle]])
    method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(part, matrix, (size_px, size_px), flags=method, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def from_turned(box: Box, centre: tuple[float, float], side: float, roll_deg: float, size_px: int) -> Box:
    """A box found in a `turned_square` as a box of the picture: its middle turned back, its sides scaled."""
    step, (x, y) = side / size_px, box.centre
    dx, dy = turned((step * (x - size_px / 2), step * (y - size_px / 2)), roll_deg)
    w, h = step * box.w, step * box.h
    return Box(round(centre[0] + dx - w / 2), round(centre[1] + dy - h / 2), round(w), round(h))


def turned(vector: tuple[float, float], roll_deg: float) -> tuple[float, float]:
    """(x, y) turned by ``roll_deg``, clockwise in the picture."""
    (x, y), cos, sin = vector, math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))
    return cos * x - sin * y, sin * x + cos * y
