from __future__ import annotations

import numpy as np
import pytest

from edgefer.types import CameraHow, Frame, Observation
from edgefer.web.health import RATE_S, SAMPLE_S, SILENT_S, Health


def frame(index: int = 0) -> Observation:
    return Observation(Frame(index, 0.0, np.zeros((8, 8), np.uint8), dropped=3), (), {"detect": 2.0})


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_camera_waits_for_its_first_frame_is_live_and_then_silent() -> None:
    clock = Clock()
    health = Health(clock)
    assert health.vitals().camera == "waiting"
    health.add(frame())
    clock.now_s += SILENT_S
    assert (health.vitals().camera, health.vitals().silent_s) == ("live", SILENT_S)
    clock.now_s += 0.1
    assert health.vitals().camera == "silent"


@pytest.mark.parametrize(("state", "shown"), [("frozen", "frozen"), ("blocked", "blocked"), ("silent", "live")])
def test_a_camera_with_frames_has_the_state_of_the_camera_check_unless_it_is_silent(state: CameraHow, shown: str) -> None:
    health = Health(Clock())
    health.add(frame())
    health.camera = state
    assert health.vitals().camera == shown


def test_the_frame_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    health = Health(clock)
    for index in range(100):
        clock.now_s += 0.1
        health.add(frame(index))
    vitals = health.vitals()
    assert (vitals.frames, vitals.dropped, vitals.frames_per_s) == (100, 3, pytest.approx(10, abs=0.1))
    clock.now_s += RATE_S
    assert health.vitals().frames_per_s == 0
    assert health.stages_s == {"detect": pytest.approx(0.2)}


def test_the_cpu_is_measured_over_a_while_and_requests_in_between_get_the_last_value() -> None:
    clock, cpu = Clock(), Clock()
    health = Health(clock, cpu)
    clock.now_s, cpu.now_s = clock.now_s + 2 * SAMPLE_S, cpu.now_s + SAMPLE_S
    assert health.vitals().cpu_percent == 50
    clock.now_s += SAMPLE_S / 2
    assert health.vitals().cpu_percent == 50
