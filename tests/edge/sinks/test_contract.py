from __future__ import annotations

import contextlib
import errno
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefer.errors import MissingLibrary, SettingsError, SinkError
from edgefer.history.store import History
from edgefer.output import Background, Sink, close_all
from edgefer.overlay import annotate
from edgefer.sinks import SINKS, open_sink
from edgefer.sinks.display import TkWindow
from edgefer.sources.synthetic import Scene
from edgefer.types import Box, CameraState, Face, Frame, Observation


def observation(index: int = 0, faces: int = 1, name: str | None = None, bgr: np.ndarray | None = None) -> Observation:
    luma = np.full((240, 320), 90, np.uint8)
    found = tuple(Face(n + 1, Box(40 + 60 * n, 50, 50, 50), "happy", 0.9321, {"happy": 0.9321, "sad": 0.0679}) for n in range(faces))
    return Observation(Frame(index, index / 10, luma, bgr, name, dropped=2), found, {"capture": 1.23456, "detect": 2.0})


@pytest.fixture(params=["jsonl", "snapshots", "status", "history", "http", "systemd", "mqtt"])
def spec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "mqtt":
        pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (pip install 'edgefer[mqtt]')")
    if request.param == "http":
        pytest.importorskip("uvicorn", reason="the extra 'web' is not installed")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody-listens"))
    return {
        "jsonl": f"jsonl:{tmp_path}/out.jsonl",
        "snapshots": f"snapshots:{tmp_path}/pictures",
        "status": "status:",
        "history": f"history:{tmp_path}/h.db",
        "http": "http://127.0.0.1:0",
        "systemd": "systemd:",
        "mqtt": "mqtt://127.0.0.1:9/nobody/there",
    }[request.param]


def test_every_sink_takes_observations_with_and_without_faces_and_closes_twice(spec: str) -> None:
    sink = open_sink(spec)
    assert isinstance(sink.main_thread, bool)
    for index, faces in enumerate((1, 0, 3, 200)):
        sink.write(observation(index, faces))
    sink.close()
    sink.close()


def test_every_sink_of_the_table_can_be_imported_or_names_the_extra_to_install() -> None:
    for scheme in SINKS:
        try:
            assert issubclass(SINKS.find(scheme), Sink)
        except MissingLibrary as error:
            assert "edgefer[" in str(error)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("jsonl:", SinkError, "jsonl:-"),
        ("jsonl:/proc/none/out.jsonl", SinkError, "cannot write there"),
        ("jsonl:-?every=2", SettingsError, "unknown key 'every'"),
        ("snapshots:", SinkError, "snapshots:DIR"),
        ("snapshots:/proc", SinkError, "cannot write into"),
        ("status:here", SettingsError, "takes no path"),
        ("systemd:", SinkError, "systemd did not start this"),
        ("systemd:x", SettingsError, "takes no path"),
        ("snapshots:/proc/none", SinkError, "cannot make this folder"),
        ("snapshots:x?every_s=soon", SettingsError, "key 'every_s'"),
        ("kafka://host/topic", SettingsError, "no sink 'kafka'"),
        ("history:x?keep=3", SettingsError, "unknown key 'keep'"),
    ],
)
def test_what_cannot_be_opened_says_why_in_one_line(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        open_sink(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_json_line_has_exactly_the_fields_of_the_contract(tmp_path: Path) -> None:
    sink = open_sink(f"jsonl:{tmp_path}/out.jsonl")
    sink.write(observation(3))
    sink.write(observation(4, name="photo.jpg"))
    plain, named = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert list(plain) == ["time", "frame", "size", "faces", "timings_ms", "dropped"]
    assert plain == {
        "time": 0.3,
        "frame": 3,
        "size": [320, 240],
        "faces": [
            {"track": 1, "box": [40, 50, 50, 50], "expression": "happy", "score": 0.9321, "scores": {"happy": 0.9321, "sad": 0.0679}}
        ],
        "timings_ms": {"capture": 1.235, "detect": 2.0},
        "dropped": 2,
    }
    assert named["source"] == "photo.jpg"


def test_json_lines_are_readable_the_moment_they_are_written_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"old": 1}\n')
    sink = open_sink(f"jsonl:{path}")
    sink.write(observation())
    assert len(path.read_text().splitlines()) == 2


def test_a_snapshot_is_kept_at_most_every_few_seconds(tmp_path: Path) -> None:
    sink = open_sink(f"snapshots:{tmp_path}?every_s=1")
    for index in range(35):
        sink.write(observation(index))
    kept = sorted(tmp_path.iterdir())
    assert [path.stem[-2:] for path in kept] == ["00", "10", "20", "30"]
    assert all(cv2.imread(str(path)).shape == (240, 320, 3) for path in kept)


def test_the_first_snapshot_waits_for_a_face_but_not_for_ever(tmp_path: Path) -> None:
    sink = open_sink(f"snapshots:{tmp_path}?every_s=2")
    for index in range(30):
        sink.write(observation(index, faces=1 if index == 4 else 0))
    assert [path.stem[-2:] for path in sorted(tmp_path.iterdir())] == ["04", "24"]
    empty = open_sink(f"snapshots:{tmp_path}/empty?every_s=2")
    for index in range(30):
        empty.write(observation(index, faces=0))
    assert [path.stem[-2:] for path in (tmp_path / "empty").iterdir()] == ["20"]


def test_snapshots_never_overwrite_a_photograph_of_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    open_sink(f"snapshots:{tmp_path}").write(observation(name="photo.jpg"))
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"
    assert (tmp_path / "photo.jpg.edgefer.jpg").is_file()


def test_a_picture_of_a_subfolder_keeps_its_subfolder(tmp_path: Path) -> None:
    open_sink(f"snapshots:{tmp_path}").write(observation(name="a/b/photo.jpg"))
    assert (tmp_path / "a/b/photo.jpg.edgefer.jpg").is_file()


def test_snapshots_of_earlier_runs_count_and_only_they_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").touch()
    for day in range(5):
        (tmp_path / f"2030010{day + 1}-120000-000007.jpg").touch()
    open_sink(f"snapshots:{tmp_path}?every_s=0&keep=3").write(observation())
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 4
    assert {"20300104-120000-000007.jpg", "20300105-120000-000007.jpg", "mine.jpg"} < set(kept)


def test_old_snapshots_of_a_run_make_room(tmp_path: Path) -> None:
    sink = open_sink(f"snapshots:{tmp_path}?every_s=0&keep=3")
    for index in range(10):
        sink.write(observation(index))
    assert sorted(path.stem[-2:] for path in tmp_path.iterdir()) == ["07", "08", "09"]


def test_an_annotated_picture_shows_the_box_and_says_when_there_is_no_face(scene: Scene) -> None:
    picture = scene.draw(0)
    shown = annotate(observation(bgr=picture))
    changed = np.abs(shown.astype(int) - picture).max(axis=2) > 30
    ys, xs = np.nonzero(changed)
    assert (xs.min(), ys.max()) == pytest.approx((39, 101), abs=2)
    assert not np.array_equal(annotate(observation(faces=0, bgr=picture)), picture)
    assert np.array_equal(picture, scene.draw(0)), "the frame itself stays untouched"


def test_a_label_at_the_border_stays_inside_the_picture() -> None:
    luma = np.zeros((240, 320), np.uint8)
    for box in (Box(-20, -20, 60, 60), Box(300, 220, 60, 60)):
        shown = annotate(Observation(Frame(0, 0.0, luma), (Face(1, box, "surprise", 1.0, {"surprise": 1.0}),)))
        assert (shown.min(axis=2) > 150).sum() > 60


def test_a_display_without_a_screen_or_windows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match="no screen"):
        open_sink("display:")


def test_without_tk_and_windows_of_opencv_the_commands_that_help_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(SinkError) as raised:
        TkWindow()
    assert all(fact in str(raised.value) for fact in ("apt install python3-tk", f"{sys.executable} -m pip install", "snapshots:DIR"))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A virtual screen."""
    if not shutil.which("Xvfb"):
        pytest.skip("no Xvfb here (Debian package xvfb)")
    pytest.importorskip("tkinter")
    read, write = os.pipe()
    process = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"], pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as line:
        number = line.readline().strip()
    assert number, "Xvfb did not start"
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield
    process.terminate()
    process.wait(30)


@pytest.mark.usefixtures("screen")
def test_a_window_of_tk_shows_pictures_until_q_is_pressed() -> None:
    window, picture = TkWindow(), np.zeros((240, 320, 3), np.uint8)
    assert window.show(picture)
    root = importlib.import_module("tkinter")._default_root
    root.focus_force()
    root.update()
    root.event_generate("<Key-q>")
    assert not window.show(picture)
    window.close()
    window.close()


class Slow(Sink):
    """A sink that waits until it may go on, and remembers what it took."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.taken: list[int] = []
        self.closed = False

    def write(self, observation: Observation) -> None:
        self.may_go.wait(10)
        self.taken.append(observation.frame.index)

    def close(self) -> None:
        self.closed = True


def test_a_slow_sink_never_holds_up_the_frames_and_loses_its_oldest() -> None:
    slow = Slow()
    sink = Background(slow, "slow", threading.Event(), lossless=False)
    begun = time.monotonic()
    for index in range(1000):
        sink.write(observation(index))
    assert time.monotonic() - begun < 5
    slow.may_go.set()
    sink.close()
    assert slow.closed
    assert slow.taken[-1] == 999
    assert len(slow.taken) + sink.dropped == 1000
    assert len(slow.taken) <= Background.SLOTS + 1


def test_a_lossless_sink_gets_every_observation() -> None:
    slow = Slow()
    slow.may_go.set()
    sink = Background(slow, "slow", threading.Event(), lossless=True)
    for index in range(300):
        sink.write(observation(index))
    sink.close()
    assert slow.taken == list(range(300))


def test_a_failing_sink_is_said_once_counted_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Slow):
        def write(self, observation: Observation) -> None:
            raise OSError(28, "No space left on device")

    sink = Background(Full(), "full", threading.Event(), lossless=True)
    with caplog.at_level(logging.ERROR):
        for index in range(50):
            sink.write(observation(index))
        sink.close()
    assert sink.failed == 50
    assert sink.complaint() == "full: 50 observations could not be written"
    assert caplog.text.count("No space left") == 1


def test_a_stuck_lossless_sink_lets_go_when_the_run_is_stopped() -> None:
    stuck, stop = Slow(), threading.Event()
    sink = Background(stuck, "stuck", stop, lossless=True)
    threading.Timer(0.5, stop.set).start()
    begun = time.monotonic()
    for index in range(200):
        sink.write(observation(index))
    close_all([sink], within_s=0.5)
    assert time.monotonic() - begun < 3
    stuck.may_go.set()


def test_stuck_sinks_share_one_time_limit_at_the_end() -> None:
    stuck = [Slow() for _ in range(5)]
    sinks = [Background(sink, "stuck", threading.Event(), lossless=False) for sink in stuck]
    for sink in sinks:
        sink.write(observation())
    begun = time.monotonic()
    close_all(sinks, within_s=0.6)
    assert time.monotonic() - begun < 2
    for slow in stuck:
        slow.may_go.set()


def test_sinks_close_side_by_side() -> None:
    together = threading.Barrier(3)

    class Closing(Slow):
        def close(self) -> None:
            together.wait(timeout=5)

    close_all([Background(Closing(), "slow to close", threading.Event(), lossless=False) for _ in range(3)])
    assert not together.broken


def test_a_pipe_nobody_reads_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SinkError, match="cannot write there"):
        open_sink(f"jsonl:{tmp_path}/pipe")


def test_photographs_with_one_stem_are_all_kept_and_never_make_room(tmp_path: Path) -> None:
    sink = open_sink(f"snapshots:{tmp_path}?keep=1")
    for name in ("a.jpg", "a.png", "b.jpg"):
        sink.write(observation(name=name))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_silent_camera_is_said_by_every_output_that_people_or_programs_follow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()
    sinks = [
        Background(open_sink(text), text, stop, lossless=False)
        for text in (f"jsonl:{tmp_path}/out.jsonl", "status:", f"snapshots:{tmp_path}")
    ]
    for sink in sinks:
        sink.camera(CameraState("silent", 4.2))
    close_all(sinks)
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert (line["camera"], line["for_s"]) == ("silent", 4.2)
    assert "camera: no frame for 4 s" in capsys.readouterr().err
    assert [sink.failed for sink in sinks] == [0, 0, 0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is refused here (it needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_was_full_for_a_while_costs_lines_but_spoils_none(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    sink = open_sink(f"jsonl:{small_disk}/out.jsonl")
    written = failed = 0
    for index in range(400):
        if index == 300:
            ballast.unlink()
        try:
            sink.write(observation(index))
            written += 1
        except OSError as error:
            assert error.errno == errno.ENOSPC
            failed += 1
    sink.close()
    assert failed > 10
    whole = 0
    for line in (small_disk / "out.jsonl").read_text().splitlines():
        try:
            whole += bool(json.loads(line)["faces"])
        except ValueError:
            assert whole > 50, "only where the disk was full"
    assert whole == written > 100


def test_pictures_that_find_no_room_leave_no_halves_behind_and_come_again_when_there_is(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(65_536))
    sink = open_sink(f"snapshots:{small_disk}/pictures?keep=3&every_s=0")
    for index in range(5):
        with pytest.raises(OSError, match="No space left"):
            sink.write(observation(index))
    assert list((small_disk / "pictures").iterdir()) == []
    ballast.unlink()
    sink.write(observation(6))
    sink.close()
    (picture,) = (small_disk / "pictures").iterdir()
    assert cv2.imread(str(picture)) is not None


def test_a_history_that_finds_no_room_keeps_what_it_knows_until_there_is(small_disk: Path) -> None:
    ballast, begun_s = small_disk / "ballast", 1.7e9
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    sink = open_sink(f"history:{small_disk}/history.sqlite?every_s=1&free_mb=0")
    refused = 0
    for index in range(300):
        if index == 10:
            with contextlib.suppress(OSError):
                ballast.write_bytes(bytes(8_000_000))
        sink._written_s -= 1  # type: ignore[attr-defined]  # a second of the clock passes with every frame
        seen = observation(index, faces=1 + index % 2)
        try:
            sink.write(replace(seen, frame=replace(seen.frame, time_s=begun_s + index)))
        except SinkError as error:
            assert "it is tried again" in str(error)
            refused += 1
    assert refused > 10
    ballast.unlink()
    sink.close()
    history = History(small_disk / "history.sqlite")
    assert sum(bucket.frames for bucket in history.buckets(begun_s - 60, begun_s + 360, 60)) == 300
    history.close()


def test_a_line_that_a_power_cut_tore_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"time": 1}\n{"time": 2, "fa')
    sink = open_sink(f"jsonl:{path}")
    sink.write(observation())
    sink.close()
    first, torn, last = path.read_text().splitlines()
    assert (json.loads(first)["time"], torn) == (1, '{"time": 2, "fa')
    assert json.loads(last)["faces"]
