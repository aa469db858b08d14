"""Network cameras that misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest
from faults import Camera

from edgefer.errors import SettingsError, SourceError
from edgefer.output import Sink
from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source
from edgefer.sources.stream import Stream
from edgefer.sources.synthetic import Scene


@pytest.fixture
def camera(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    monkeypatch.setattr(Stream, "retry_s", 0.05)
    camera = Camera(scene)
    yield camera
    if not camera.over.is_set():
        camera.stop()


def test_a_stream_says_its_size_and_format(camera: Camera) -> None:
    source = open_source(camera.address)
    assert "320x240 MJPG" in source.description
    source.close()


@pytest.mark.parametrize("trouble", ["hangs up", "stalls", "freezes"])
def test_a_stream_that_fails_is_opened_again_and_goes_on(camera: Camera, trouble: str, caplog: pytest.LogCaptureFixture) -> None:
    camera.connections = [{"hangs up": camera.hangs_up, "stalls": camera.stalls, "freezes": camera.freezes}[trouble], camera.steady]
    source = open_source(camera.address + "#timeout_s=1&frozen_s=0.3")
    frames = []
    for frame in islice(source, 500):
        frames.append(frame)
        if "back after" in caplog.text:
            break
    source.close()
    assert camera.connected == 2
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert ("the same picture for" if trouble == "freezes" else "ended or stalled") in caplog.text
    assert caplog.text.count("connecting again") == 1


def test_a_stream_that_begins_with_the_picture_it_froze_at_is_given_time_for_another(camera: Camera) -> None:
    camera.connections = [camera.freezes, camera.thaws]
    source = open_source(camera.address + "#frozen_s=0.5")
    late = threading.Timer(20, source.close)
    late.start()
    for _ in islice(source, 200):
        if camera.connected == 2:
            break
    assert len(list(islice(source, 20))) == 20
    assert camera.connected == 2
    late.cancel()
    source.close()


def test_a_still_picture_on_purpose_is_shown_for_ever(camera: Camera, caplog: pytest.LogCaptureFixture) -> None:
    camera.connections = [camera.freezes]
    source = open_source(camera.address + "#frozen_s=0")
    assert len(list(islice(source, 40))) == 40
    source.close()
    assert not caplog.text


def test_a_stream_that_stays_away_ends_the_run_in_one_line(camera: Camera) -> None:
    camera.connections = [camera.hangs_up]
    source = open_source(camera.address + "#timeout_s=1")

    class Stopper(Sink):
        def write(self, observation: object) -> None:
            if not camera.over.is_set():
                camera.stop()

        def close(self) -> None: ...

    with pytest.raises(SourceError, match="no frame for 1 s"):
        run(source, open_pipeline(Settings()), [Stopper()], threading.Event(), timeout_s=1)
    source.close()


def test_closing_ends_the_wait_for_a_stream(camera: Camera) -> None:
    camera.connections = [camera.stalls]
    source = open_source(camera.address + "#timeout_s=0.5")
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    source.close()
    reader.join(timeout=5)
    assert not reader.is_alive()


def test_what_is_no_video_is_told_from_nobody_there(camera: Camera) -> None:
    camera.connections = [lambda push: None]
    with pytest.raises(SourceError, match="it answers, but with no video"):
        open_source(camera.address)
    camera.stop()
    with pytest.raises(SourceError, match="nobody answers there"):
        open_source(camera.address)


def test_an_option_of_a_stream_that_is_not_known_is_said() -> None:
    with pytest.raises(SettingsError, match="did you mean 'frozen_s'"):
        open_source("http://me:secret@127.0.0.1:9/none.mjpg#frozen=1")
