from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from faults import Camera
from notify import Listener

from edgefer.errors import SourceError
from edgefer.sources import capture, open_source
from edgefer.sources.camera import CameraOptions
from edgefer.sources.camera_health import NOTICED_S, CameraHealth, contrast
from edgefer.sources.synthetic import Scene
from edgefer.types import CameraState, Pixels

FPS = 10


class Reported:
    """The health of a camera with a clock of its own, and what it reports."""

    def __init__(self, repeats: bool = False, timeout_s: float = 20.0) -> None:
        self.now_s, self.reports = 0.0, list[CameraState]()
        self.health = CameraHealth("test camera", repeats, self.reports.append, timeout_s, clock=lambda: self.now_s)

    def see(self, picture: Callable[[int], Pixels], seconds: float) -> None:
        """``picture(index)`` at ten a second."""
        for index in range(round(seconds * FPS)):
            self.now_s += 1 / FPS
            self.health.received()
            self.health.check(picture(index))

    def wait(self, seconds: float) -> None:
        """Without a picture."""
        for _ in range(round(seconds * FPS)):
            self.now_s += 1 / FPS
            self.health.waiting()


def moving(index: int) -> Pixels:
    luma = np.zeros((240, 320), np.uint8)
    luma[50:150, 20 + index % 200 : 120 + index % 200] = 200
    return luma


def dark(index: int) -> Pixels:
    return np.random.default_rng(index).integers(0, 30, (240, 320), np.uint8)


def still(_index: int) -> Pixels:
    return moving(0)


def test_a_camera_that_works_is_not_spoken_of() -> None:
    found = Reported()
    found.see(moving, 60)
    found.wait(NOTICED_S - 0.5)
    found.see(moving, 5)
    assert found.reports == []


@pytest.mark.parametrize(
    ("trouble", "picture"), [("frozen", still), ("blocked", dark), ("blocked", lambda _: np.full((240, 320), 9, np.uint8))]
)
def test_a_picture_that_repeats_or_shows_nothing_is_noticed_within_5_seconds_and_so_is_its_end(
    trouble: str, picture: Callable[[int], Pixels]
) -> None:
    found = Reported()
    found.see(moving, 10)
    found.see(picture, 5)
    assert [state.how for state in found.reports] == [trouble]
    assert found.reports[0].for_s == pytest.approx(NOTICED_S, abs=1)
    found.see(picture, 10)
    found.see(moving, 1)
    assert [state.how for state in found.reports] == [trouble, "live"]
    assert found.reports[1].for_s == pytest.approx(15, abs=1)


def test_silence_is_noticed_within_5_seconds_and_the_first_frame_ends_it() -> None:
    found = Reported()
    found.see(moving, 10)
    found.wait(5)
    assert [state.how for state in found.reports] == ["silent"]
    found.see(moving, 0.1)
    assert [str(state) for state in found.reports] == ["no frame for 4 s", "back after 5 s"]


def test_silence_after_darkness_is_said_as_well() -> None:
    found = Reported()
    found.see(dark, 5)
    found.wait(5)
    found.see(moving, 1)
    assert [state.how for state in found.reports] == ["blocked", "silent", "live"]


@pytest.mark.parametrize("repeats", [False, True])
def test_what_repeats_for_too_long_is_given_up_unless_it_is_on_purpose(repeats: bool) -> None:
    found = Reported(repeats)
    if repeats:
        found.see(still, 100)
        assert found.reports == []
        return
    with pytest.raises(SourceError, match="the same picture for 20 s"):
        found.see(still, 22)
    assert found.now_s == pytest.approx(20, abs=1.5)


def test_the_night_is_never_given_up() -> None:
    found = Reported()
    found.see(lambda _: np.zeros((240, 320), np.uint8), 3600)
    assert [state.how for state in found.reports] == ["blocked"]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4000, 2), (2160, 3840)])
def test_the_contrast_of_a_picture_of_any_size_can_be_told(shape: tuple[int, int]) -> None:
    assert contrast(np.zeros(shape, np.uint8)) == 0


def test_a_usb_camera_that_freezes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    assert NOTICED_S < CameraOptions().frozen_s < 10, "first said, then given up"
    writer = cv2.VideoWriter(str(tmp_path / "still.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (320, 240))
    for _ in range(500):
        writer.write(scene.draw(0))
    writer.release()
    # A clip stands in for the device: what reads, tells and gives up is the camera's.
    monkeypatch.setattr(capture, "open_capture", lambda *_, **__: cv2.VideoCapture(str(tmp_path / "still.avi")))
    camera = open_source("opencv:0?frozen_s=0.1")
    with pytest.raises(SourceError, match=r"the same picture for 0\.1 s; is it still plugged in"):
        for _ in camera:
            time.sleep(0.001)
    camera.close()


@pytest.mark.parametrize("fault", ["hang", "repeat", "black"])
def test_a_daemon_whose_camera_fails_says_so_on_every_output_and_works_again_when_it_is_back(
    scene: Scene, tmp_path: Path, fault: str
) -> None:
    camera = Camera(scene)
    camera.connections = [camera.follows]
    listener = Listener(str(tmp_path / "notify"))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    command = [sys.executable, "-m", "edgefer", "run", "--source", camera.address, "--sink", "jsonl:-", "--sink", "status:"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=said)
    assert process.stdout
    lines = (json.loads(line) for line in process.stdout)
    try:
        assert any(line["faces"] for line in lines)
        camera.fault = fault
        how = next(line for line in lines if "camera" in line)
        assert how["camera"] == {"hang": "silent", "repeat": "frozen", "black": "blocked"}[fault]
        assert how["for_s"] < 8, "4 are wanted, and 5 promised; this machine may be busy"
        words = {"hang": "no frame for", "repeat": "the same picture for", "black": "nothing to be seen for"}[fault]
        while words not in listener.hear()["STATUS"]:
            pass
        begun_s, camera.fault = time.monotonic(), ""
        assert next(line for line in lines if "camera" in line)["camera"] == "live"
        assert any(line.get("faces") for line in lines)
        assert time.monotonic() - begun_s < 15
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        process.wait(timeout=10)
        camera.stop()
        listener.close()
    assert (tmp_path / "said").read_text().count(words) == 2, "by status: and in the log"
