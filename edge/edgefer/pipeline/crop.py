"""Face box to model input: the one geometry that training, conversion and the device share."""

from __future__ import annotations

import cv2
import numpy as np

from edgefer.luma import turned_square
from edgefer.types import Box, Pixels


def crop_square(box: Box, margin: float) -> tuple[float, float, float]:
    """(left, top, side) in pixels of the square that a model sees: centred on the box, its longer side plus the margin all around.

    FER2013 was cut by OpenCV's face detector: on its validation pictures the detector's box has 0.98 of the picture's side and is
    centred on it (medians). So a margin of 0 gives a model what it was trained on.
    """
    side = max(box.w, box.h) * (1 + 2 * margin)
    x, y = box.centre
    return x - side / 2, y - side / 2, side


def crop_face(luma: Pixels, box: Box, margin: float, height_px: int, width_px: int, roll_deg: float = 0.0, scale: float = 1.0) -> Pixels:
    """(H, W) uint8 luma and a face box -> (height, width) uint8; pixels outside the frame repeat its edge.

    A box that fills a picture of the model's own size gives that picture back, bit for bit. A head that leans by ``roll_deg``,
    clockwise in the picture, is turned upright about the middle of its box. ``scale`` widens the square about the same middle.
    """
    left, top, side = crop_square(box, margin)
    x, y, side = left + side / 2, top + side / 2, side * scale
    size = max(1, round(side))
    if roll_deg:
        # Turned at full size: turned and shrunk at once, one label in five changes.
        inside: cv2.typing.MatLike = turned_square(luma, (x, y), side, roll_deg, size)
    else:
        inside = cut_square(luma, round(x - side / 2), round(y - side / 2), size)
    if inside.size == 0:
        return np.zeros((height_px, width_px), np.uint8)
    # When a crop gets smaller, averaging keeps fine lines from aliasing; when it gets larger, there is nothing to average.
    method = cv2.INTER_AREA if size > width_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (width_px, height_px), interpolation=method), np.uint8)


def cut_square(picture: cv2.typing.MatLike, x0: int, y0: int, size: int) -> cv2.typing.MatLike:
    """A square of a picture (H, W) or (H, W, C); pixels outside repeat its edge, and there are none where all of it is outside."""
    height, width = picture.shape[:2]
    x1, y1 = x0 + size, y0 + size
    inside = picture[max(0, y0) : max(0, min(height, y1)), max(0, x0) : max(0, min(width, x1))]
    if inside.size == 0 or inside.shape[:2] == (size, size):
        return inside
    beyond = (max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width))
    return cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE)
