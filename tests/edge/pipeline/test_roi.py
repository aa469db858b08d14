from __future__ import annotations

import numpy as np
import pytest

from edgefer.pipeline.roi import Roi
from edgefer.types import Box


def square(box: Box, height: int = 480, width: int = 640) -> np.ndarray:
    luma = np.zeros((height, width), np.uint8)
    luma[box.y : box.y + box.h, box.x : box.x + box.w] = 255
    return luma


def test_a_roi_at_full_size_is_that_part_of_the_frame() -> None:
    luma = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    roi = Roi(luma, Box(10, 20, 30, 25))
    assert np.array_equal(roi.pixels, luma[20:45, 10:40])
    assert (roi.scale_x, roi.scale_y) == (1, 1)


@pytest.mark.parametrize("scale", [1.0, 0.9, 0.5, 0.37, 0.26, 0.11])
@pytest.mark.parametrize("area", [Box(100, 60, 320, 256), Box(101, 63, 317, 251), Box(0, 0, 640, 480)])
def test_a_rectangle_of_a_roi_maps_to_the_frame_to_a_pixel(area: Box, scale: float) -> None:
    marked = Box(180, 120, 160, 120)
    roi = Roi(square(marked), area, scale)
    rows, columns = np.flatnonzero(roi.pixels.max(axis=1) > 127), np.flatnonzero(roi.pixels.max(axis=0) > 127)
    found = roi.to_frame(int(columns[0]), int(rows[0]), len(columns), len(rows))
    step = 1 / min(roi.scale_x, roi.scale_y)
    assert max(abs(a - b) for a, b in zip((found.x, found.y, found.w, found.h), (180, 120, 160, 120), strict=True)) <= step + 1


def test_halving_first_gives_the_average_of_one_resize() -> None:
    luma = np.random.default_rng(1).integers(0, 256, (192, 256), np.uint8)
    roi = Roi(luma, Box(0, 0, 256, 192), 1 / 4)
    at_once = luma.reshape(48, 4, 64, 4).mean(axis=(1, 3))
    assert np.abs(roi.pixels - at_once).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 5), (2, 700)])
def test_no_size_is_too_small(shape: tuple[int, int]) -> None:
    height, width = shape
    roi = Roi(np.zeros(shape, np.uint8), Box(0, 0, width, height), 0.01)
    assert roi.pixels.shape[0] >= 1 <= roi.pixels.shape[1]
    assert roi.scale_x > 0 < roi.scale_y
