"""Colour to luma: one conversion, made once, at the source."""

from __future__ import annotations

import cv2
import numpy as np

from edgefer.types import Frame, Pixels


def colour_frame(index: int, time_s: float, bgr: cv2.typing.MatLike, name: str | None = None) -> Frame:
    """A frame from an (H, W, 3) uint8 BGR picture, with its luma (ITU-R BT.601 weights)."""
    return Frame(index, time_s, luma_of(bgr), np.asarray(bgr, np.uint8), name)


def luma_of(bgr: cv2.typing.MatLike) -> Pixels:
    """(H, W, 3) uint8 BGR -> (H, W) uint8 luma."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
