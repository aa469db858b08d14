"""A real RTSP camera (GStreamer's server): faces from it, and what happens when it stalls or is switched off and on."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edgefer.errors import SourceError
from edgefer.output import QuitRun, Sink
from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source
from edgefer.sources.stream import Stream
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Observation

SYSTEM_PYTHON = "/usr/bin/python3"


class Camera:
    """A server process that can be switched off, on, and held up."""

    def __init__(self, pictures: Path) -> None:
        self._command = [SYSTEM_PYTHON, str(Path(__file__).with_name("rtsp_server.py")), str(pictures)]
        self.port = ""
        self.on()
        self.address = f"rtsp://127.0.0.1:{self.port}/camera"

    def on(self) -> None:
        self._server = subprocess.Popen([*self._command, self.port or "0"], stdout=subprocess.PIPE, text=True)
        assert self._server.stdout
        self.port = self._server.stdout.readline().strip()

    def off(self) -> None:
        self._server.kill()
        self._server.communicate()

    def hold_up(self) -> None:
        os.kill(self._server.pid, signal.SIGSTOP)


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("GStreamer's RTSP server is not here (tests/pi/packages.txt)")
    monkeypatch.setattr(Stream, "retry_s", 0.2)
    scene = Scene(SyntheticOptions(size="320x240"))
    for index in range(30):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), scene.draw(index))
    camera = Camera(tmp_path)
    yield camera
    camera.off()


def test_faces_are_found_in_a_stream_and_its_format_is_said(camera: Camera) -> None:
    source = open_source(camera.address)
    assert "320x240 h264, 25 frames a second" in source.description
    seen: list[Observation] = []

    class Stopper(Sink):
        def write(self, observation: Observation) -> None:
            seen.append(observation)
            if sum(bool(each.faces) for each in seen) >= 5:
                raise QuitRun

        def close(self) -> None: ...

    run(source, open_pipeline(Settings()), [Stopper()], threading.Event(), timeout_s=60)
    source.close()
    assert len(seen[-1].faces) == 1


def test_a_stream_switched_off_and_on_goes_on(camera: Camera, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(camera.address + "#timeout_s=2")
    for frame in source:
        if frame.index == 5:
            camera.off()
            camera.on()
        if "back after" in caplog.text:
            break
    source.close()
    assert frame.index > 5
    assert "connecting again" in caplog.text


def test_a_stream_that_stalls_ends_the_run_in_one_line_after_its_timeout(camera: Camera, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(camera.address + "#timeout_s=4")

    class Stopper(Sink):
        def write(self, observation: Observation) -> None:
            if observation.frame.index >= 5:
                camera.hold_up()

        def close(self) -> None: ...

    with pytest.raises(SourceError, match="no frame for 10 s"):
        run(source, open_pipeline(Settings()), [Stopper()], threading.Event(), timeout_s=10)
    source.close()
    assert "it ended or stalled; connecting again" in caplog.text


def test_a_path_that_the_camera_does_not_have_is_said(camera: Camera) -> None:
    with pytest.raises(SourceError, match="it answers, but with no video"):
        open_source(camera.address + "2")
