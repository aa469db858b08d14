"""Video through pipes and plain network sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path

import pytest
from command import Run

from edgefer.errors import EdgeferError, SourceError
from edgefer.output import Sink
from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import SOURCES, open_source
from edgefer.types import Observation


class Counted(Sink):
    def __init__(self) -> None:
        self.times_s: list[float] = []

    def write(self, observation: Observation) -> None:
        self.times_s.append(observation.frame.time_s)

    def close(self) -> None: ...


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "p"
    os.mkfifo(path)
    return path


def in_thread(call: Callable[[], object]) -> threading.Thread:
    """A writer's thread; that its reader goes away is no fault."""

    def work() -> None:
        with suppress(BrokenPipeError):
            call()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_every_frame_of_a_fifo_comes_at_its_own_time_whoever_begins(fifo: Path, clip: Path) -> None:
    source = open_source(f"file:{fifo}")
    writer = in_thread(lambda: fifo.write_bytes(clip.read_bytes()))
    counted = Counted()
    run(source, open_pipeline(Settings()), [counted], threading.Event(), timeout_s=20)
    source.close()
    writer.join(10)
    assert counted.times_s == pytest.approx([index / 15 for index in range(60)], abs=0.001)


def test_standard_input_is_read_as_a_file_is(edgefer: Run, clip: Path) -> None:
    with clip.open("rb") as content:
        done = edgefer("run", "--source", "file:-", "--sink", "jsonl:-", stdin=content)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 60
    cat = subprocess.Popen(["cat", str(clip)], stdout=subprocess.PIPE)
    done = edgefer("run", "--source", "file:-", "--sink", "jsonl:-", stdin=cat.stdout)
    cat.wait(10)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 60


def test_a_pipe_of_no_video_is_one_error(fifo: Path) -> None:
    source = open_source(f"file:{fifo}")
    writer = in_thread(lambda: fifo.write_text("no video"))
    with pytest.raises(SourceError, match="not a video"):
        list(source)
    writer.join(10)


@pytest.mark.parametrize("begun", [False, True], ids=["before a writer", "in the middle"])
def test_sigterm_ends_the_wait_for_a_pipe(fifo: Path, clip: Path, tmp_path: Path, begun: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "edgefer", "run", "--source", f"file:{fifo}", "--sink", "jsonl:out.jsonl"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    end = os.open(fifo, os.O_RDWR)
    try:
        if begun:
            content = clip.read_bytes()
            in_thread(lambda: os.write(end, content[: len(content) // 2]))
        assert process.stderr.readline(), "the source is open"
        deadline_s = time.monotonic() + 60
        while begun and not (tmp_path / "out.jsonl").exists() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        os.close(end)
        process.kill()
        process.stderr.close()


def test_a_live_pipe_has_the_time_of_day(fifo: Path, clip: Path) -> None:
    source = open_source(f"file:{fifo}?live=true")
    assert source.live
    assert not source.pauses
    in_thread(lambda: fifo.write_bytes(clip.read_bytes()))
    assert next(iter(source)).time_s == pytest.approx(time.time(), abs=60)
    source.close()


@pytest.fixture
def sender(cases: Path) -> Iterator[int]:
    """MPEG-TS for who connects, as rpicam-vid --listen sends it; its port."""
    content = (cases / "fifo" / "clip.ts").read_bytes()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(content)
            except OSError:
                return

    in_thread(serve)
    yield server.getsockname()[1]
    server.close()


def test_video_over_tcp_is_a_stream(sender: int) -> None:
    source = open_source(f"tcp://127.0.0.1:{sender}#timeout_s=2")
    frames = list(islice(source, 60))
    source.close()
    assert source.live
    assert frames[0].time_s == pytest.approx(time.time(), abs=60)
    assert "320x240" in source.description


def test_video_over_udp_is_a_stream_with_the_senders_times(cases: Path) -> None:
    content = (cases / "fifo" / "clip.ts").read_bytes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not done.is_set():
                for at in range(0, len(content), 1316):
                    out.sendto(content[at : at + 1316], ("127.0.0.1", port))
                    if done.wait(0.02):
                        return

    in_thread(send)
    source = open_source(f"udp://@:{port}#timeout_s=10")
    times = [frame.time_s for frame in islice(source, 30)]
    done.set()
    source.close()
    assert all(0 < after - before < 2 for before, after in pairwise(times))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("tcp://127.0.0.1:9", "nobody answers"),
        ("tcp://127.0.0.1", "no port"),
        ("udp://@:0#timeout_s=0.5", "udp://"),
        ("srt://127.0.0.1:9#timeout_s=0.5", "SRT"),
        ("udp://", "write"),
    ],
)
def test_a_socket_without_video_is_one_line(text: str, fact: str) -> None:
    with pytest.raises(EdgeferError, match=fact) as raised:
        open_source(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("device", ["/dev/video98", "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0"])
def test_a_camera_may_be_named_by_its_device(device: str) -> None:
    SOURCES.check(f"opencv:{device}?width=800")
    with pytest.raises(SourceError, match=f"no camera answers at {device}"):
        open_source(f"opencv:{device}")


def test_what_is_no_file_is_named_as_what_it_is(tmp_path: Path) -> None:
    for path, fact in ((tmp_path, "images:"), (Path("/dev/null"), "neither a file nor a pipe"), (tmp_path / "none", "no such file")):
        with pytest.raises(SourceError, match=fact):
            open_source(f"file:{path}")
