from __future__ import annotations

import numpy as np
import pytest

from edgefer.pipeline.roi import View
from edgefer.types import Box


def square(box: Box, height: int = 480, width: int = 640) -> np.ndarray:
    luma = np.zeros((height, width), np.uint8)
    luma[box.y : box.y + box.h, box.x : box.x + box.w] = 255
    return luma


def test_a_view_at_full_size_is_the_part_itself() -> None:
    luma = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    view = View(luma, Box(10, 20, 30, 25))
    assert np.array_equal(view.picture, luma[20:45, 10:40])
    assert (view.across, view.down) == (1, 1)


@pytest.mark.parametrize("scale", [1.0, 0.9, 0.5, 0.37, 0.26, 0.11])
@pytest.mark.parametrize("area", [Box(100, 60, 320, 256), Box(101, 63, 317, 251), Box(0, 0, 640, 480)])
def test_what_is_where_in_a_view_is_known_to_a_pixel_of_the_frame(area: Box, scale: float) -> None:
    marked = Box(180, 120, 160, 120)
    view = View(square(marked), area, scale)
    rows, columns = np.flatnonzero(view.picture.max(axis=1) > 127), np.flatnonzero(view.picture.max(axis=0) > 127)
    found = view.box(int(columns[0]), int(rows[0]), len(columns), len(rows))
    step = 1 / min(view.across, view.down)
    assert max(abs(a - b) for a, b in zip((found.x, found.y, found.w, found.h), (180, 120, 160, 120), strict=True)) <= step + 1


def test_halving_first_averages_as_averaging_at_once() -> None:
    luma = np.random.default_rng(1).integers(0, 256, (192, 256), np.uint8)
    view = View(luma, Box(0, 0, 256, 192), 1 / 4)
    at_once = luma.reshape(48, 4, 64, 4).mean(axis=(1, 3))
    assert np.abs(view.picture - at_once).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 5), (2, 700)])
def test_no_size_is_too_small(shape: tuple[int, int]) -> None:
    height, width = shape
    view = View(np.zeros(shape, np.uint8), Box(0, 0, width, height), 0.01)
    assert view.picture.shape[0] >= 1 <= view.picture.shape[1]
    assert view.across > 0 < view.down
