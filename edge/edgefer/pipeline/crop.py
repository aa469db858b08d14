"""Face box to model input: the one geometry that training, conversion and the device share."""

from __future__ import annotations

import cv2
import numpy as np

from edgefer.types import Box, Pixels


def crop_square(box: Box, margin: float) -> tuple[float, float, float]:
    """(left, top, side) in pixels of the square that a model sees: centred on the box, its longer side plus the margin all around.

    FER2013 was cut by OpenCV's face detector: on its validation pictures the detector's box has 0.98 of the picture's side and is
    centred on it (medians). So a margin of 0 gives a model what it was trained on.
    """
    side = max(box.w, box.h) * (1 + 2 * margin)
    x, y = box.centre
    return x - side / 2, y - side / 2, side


def crop_face(luma: Pixels, box: Box, margin: float, height_px: int, width_px: int) -> Pixels:
    """(H, W) uint8 luma and a face box -> (height, width) uint8; pixels outside the frame repeat its edge.

    A box that fills a picture of the model's own size gives that picture back, bit for bit.
    """
    left, top, side = crop_square(box, margin)
    x0, y0 = round(left), round(top)
    size = max(1, round(side))
    height, width = luma.shape
    x1, y1 = x0 + size, y0 + size
    inside: cv2.typing.MatLike = luma[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
    if inside.size == 0:
        return np.zeros((height_px, width_px), np.uint8)
    if inside.shape != (size, size):
        beyond = (max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width))
        inside = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE)
    # When a crop gets smaller, averaging keeps fine lines from aliasing; when it gets larger, there is nothing to average.
    method = cv2.INTER_AREA if size > width_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (width_px, height_px), interpolation=method), np.uint8)
