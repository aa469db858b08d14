from __future__ import annotations

import numpy as np
import pytest

from edgefer.pipeline.motion import COLUMNS, ROWS, Gate, Motion, blocks
from edgefer.types import Box


def scene(noise: float = 0.0, seed: int = 0, height: int = 480, width: int = 640) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    picture = 100 + 50 * np.sin(x / 40) + 30 * np.cos(y / 30)
    picture = picture + noise * np.random.default_rng(seed).standard_normal(picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


EVERYWHERE = np.ones((ROWS, COLUMNS), bool)


def gate_after(picture: np.ndarray, threshold: float = 6.0) -> Gate:
    """A gate whose reference is ``picture``."""
    gate = Gate(threshold)
    gate.compare(picture)
    gate.update_reference(EVERYWHERE)
    return gate


def test_every_cell_moved_in_the_first_frame_and_none_in_a_static_scene() -> None:
    gate = Gate(6.0)
    assert gate.compare(scene()).moved.all()
    gate.update_reference(EVERYWHERE)
    assert not any(gate.compare(scene()).moved.any() for _ in range(60))


def test_sensor_noise_is_not_motion() -> None:
    gate = gate_after(scene(3.0, seed=99))
    assert not any(gate.compare(scene(3.0, seed=i)).moved.any() for i in range(1, 30))


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (1080, 1920), (120, 160)])
def test_a_small_change_is_found_in_its_own_cells(size: tuple[int, int]) -> None:
    picture = scene(height=size[0], width=size[1])
    gate, changed = gate_after(picture), picture.copy()
    side = size[1] // 20
    changed[50 : 50 + side, 60 : 60 + side] = 255 - changed[50 : 50 + side, 60 : 60 + side]
    motion = gate.compare(changed)
    inside = np.zeros((ROWS, COLUMNS), bool)
    inside[motion.cells(Box(60, 50, side, side))] = True
    assert motion.moved[inside].any()
    assert not motion.moved[~inside].any()


def test_a_cell_stays_moved_until_it_is_searched() -> None:
    gate, changed = gate_after(scene()), scene()
    changed[100:200, 100:200] = 0
    assert gate.compare(changed).moved.any()
    motion = gate.compare(changed)
    assert motion.moved.any()
    searched = np.zeros((ROWS, COLUMNS), bool)
    searched[motion.cells(Box(90, 90, 120, 120))] = True
    gate.update_reference(searched)
    assert not gate.compare(changed).moved.any()


def test_a_later_comparison_changes_no_earlier_result() -> None:
    gate, changed = gate_after(scene()), scene()
    changed[100:200, 100:200] = 0
    motion = gate.compare(changed)
    moved = motion.moved.copy()
    gate.update_reference(EVERYWHERE)
    gate.compare(changed)
    assert np.array_equal(motion.moved, moved)


def test_slow_drift_adds_up_until_it_counts_as_motion() -> None:
    gate = gate_after(np.full((480, 640), 100, np.uint8))
    moved = [gate.compare(np.full((480, 640), 100 + i, np.uint8)).moved.all() for i in range(1, 8)]
    assert moved == [False] * 5 + [True] * 2


def test_the_bounds_of_cells_hold_them_all_and_stay_within_the_frame() -> None:
    cells = np.zeros((ROWS, COLUMNS), bool)
    cells[[0, 12], [3, 39]] = True
    assert Motion(cells, (16.0, 16.0)).bounds(cells) == Box(32, 0, 608, 224)


def test_only_cells_in_a_block_of_three_by_three_remain() -> None:
    cells = np.zeros((ROWS, COLUMNS), bool)
    cells[:3, :4] = cells[10:12, 10:30] = cells[20:30, 39] = True
    remaining = np.zeros((ROWS, COLUMNS), bool)
    remaining[:3, :4] = True
    assert np.array_equal(blocks(cells), remaining)


def test_at_a_threshold_of_zero_every_cell_always_moved() -> None:
    gate = gate_after(scene(), threshold=0.0)
    assert all(gate.compare(scene()).moved.all() for _ in range(5))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 7)])
def test_tiny_frames_are_accepted(size: tuple[int, int]) -> None:
    gate = gate_after(np.zeros(size, np.uint8))
    motion = gate.compare(np.full(size, 255, np.uint8))
    assert motion.moved.all()
    assert motion.bounds(motion.moved) == Box(0, 0, size[1], size[0])


def test_the_frame_size_may_change() -> None:
    assert gate_after(scene()).compare(scene(height=240, width=320)).cell_px == (8, 8)
