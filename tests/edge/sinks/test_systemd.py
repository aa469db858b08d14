from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from notify import Listener

from edgefer.sinks import open_sink
from edgefer.sinks.systemd import stopping
from edgefer.types import Box, CameraState, Face, Frame, Observation


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    address = f"@edgefer-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    listener = Listener(address)
    yield listener
    listener.close()


def observation(faces: int = 1) -> Observation:
    found = tuple(Face(n, Box(1, 2, 30, 30), "happy", 0.9, {"happy": 0.9}) for n in range(faces))
    return Observation(Frame(0, 0.0, np.zeros((48, 64), np.uint8)), found)


def test_the_first_frame_makes_the_service_ready_and_the_end_is_told(listener: Listener) -> None:
    sink = open_sink("systemd:")
    assert listener.waiting() == [{"STATUS": "waiting for the first frame"}]
    sink.write(observation())
    sink.write(observation())
    assert listener.waiting() == [{"READY": "1", "WATCHDOG": "1", "STATUS": "happy"}], "not for every frame"
    sink.close()
    sink.close()
    assert listener.waiting() == [], "a reload closes it too"
    stopping()
    assert listener.waiting() == [{"STOPPING": "1", "STATUS": "stopping"}]


def test_frames_and_nothing_else_feed_the_watchdog_in_good_time(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("edgefer.sinks.systemd.time.monotonic", lambda: now_s)
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    sink = open_sink("systemd:")
    sink.write(observation())
    listener.waiting()
    now_s += 100
    assert listener.waiting() == [], "no timer feeds it"
    for _ in range(40):
        now_s += 0.1
        sink.write(observation(faces=0))
    assert [message["WATCHDOG"] for message in listener.waiting()] == ["1", "1"], "at once after the gap, then each quarter of 8 s"


def test_a_watchdog_that_is_another_process_s_is_not_ours(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("edgefer.sinks.systemd.time.monotonic", lambda: now_s)
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    sink = open_sink("systemd:")
    sink.write(observation())
    listener.waiting()
    now_s = 4.9
    sink.write(observation())
    assert listener.waiting() == []
    now_s = 5.1
    sink.write(observation())
    assert listener.waiting()[0]["STATUS"] == "0.4 frames/s, happy"


def test_a_source_that_pauses_makes_the_service_ready_and_feeds_the_watchdog(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("edgefer.sinks.systemd.time.monotonic", lambda: now_s)
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    sink = open_sink("systemd:")
    listener.waiting()
    for _ in range(12):
        sink.idle()
        now_s += 0.25
    messages = listener.waiting()
    assert messages[0] == {"READY": "1", "WATCHDOG": "1", "STATUS": "waiting for the next frame"}
    assert messages[1:] == [{"WATCHDOG": "1", "STATUS": "waiting for the next frame"}], "each quarter of 8 s"
    now_s += 2
    sink.write(observation())
    assert listener.waiting()[0]["STATUS"].endswith("frames/s, happy")


def test_a_silent_camera_is_told_in_words_and_feeds_no_watchdog(listener: Listener) -> None:
    sink = open_sink("systemd:")
    listener.waiting()
    sink.camera(CameraState("silent", 4.2))
    assert listener.waiting() == [{"STATUS": "no frame for 4 s"}]
    sink.close()


def test_a_service_manager_that_went_away_does_not_end_the_run(listener: Listener) -> None:
    sink = open_sink("systemd:")
    listener.close()
    sink.write(observation())
    sink.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "400000",
    }


def test_a_run_that_systemd_started_tells_it_by_itself_and_keeps_no_pictures(tmp_path: Path, environment: dict[str, str]) -> None:
    listener = Listener(environment["NOTIFY_SOCKET"])
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?size=160x120"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        assert "waiting" in listener.hear()["STATUS"]
        assert listener.hear()["READY"] == "1"
        for _ in range(3):
            assert listener.hear()["WATCHDOG"] == "1"
        process.send_signal(signal.SIGTERM)
        heard = listener.hear()
        while "STOPPING" not in heard:
            heard = listener.hear()
        assert process.wait(timeout=10) == 0
    listener.close()
    assert not (tmp_path / "snapshots").exists()


def test_a_stage_that_never_returns_starves_the_watchdog(tmp_path: Path, environment: dict[str, str]) -> None:
    listener = Listener(environment["NOTIFY_SOCKET"])
    stuck = (
        "import sys, time, edgefer.pipeline.known_faces as k; from edgefer.cli.main import main\n"
        "search = k.KnownFaceSearch.search\n"
        "k.KnownFaceSearch.search = lambda *given: time.sleep(60) if given[3] > 1 else search(*given)\n"
        "sys.exit(main(['run', '--source', 'synthetic:?size=160x120']))"
    )
    with subprocess.Popen([sys.executable, "-c", stuck], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        while "WATCHDOG" not in listener.hear():
            pass
        with pytest.raises(TimeoutError):  # fed every 0.1 s for the one second until then
            for _ in range(100):
                listener.hear(within_s=3)
        process.kill()
    listener.close()


def test_frames_that_all_fail_starve_the_watchdog(tmp_path: Path, environment: dict[str, str]) -> None:
    listener = Listener(environment["NOTIFY_SOCKET"])
    broken = (
        "import sys, edgefer.pipeline.stages as p; from edgefer.cli.main import main\n"
        "p.Pipeline.process = lambda *_: 1 / 0\n"
        "sys.exit(main(['run', '--source', 'synthetic:?seconds=0.5&size=160x120']))"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", broken], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "frames failed" in done.stderr, done.stderr
    assert time.monotonic() - begun > 0.4
    said = listener.waiting()
    listener.close()
    assert not any("WATCHDOG" in message or "READY" in message for message in said), said
