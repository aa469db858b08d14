from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edgefer.detectors import Detector, open_detector
from edgefer.errors import SourceError
from edgefer.model.classifier import Classifier
from edgefer.output import QuitRun, Sink
from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import DetectorSettings, GateSettings, Settings
from edgefer.sources import Source, open_source
from edgefer.types import Box, CameraState, Frame, Observation


@pytest.fixture
def pipeline(classifier: Classifier) -> Pipeline:
    return Pipeline(Settings(), classifier, tracked=True)


class Memory(Sink):
    """A sink that keeps its observations."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def write(self, observation: Observation) -> None:
        self.seen.append(observation)

    def close(self) -> None: ...


def test_a_frame_that_fails_is_counted_and_its_error_logged_once(classifier: Classifier, caplog: pytest.LogCaptureFixture) -> None:
    good = open_detector("haar", DetectorSettings())

    class Sometimes(Detector):
        def __call__(self, luma: np.ndarray, *args: object) -> list[Box]:
            if luma[0, 0] == 7:
                raise ValueError("bad luma")
            return good(luma, *args)

    settings = Settings(gate=GateSettings(threshold=0), detector=DetectorSettings(every_s=0))
    pipeline = Pipeline(settings, classifier, tracked=True, detector=Sometimes())

    class Numbered(Source):
        description = "test"

        def __iter__(self) -> Iterator[Frame]:
            for index in range(20):
                yield Frame(index, index / 10, np.full((60, 80), 7 if index % 2 else 100, np.uint8))

        def close(self) -> None: ...

    memory = Memory()
    with caplog.at_level(logging.ERROR):
        summary = run(Numbered(), pipeline, [memory], threading.Event(), timeout_s=1)
    assert (summary.frames, summary.faults, len(memory.seen)) == (10, 10, 10)
    assert caplog.text.count("bad luma") == 1
    assert "10 frames failed" in str(summary)


@pytest.mark.parametrize("set_s", [-86_400.0, 315_000_000.0])
def test_a_clock_that_is_set_stops_nothing_and_faces_are_right_after_half_a_second(pipeline: Pipeline, set_s: float) -> None:
    """A Pi without a battery starts in the past, and jumps when it gets the time from the network."""

    class Jumping(Source):
        description = "a camera whose clock is set"

        def __iter__(self) -> Iterator[Frame]:
            for frame in open_source("synthetic:?paced=false&seconds=4&size=320x240&seed=3"):
                away = frame.index >= 100  # the face goes at 3.3 s
                luma = np.full_like(frame.luma, 128) if away else frame.luma
                yield Frame(frame.index, 1.7e9 + frame.index / 30 + (set_s if frame.index >= 60 else 0), luma)

        def close(self) -> None: ...

    memory = Memory()
    summary = run(Jumping(), pipeline, [memory], threading.Event(), timeout_s=1)
    assert (summary.frames, summary.faults) == (120, 0)
    before, after, gone = memory.seen[59].faces, memory.seen[75].faces, memory.seen[115].faces
    assert len(before) == len(after) == 1
    assert after[0].box.iou(before[0].box) > 0.3
    assert gone == ()


class Camera(Source):
    """A live source whose every step the test decides."""

    live, description = True, "test camera"

    def __init__(self, frames: int, then: str) -> None:
        self.frames, self.then, self.released = frames, then, threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            yield Frame(index, index / 30, np.zeros((60, 80), np.uint8))
        if self.then == "hang":
            self.released.wait(20)
        elif self.then == "fail":
            raise SourceError("test camera: unplugged")

    def close(self) -> None:
        self.released.set()


def test_a_camera_that_hangs_ends_the_run_with_an_error(pipeline: Pipeline) -> None:
    camera, begun = Camera(3, "hang"), time.monotonic()
    with pytest.raises(SourceError, match=r"no frame for 0\.6 s"):
        run(camera, pipeline, [], threading.Event(), timeout_s=0.6)
    assert time.monotonic() - begun < 15, "the camera hangs for 20 s"
    camera.close()


STOPPED = """
import sys, threading, time
import numpy as np
from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import Source
from edgefer.types import Frame

class Camera(Source):
    live, repeats, description = True, True, "camera"
    def __iter__(self):
        for index in range(8):
            yield Frame(index, time.time(), np.full((120, 160), 90, np.uint8))
            print(index, flush=True)
            for _ in range(20):
                time.sleep(0.05)
    def close(self): pass

run(Camera(), open_pipeline(Settings()), [], threading.Event(), timeout_s=4.0)
print("over", flush=True)
"""


def test_a_process_that_was_stopped_does_not_take_the_gap_for_a_camera_that_hangs() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(6)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0].endswith("over\n")


def test_a_silent_camera_is_reported_once_before_it_is_given_up(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefer.sources.camera_health.NOTICED_S", 0.3)
    camera, reported = Camera(3, "hang"), list[str]()

    class Reported(Memory):
        def camera(self, state: CameraState) -> None:
            reported.append(state.how)

    with pytest.raises(SourceError, match="no frame for"):
        run(camera, pipeline, [Reported()], threading.Event(), timeout_s=1.2)
    assert reported == ["silent"]
    assert caplog.text.count("test camera: no frame for") == 1
    camera.close()


def test_a_camera_that_fails_ends_the_run_with_its_own_error(pipeline: Pipeline) -> None:
    with pytest.raises(SourceError, match="unplugged"):
        run(Camera(3, "fail"), pipeline, [], threading.Event(), timeout_s=5)


def test_a_live_source_drops_frames_when_the_loop_is_slow_and_counts_them(pipeline: Pipeline) -> None:
    memory = Memory()
    write = memory.write

    def slow(observation: Observation) -> None:
        time.sleep(0.05)
        write(observation)

    memory.write = slow  # type: ignore[method-assign]
    summary = run(open_source("synthetic:?seconds=1&size=160x120"), pipeline, [memory], threading.Event(), timeout_s=5)
    assert summary.frames < 30
    assert summary.dropped > 0
    assert summary.frames + summary.dropped <= 30
    indices = [observation.frame.index for observation in memory.seen]
    assert indices == sorted(indices)


def test_a_stop_ends_the_run_even_while_the_camera_hangs(pipeline: Pipeline) -> None:
    camera, stop = Camera(1, "hang"), threading.Event()

    class Stopper(Memory):
        def write(self, observation: Observation) -> None:
            threading.Timer(0.3, stop.set).start()

    begun = time.monotonic()
    assert run(camera, pipeline, [Stopper()], stop, timeout_s=30).frames == 1
    assert time.monotonic() - begun < 15, "the camera hangs for 20 s"
    camera.close()


def test_a_sink_can_end_the_run(pipeline: Pipeline) -> None:
    class Window(Memory):
        def write(self, observation: Observation) -> None:
            super().write(observation)
            if len(self.seen) == 4:
                raise QuitRun

    assert run(open_source("synthetic:?paced=false&size=160x120"), pipeline, [Window()], threading.Event(), 5).frames == 4
