from __future__ import annotations

import http.server
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgefer.errors import EdgeferError, MissingLibrary, SettingsError, SourceError
from edgefer.options import options_of
from edgefer.overlay import annotate
from edgefer.sources import SOURCES, Source, open_source
from edgefer.sources.camera_health import Stillness
from edgefer.sources.mounting import MountingOptions
from edgefer.sources.picamera import full_view, luma_plane, remedy
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box, Face, Observation


@pytest.fixture
def mjpeg_camera(scene: Scene) -> Iterator[str]:
    """A real network camera: MJPEG over HTTP from this machine."""
    jpegs = [cv2.imencode(".jpg", scene.draw(10 * index))[1].tobytes() for index in range(12)]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for jpeg in jpegs:
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: " + str(len(jpeg)).encode() + b"\r\n\r\n"
                self.wfile.write(head + jpeg + b"\r\n")
                time.sleep(0.02)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/camera.mjpg"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["file", "images", "synthetic", "http"])
def spec(request: pytest.FixtureRequest) -> str:
    """One working spec for each source that needs no hardware."""
    if request.param == "http":
        return str(request.getfixturevalue("mjpeg_camera"))
    if request.param == "file":
        return f"file:{request.getfixturevalue('clip')}"
    if request.param == "images":
        return f"images:{request.getfixturevalue('pictures')}"
    return "synthetic:?seconds=0.2&size=320x240&paced=false"


def test_every_source_gives_numbered_frames_of_contiguous_luma_and_closes_twice(spec: str) -> None:
    source = open_source(spec)
    frames = list(itertools.islice(source, 6))
    source.close()
    source.close()
    assert len(frames) >= 3
    assert [frame.index for frame in frames] == list(range(len(frames)))
    for frame in frames:
        assert frame.luma.shape == (240, 320)
        assert frame.luma.dtype == np.uint8
        assert frame.luma.flags.c_contiguous
        assert frame.bgr is not None
        assert frame.bgr.shape == (240, 320, 3)
    times = [frame.time_s for frame in frames]
    assert times == sorted(times)
    assert isinstance(source.description, str)
    assert isinstance(source.live, bool)
    assert isinstance(source.tracked, bool)


def test_the_table_names_classes_that_can_be_imported() -> None:
    for scheme in SOURCES:
        assert issubclass(SOURCES.find(scheme), Source)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("file:/nowhere/clip.mp4", SourceError, "no such file"),
        ("images:/nowhere", SourceError, "no such folder"),
        ("images:", SourceError, "no folder given"),
        ("opencv:63", SourceError, "no camera answers at /dev/video63"),
        ("opencv:63?frozen=3", SettingsError, "did you mean 'frozen_s'?"),
        ("opencv:63?width=0", SettingsError, "key 'width'"),
        ("opencv:clip.mp4", SourceError, "a clip is file:PATH"),
        ("opencv:²", SourceError, "a camera is a number"),
        ("opencv:99999999999999999999", SourceError, "a camera is a number"),
        ("synthetic:seconds=1", SettingsError, "options follow a question mark"),
        ("opencv:0?fourcc=MJPEG", SourceError, "four letters"),
        ("opencv:0?colour=red", SettingsError, "unknown key 'colour'"),
        ("webcam:0", SettingsError, "no source 'webcam'"),
        ("http://127.0.0.1:9/none.mjpg", SourceError, "nobody answers there"),
        ("synthetic:?faces=many", SettingsError, "key 'faces'"),
        ("synthetic:?face=2", SettingsError, "did you mean 'faces'?"),
        ("synthetic:?size=10x10", SettingsError, "160x120"),
        ("picamera:?rotation=45", SettingsError, "key 'rotation'"),
        ("images:photos?rotation=45", SettingsError, "key 'rotation'"),
        ("file:clip.mp4?aspect=wide", SettingsError, "such as 16:9"),
        ("http://127.0.0.1:9/none.mjpg#aspect=16:0", SettingsError, "such as 16:9"),
    ],
)
def test_what_cannot_be_opened_says_why_in_one_line(text: str, error: type[EdgeferError], said: str) -> None:
    with pytest.raises(error) as raised:
        open_source(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_password_in_a_cameras_address_is_not_repeated() -> None:
    with pytest.raises(SourceError) as raised:
        open_source("http://me:secret@127.0.0.1:9/none.mjpg")
    assert "secret" not in str(raised.value)


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    with pytest.raises(SourceError, match="not a video"):
        open_source(f"file:{tmp_path}/notes.mp4")


def test_every_frame_of_a_file_comes_and_its_times_are_its_own(clip: Path) -> None:
    frames = list(open_source(f"file:{clip}"))
    assert len(frames) == 60
    assert frames[15].time_s == pytest.approx(1.0, abs=0.01)


def test_pictures_come_by_name_and_what_is_no_picture_is_skipped(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = list(open_source(f"images:{pictures}"))
    assert [frame.name for frame in frames] == ["face0.png", "face1.png", "face2.png", "wall.png"]
    assert "broken.jpg" in caplog.text


def test_a_folder_without_pictures_or_with_only_broken_ones_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pictures"):
        open_source(f"images:{tmp_path}")
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of 1 pictures"):
        list(open_source(f"images:{tmp_path}"))


def test_drawn_frames_repeat_exactly_and_seeds_differ() -> None:
    first, again, other = (Scene(SyntheticOptions(size="320x240", seed=seed)) for seed in (4, 4, 5))
    assert np.array_equal(first.draw(77), again.draw(77))
    assert not np.array_equal(first.draw(77), other.draw(77))


def test_a_still_scene_never_changes() -> None:
    scene = Scene(SyntheticOptions(size="320x240", still=True))
    assert np.array_equal(scene.draw(0), scene.draw(500))


def test_paced_frames_come_in_real_time() -> None:
    begun = time.monotonic()
    frames = list(open_source("synthetic:?seconds=0.5&fps=20&size=160x120"))
    assert len(frames) == 10
    assert time.monotonic() - begun >= 9 / 20


@pytest.mark.parametrize("rows", [48, 72])
@pytest.mark.parametrize("stride", [64, 96])
def test_the_luma_plane_is_cut_by_its_stride(stride: int, rows: int) -> None:
    height, width = 48, 64
    picture = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    buffer = np.full((rows, stride), 255, np.uint8)
    buffer[:height, :width] = picture
    luma = luma_plane(buffer, width, height, MountingOptions())
    assert np.array_equal(luma, picture)
    buffer[:] = 0
    assert np.array_equal(luma, picture), "the buffer goes back to the camera: luma must be a copy"


@pytest.mark.parametrize(
    ("how", "corners"),
    [
        ((0, False, False), "12/34"),
        ((90, False, False), "31/42"),
        ((180, False, False), "43/21"),
        ((270, False, False), "24/13"),
        ((0, True, False), "21/43"),
        ((0, False, True), "34/12"),
        ((180, True, True), "12/34"),
        ((90, True, False), "13/24"),
    ],
)
def test_pictures_are_turned_clockwise_and_then_flipped(how: tuple[int, bool, bool], corners: str) -> None:
    picture = np.repeat(np.repeat(np.array([[1, 2], [3, 4]], np.uint8), 24, 0), 32, 1)
    mounting = msgspec.convert(dict(zip(("rotation", "hflip", "vflip"), how, strict=True)), MountingOptions)
    frame = mounting.frame(0, 0.0, cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    assert frame.bgr is not None
    for luma in (luma_plane(picture, 64, 48, mounting), frame.luma, frame.bgr[..., 1]):
        assert luma.shape == ((64, 48) if how[0] in (90, 270) else (48, 64))
        assert "/".join("".join(str(luma[y, x]) for x in (0, -1)) for y in (0, -1)) == corners


@pytest.mark.parametrize(
    ("modes", "mode"),
    [
        ([(640, 480), (1296, 972), (1920, 1080), (2592, 1944)], (1296, 972)),
        ([(640, 480), (1640, 1232), (1920, 1080), (3280, 2464)], (1640, 1232)),
        ([(1536, 864), (2304, 1296), (4608, 2592)], (2304, 1296)),
        ([(1332, 990), (2028, 1080), (2028, 1520), (4056, 3040)], (2028, 1520)),
        ([(1456, 1088)], (1456, 1088)),
        ([(320, 240)], None),
    ],
    ids=["module 1", "module 2", "module 3", "HQ", "global shutter", "virtual"],
)
def test_a_pi_camera_shows_all_that_its_sensor_sees(modes: list[tuple[int, int]], mode: tuple[int, int] | None) -> None:
    assert full_view(modes, modes[-1], (640, 480)) == mode


def test_every_source_of_ours_can_be_turned_and_flipped() -> None:
    for scheme in SOURCES:
        assert {"rotation", "hflip", "vflip"} <= {option.name for option in options_of(SOURCES.find(scheme).options)}, scheme


def test_a_source_mounted_on_its_side_gives_upright_frames_that_can_be_drawn_on(spec: str) -> None:
    plain = open_source(spec)
    wanted = next(iter(plain))
    plain.close()
    mark = "#" if spec.startswith("http") else "&" if "?" in spec else "?"
    source = open_source(f"{spec}{mark}rotation=90&hflip=true")
    frame = next(iter(source))
    source.close()
    assert "turned by 90, flipped" in source.description
    assert frame.luma.shape == (320, 240)
    assert frame.luma.flags.c_contiguous
    assert np.array_equal(frame.luma, np.rot90(wanted.luma, -1)[:, ::-1])
    assert wanted.bgr is not None
    assert np.array_equal(frame.bgr, np.rot90(wanted.bgr, -1)[:, ::-1])
    assert annotate(Observation(frame, (Face(1, Box(10, 20, 50, 60), "happy", 0.9, {}),))).shape == (320, 240, 3)


def test_the_pixels_of_a_squeezed_file_become_square_and_an_option_overrules_what_it_says(clip: Path, tmp_path: Path) -> None:
    squeezed = tmp_path / "squeezed.y4m"
    squeezed.write_bytes(b"YUV4MPEG2 W160 H240 F15:1 Ip A2:1 C420jpeg\n" + 3 * (b"FRAME\n" + bytes(range(240)) * 240))
    assert next(iter(open_source(f"file:{squeezed}"))).luma.shape == (240, 320)
    assert next(iter(open_source(f"file:{squeezed}?aspect=2:3"))).luma.shape == (240, 160)
    assert next(iter(open_source(f"file:{squeezed}?aspect=16:9&rotation=90"))).luma.shape == (427, 240)
    assert next(iter(open_source(f"file:{clip}?aspect=4:9"))).luma.shape == (240, 107)


def test_a_stream_that_does_not_say_its_aspect_is_stretched_on_request(mjpeg_camera: str) -> None:
    source = open_source(f"{mjpeg_camera}#aspect=16:9")
    frame = next(iter(source))
    source.close()
    assert frame.luma.shape == (240, 427)
    assert frame.bgr is not None
    assert frame.bgr.shape == (240, 427, 3)


def test_without_picamera2_one_line_says_how_to_get_it() -> None:
    try:
        import picamera2  # noqa: F401
    except ImportError:
        with pytest.raises(MissingLibrary, match=r"--system-site-packages|apt install python3-picamera2"):
            open_source("picamera:")
    else:
        pytest.skip("picamera2 is installed here")


def test_the_remedy_for_picamera2_tells_a_missing_one_from_a_wrong_python_and_a_closed_venv(tmp_path: Path) -> None:
    suffix = ".cpython-313-aarch64-linux-gnu.so"
    assert "sudo apt install python3-picamera2" in remedy(tmp_path, suffix)
    for folder in ("libcamera", "picamera2"):
        (tmp_path / folder).mkdir()
    (tmp_path / "libcamera" / f"_libcamera{suffix}").touch()
    assert "the system's Python 3.13, this is" in remedy(tmp_path, ".cpython-311-aarch64-linux-gnu.so")
    if sys.prefix != sys.base_prefix:
        assert "this venv does not see it" in remedy(tmp_path, suffix)
    else:
        assert "--reinstall" in remedy(tmp_path, suffix)


def test_a_camera_that_repeats_its_picture_is_told_from_one_that_sees_nothing_move() -> None:
    still, wall = Stillness(), np.full((48, 64), 90, np.uint8)
    wall[:, :32] = 60
    noisy = wall.copy()
    noisy[16, 5] += 1
    assert [still.lasts_s(wall, now_s) for now_s in (100.0, 103.0, 107.0)] == [0, 3, 7]
    assert still.lasts_s(noisy, 108.0) == 0
    assert still.lasts_s(noisy, 109.0) == 1


def test_a_lens_cap_is_no_camera_that_repeats_its_picture() -> None:
    still, dark = Stillness(), np.full((48, 64), 3, np.uint8)
    assert [still.lasts_s(dark, now_s) for now_s in (100.0, 103.0, 107.0)] == [0, 0, 0]


def test_importing_the_sources_imports_no_library_of_theirs() -> None:
    code = "import sys, edgefer.sources; sys.exit(any(name in sys.modules for name in ('cv2', 'picamera2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_odd_picture_files_are_skipped_and_the_batch_goes_on(pictures: Path, tmp_path: Path) -> None:
    good = (pictures / "face0.png").read_bytes()
    (tmp_path / "z.png").write_bytes(good)
    huge = bytearray(good)
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    (tmp_path / "huge.png").write_bytes(bytes(huge))
    (tmp_path / "folder.png").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(good)
    frames = list(open_source(f"images:{tmp_path}"))
    assert [frame.name for frame in frames] == ["z.png", r"\xff.png"]
    assert [frame.index for frame in frames] == [0, 1]


def test_a_clip_cut_short_is_said(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = clip.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    frames = list(open_source(f"file:{tmp_path}/cut.avi"))
    assert 10 < len(frames) < 50
    assert "cut short" in caplog.text
