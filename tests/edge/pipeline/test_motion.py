from __future__ import annotations

import numpy as np
import pytest

from edgefer.pipeline.motion import COLUMNS, ROWS, Gate
from edgefer.types import Box


def scene(noise: float = 0.0, seed: int = 0, height: int = 480, width: int = 640) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    picture = 100 + 50 * np.sin(x / 40) + 30 * np.cos(y / 30)
    picture = picture + noise * np.random.default_rng(seed).standard_normal(picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


EVERYWHERE = (slice(None), slice(None))


def settled(picture: np.ndarray, threshold: float = 6.0) -> Gate:
    gate = Gate(threshold)
    gate.look(picture)
    gate.settle(EVERYWHERE)
    return gate


def test_everything_counts_as_moved_in_the_first_frame_and_nothing_in_a_still_scene() -> None:
    gate = Gate(6.0)
    assert gate.look(scene()).all()
    gate.settle(EVERYWHERE)
    assert not any(gate.look(scene()).any() for _ in range(60))


def test_sensor_noise_is_not_motion() -> None:
    gate = settled(scene(3.0, seed=99))
    assert not any(gate.look(scene(3.0, seed=i)).any() for i in range(1, 30))


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (1080, 1920), (120, 160)])
def test_something_small_that_moves_is_noticed_where_it_is(size: tuple[int, int]) -> None:
    picture = scene(height=size[0], width=size[1])
    gate, changed = settled(picture), picture.copy()
    side = size[1] // 20
    changed[50 : 50 + side, 60 : 60 + side] = 255 - changed[50 : 50 + side, 60 : 60 + side]
    moved = gate.look(changed)
    where = Box(60, 50, side, side)
    assert moved[gate.cells(where)].any()
    moved[gate.cells(where)] = False
    assert not moved.any()


def test_what_moved_stays_moved_until_it_is_settled() -> None:
    gate, changed = settled(scene()), scene()
    changed[100:200, 100:200] = 0
    assert gate.look(changed).any()
    assert gate.look(changed).any()
    gate.settle(gate.cells(Box(90, 90, 120, 120)))
    assert not gate.look(changed).any()


def test_slow_drift_adds_up_until_it_is_noticed() -> None:
    gate = settled(np.full((480, 640), 100, np.uint8))
    moved = [gate.look(np.full((480, 640), 100 + i, np.uint8)).all() for i in range(1, 8)]
    assert moved == [False] * 5 + [True] * 2


def test_the_area_of_cells_holds_them_all_and_stays_within_the_frame() -> None:
    gate = settled(scene())
    cells = np.zeros((ROWS, COLUMNS), bool)
    cells[[0, 12], [3, 39]] = True
    assert gate.area(cells) == Box(32, 0, 608, 224)


def test_a_threshold_of_zero_counts_everything_always() -> None:
    gate = settled(scene(), threshold=0.0)
    assert all(gate.look(scene()).all() for _ in range(5))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 7)])
def test_tiny_frames_are_no_trouble(size: tuple[int, int]) -> None:
    gate = settled(np.zeros(size, np.uint8))
    assert gate.look(np.full(size, 255, np.uint8)).all()
    area = gate.area(np.ones((ROWS, COLUMNS), bool))
    assert (area.x, area.y, area.w, area.h) == (0, 0, size[1], size[0])


def test_a_change_of_frame_size_is_no_trouble() -> None:
    settled(scene()).look(scene(height=240, width=320))
