from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import open_pipeline
from edgefer.pipeline.throttle import Throttle, heat
from edgefer.settings import Settings, ThrottleSettings
from edgefer.sources import open_source


class Day:
    """Clocks and a thermometer that the test moves."""

    def __init__(self) -> None:
        self.now_s, self.cpu_s, self.why = 100.0, 5.0, ""

    def throttle(self, **settings: float) -> Throttle:
        return Throttle(ThrottleSettings(**settings), lambda: self.now_s, lambda: self.cpu_s, lambda limit, was: self.why)

    def frame(self, throttle: Throttle, took_s: float, cpu_s: float = 0.0) -> float:
        """Process one frame, then pause; returns the pause."""
        self.now_s += took_s
        self.cpu_s += cpu_s
        pause = throttle.pause_s()
        self.now_s += pause
        return pause


def test_without_limits_there_is_no_pause() -> None:
    day = Day()
    throttle = day.throttle(hot_c=0)
    assert [day.frame(throttle, 0.001, 0.001) for _ in range(5)] == [0.0] * 5


def test_the_frame_rate_holds_whatever_a_frame_takes() -> None:
    day = Day()
    throttle, begun = day.throttle(max_fps=10), day.now_s
    for took in (0.02, 0.05, 0.09, 0.01, 0.1) * 4:
        day.frame(throttle, took)
    assert day.now_s - begun == pytest.approx(2.0, abs=0.01)


def test_slow_frames_are_not_slowed_further() -> None:
    day = Day()
    assert day.frame(day.throttle(max_fps=10), 0.3) == 0.0


def test_the_cpu_budget_holds_on_average() -> None:
    day = Day()
    throttle, begun = day.throttle(max_cpu_percent=20), (day.now_s, day.cpu_s)
    for index in range(600):
        busy = 0.030 if index % 10 == 0 else 0.002
        day.frame(throttle, max(1 / 30, busy), busy)
    assert (day.cpu_s - begun[1]) / (day.now_s - begun[0]) <= 0.2
    for _ in range(300):
        day.frame(throttle, 0.05, 0.05)
    assert (day.cpu_s - begun[1]) / (day.now_s - begun[0]) == pytest.approx(0.2, abs=0.02)


def test_a_hot_board_gets_half_the_frames_until_it_is_cool(caplog: pytest.LogCaptureFixture) -> None:
    day = Day()
    throttle = day.throttle(max_fps=10, hot_c=80)
    assert day.frame(throttle, 0.02) == pytest.approx(0.08)
    day.why = "85 °C"
    with caplog.at_level(logging.WARNING):
        for _ in range(120):
            day.frame(throttle, 0.02)
        assert day.frame(throttle, 0.02) == pytest.approx(0.18)
        assert throttle.hot == "85 °C"
        day.why = ""
        for _ in range(60):
            day.frame(throttle, 0.02)
    assert day.frame(throttle, 0.02) == pytest.approx(0.08)
    hot, cool = (record.message for record in caplog.records)
    assert "85 °C" in hot
    assert "cool" in cool


@pytest.mark.parametrize(
    ("degrees", "was_hot", "bits", "why"),
    [
        (79.0, False, "0x0", ""),
        (80.0, False, "0x0", "80 °C"),
        (76.0, True, "0x0", "76 °C"),
        (74.0, True, "0x0", ""),
        (None, False, "0x0", ""),
        (50.0, False, "0x40004", "throttled"),
        (50.0, False, "0x50000", ""),
    ],
)
def test_what_counts_as_hot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, degrees: float | None, was_hot: bool, bits: str, why: str
) -> None:
    monkeypatch.setattr("edgefer.pipeline.throttle.temperature_c", lambda: degrees)
    # A firmware tool with the output of the one on a Pi.
    tool = tmp_path / "vcgencmd"
    tool.write_text(f"#!/bin/sh\necho throttled={bits}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert heat(80.0, was_hot) == why


def counted(spec: str, settings: ThrottleSettings) -> tuple[int, float]:
    source, begun = open_source(spec), time.monotonic()
    summary = run(source, open_pipeline(Settings()), [], threading.Event(), 5, Throttle(settings))
    return summary.frames, time.monotonic() - begun


def test_a_live_source_is_slowed_and_a_file_is_not() -> None:
    frames, seconds = counted("synthetic:?seconds=2&size=160x120", ThrottleSettings(max_fps=5))
    assert frames <= 5 * seconds + 2
    assert counted("synthetic:?seconds=1&size=160x120&paced=false", ThrottleSettings(max_fps=5))[0] == 30


def test_a_stop_ends_a_pause() -> None:
    event = threading.Event()
    threading.Timer(0.5, event.set).start()
    begun = time.monotonic()
    run(open_source("synthetic:?size=160x120"), open_pipeline(Settings()), [], event, 5, Throttle(ThrottleSettings(max_fps=0.05)))
    assert time.monotonic() - begun < 15, "the pause is 20 s"
