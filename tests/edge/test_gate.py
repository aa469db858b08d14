from __future__ import annotations

import numpy as np
import pytest

from edge.gate import Gate


def scene(noise: float = 0.0, seed: int = 0, height: int = 480, width: int = 640) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    picture = 100 + 50 * np.sin(x / 40) + 30 * np.cos(y / 30)
    picture = picture + noise * np.random.default_rng(seed).standard_normal(picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_the_first_frame_is_searched_and_a_still_scene_is_not() -> None:
    gate = Gate(6.0, refresh_s=10)
    assert gate.open_for(scene(), 0.0)
    assert not any(gate.open_for(scene(), i / 30) for i in range(1, 60))


def test_sensor_noise_is_not_motion() -> None:
    gate = Gate(6.0, refresh_s=10)
    gate.open_for(scene(3.0, seed=99), 0.0)
    assert not any(gate.open_for(scene(3.0, seed=i), i / 30) for i in range(1, 30))


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (1080, 1920), (120, 160)])
def test_something_small_that_moves_is_noticed(size: tuple[int, int]) -> None:
    gate, picture = Gate(6.0, refresh_s=10), scene(height=size[0], width=size[1])
    gate.open_for(picture, 0.0)
    changed = picture.copy()
    side = size[1] // 20
    changed[50 : 50 + side, 60 : 60 + side] = 255 - changed[50 : 50 + side, 60 : 60 + side]
    assert gate.open_for(changed, 0.1)


def test_slow_drift_adds_up_until_it_is_noticed() -> None:
    gate = Gate(6.0, refresh_s=1000)
    gate.open_for(np.full((480, 640), 100, np.uint8), 0.0)
    opened = [gate.open_for(np.full((480, 640), 100 + i, np.uint8), i / 30) for i in range(1, 13)]
    assert [i + 1 for i, was in enumerate(opened) if was] == [6, 12]


def test_a_still_scene_is_searched_again_after_the_refresh_time_and_when_the_clock_jumps_back() -> None:
    gate = Gate(6.0, refresh_s=2.0)
    gate.open_for(scene(), 100.0)
    assert not gate.open_for(scene(), 101.9)
    assert gate.open_for(scene(), 102.0)
    assert gate.open_for(scene(), 50.0)


def test_a_threshold_of_zero_searches_every_frame() -> None:
    gate = Gate(0.0, refresh_s=10)
    assert all(gate.open_for(scene(), i / 30) for i in range(5))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 7)])
def test_tiny_frames_are_no_trouble(size: tuple[int, int]) -> None:
    assert Gate(6.0, 1.0).open_for(np.zeros(size, np.uint8), 0.0)


def test_a_change_of_frame_size_is_no_trouble() -> None:
    gate = Gate(6.0, refresh_s=10)
    gate.open_for(scene(), 0.0)
    gate.open_for(scene(height=240, width=320), 0.1)
