"""The time of each frame: of files as recorders write them, and of streams."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefer.sources import open_source
from edgefer.sources.stamps import FileTimes, LiveTimes
from edgefer.sources.synthetic import Scene


def times_of(spec: str) -> list[float]:
    return [frame.time_s for frame in open_source(spec)]


@pytest.fixture
def avi_600(tmp_path: Path, scene: Scene) -> Path:
    """30 frames that claim 600 a second, as rpicam-vid writes them."""
    path = tmp_path / "rpicam.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 600, (320, 240))
    for index in range(30):
        writer.write(scene.draw(6 * index))
    writer.release()
    return path


def test_a_rate_that_no_camera_has_is_not_believed_and_said_once(avi_600: Path, caplog: pytest.LogCaptureFixture) -> None:
    times = times_of(f"file:{avi_600}")
    assert times[-1] == pytest.approx(29 / 30)
    assert len(caplog.messages) == 1
    assert all(fact in caplog.text for fact in ("rpicam.avi", "600", "30 are assumed", "?fps="))


def test_the_option_fps_overrules_what_a_file_says(avi_600: Path, clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert times_of(f"file:{avi_600}?fps=5")[-1] == pytest.approx(5.8)
    assert times_of(f"file:{clip}?fps=30")[15] == pytest.approx(0.5)
    assert not caplog.messages


def test_a_raw_stream_without_stamps_is_said_with_the_rate_that_is_assumed(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = tmp_path / "raw.mjpeg"
    raw.write_bytes(b"".join(cv2.imencode(".jpg", scene.draw(6 * index))[1].tobytes() for index in range(20)))
    times = times_of(f"file:{raw}")
    assert times[:3] == pytest.approx([0, 0.04, 0.08])
    assert "raw.mjpeg" in caplog.text
    assert "25 frames a second are assumed" in caplog.text
    assert times_of(f"file:{raw}?fps=10")[19] == pytest.approx(1.9)


def gif(delays_cs: list[int]) -> bytes:
    """A GIF of grey squares, each for its delay in hundredths of a second."""
    parts = [b"GIF89a", struct.pack("<HHBBB", 16, 16, 0x80, 0, 0), bytes(3), bytes([255] * 3)]
    for number, delay in enumerate(delays_cs):
        # LZW of two bits: clear code and pixel in turn, so that no code grows longer.
        codes = [code for _ in range(256) for code in (4, number % 2)] + [5]
        bits = sum(code << 3 * position for position, code in enumerate(codes))
        data = bits.to_bytes(-(-3 * len(codes) // 8), "little")
        blocks = b"".join(bytes([len(block)]) + block for block in (data[at : at + 255] for at in range(0, len(data), 255)))
        parts += [
            b"!\xf9\x04\x00" + struct.pack("<H", delay) + b"\0\0",
            b"," + struct.pack("<HHHHB", 0, 0, 16, 16, 0),
            b"\x02",
            blocks,
            b"\0",
        ]
    return b"".join(parts) + b";"


def test_frames_of_a_gif_come_at_their_own_delays(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(gif([7, 7, 190, 7, 6]))
    assert times_of(f"file:{tmp_path}/a.gif") == pytest.approx([0, 0.07, 0.14, 2.04, 2.11], abs=0.011)


@pytest.mark.parametrize(
    ("name", "numbers", "times_s"),
    [
        ("webm-1000fps/mediarecorder.webm", [0, 1, 179], [0, 0.048, 7.35]),
        ("vfr/vfr.mp4", [0, 19], [0, 1.9]),
        ("fifo/clip.ts", [0, 89], [0, 5.933]),
        ("folder-tree/mix/x.gif", [0, 1, 89], [0, 0.07, 5.93]),
        ("avi-600fps/rpicam600.avi?fps=5", [29], [5.8]),
        ("raw-h264/raw30.h264", [0, 179], [0, 5.967]),
    ],
)
def test_the_time_of_a_recording_is_within_40_ms_of_the_truth(cases: Path, name: str, numbers: list[int], times_s: list[float]) -> None:
    times = times_of(f"file:{cases / name}")
    assert [times[number] for number in numbers] == pytest.approx(times_s, abs=0.04)
    assert all(after > before for before, after in pairwise(times))


@pytest.mark.parametrize(
    ("stamps_s", "times_s"),
    [
        ([0, 0.1, 0.2, 2.1, 2.2], [0, 0.1, 0.2, 2.1, 2.2]),
        ([1.4, 1.5, 1.6], [0, 0.1, 0.2]),
        ([0, 0, 0, 0], [0, 0.05, 0.1, 0.15]),
        ([0, 0.1, 0.1, 0.3, 0.4], [0, 0.1, 0.15, 0.3, 0.4]),
        ([0, 0.1, 0, 0.3, 0.4], [0, 0.1, 0.15, 0.3, 0.4]),
        ([5, 5.1, 0, 0.1, 0.2], [0, 0.1, 0.15, 0.25, 0.35]),
        ([-0.1, 0, 0.1], [0, 0.1, 0.2]),
    ],
    ids=["gap", "late beginning", "no stamps", "one twice", "one astray", "a second recording", "negative"],
)
def test_times_of_a_file_follow_the_stamps_and_never_go_back(stamps_s: list[float], times_s: list[float]) -> None:
    times = FileTimes(0.05)
    assert [times.next_s(stamp_s) for stamp_s in stamps_s] == pytest.approx(times_s)


def test_times_of_a_stream_do_not_jitter_as_the_network_does() -> None:
    times, random = LiveTimes(), np.random.default_rng(1)
    taken_s = 1.7e9 + np.arange(300) / 30
    arrived_s = np.maximum.accumulate(taken_s + 0.05 + random.exponential(0.05, 300))
    found_s = np.array([times.next_s(index / 30, now_s) for index, now_s in enumerate(arrived_s)])
    assert np.abs(found_s - taken_s - 0.05)[30:].max() < 0.04
    assert (np.diff(found_s) > 0).all()
    assert np.abs(arrived_s - taken_s - 0.05)[30:].max() > 0.1


@pytest.mark.parametrize("broken", [[0.0] * 300, [0.001 * index for index in range(300)], [1e6 * (index % 2) for index in range(300)]])
def test_stamps_of_a_stream_that_say_nothing_leave_the_time_of_arrival_near(broken: list[float]) -> None:
    times = LiveTimes()
    for index, stamp_s in enumerate(broken):
        now_s = 1.7e9 + index / 15
        assert abs(times.next_s(stamp_s, now_s) - now_s) < 11


def test_a_stream_without_stamps_has_the_time_of_arrival() -> None:
    assert LiveTimes().next_s(None, 1.7e9) == 1.7e9
