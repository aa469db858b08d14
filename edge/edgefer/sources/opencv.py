"""What OpenCV reads: V4L2 cameras, video files, and RTSP or MJPEG streams."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

import cv2
from msgspec import Meta

from edgefer.errors import SettingsError, SourceError
from edgefer.luma import colour_frame
from edgefer.native_stderr import silence_native_stderr
from edgefer.redact import ESCAPES, reason
from edgefer.settings import Table, checked
from edgefer.sources.camera_health import Stillness
from edgefer.spec import Spec
from edgefer.types import Frame

V4L2 = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY

FrozenSeconds = Annotated[float, Meta(ge=0, le=3600)]
"""Seconds of one and the same picture after which a camera counts as failed; 0: never, for a picture that is still on purpose."""

LOST_S = 600.0
"""Seconds after which a stream that does not come back is given up, where nobody else ends the wait: the most `source_timeout_s` may be."""

_LOG = logging.getLogger(__name__)


def open_capture(*arguments: object) -> cv2.VideoCapture:
    """``cv2.VideoCapture`` without the warnings that OpenCV and FFmpeg print for what we say ourselves."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its words about damaged frames, later on
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")  # seconds; a camera that hangs is waited for no longer
    # The first is its name in Debian's OpenCV (4.6 of Bookworm, 4.10 of Trixie), the second in PyPI's.
    silence = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    silence(0)
    with silence_native_stderr():
        return cv2.VideoCapture(*arguments)


class File:
    """``file:PATH``: any video OpenCV reads, every frame; a frame's time is its position in seconds."""

    live = False
    tracked = True

    def __init__(self, spec: Spec) -> None:
        self.check(spec)
        self._path = Path(spec.path)
        if not self._path.is_file():
            raise SourceError(f"{spec}: no such file")
        self._capture = open_capture(str(self._path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{spec}: not a video that OpenCV can read; try 'ffmpeg -i {self._path.name} clip.mp4'")
        self._fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self._fps <= 1000:
            self._fps = 25.0
        size = (int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.description = f"{self._path}, {size[0]}x{size[1]}, {self._fps:.3g} frames a second"

    @staticmethod
    def check(spec: Spec) -> None:
        """Raises `SettingsError` or `SourceError` for a spec that could not be opened; opens nothing."""
        checked(spec.options, Table, str(spec), strict=False)
        if not spec.path:
            raise SourceError(f"{spec}: no file given; write file:PATH")

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, then the end; raises `SourceError` when there is none at all."""
        index = 0
        while True:
            found, picture = self._capture.read()
            if not found:
                break
            # Counted, not asked for: CAP_PROP_POS_MSEC jumps back in GIFs and in clips with edit lists.
            yield colour_frame(index, index / self._fps, picture)
            index += 1
        if not index:
            raise SourceError(f"{self._path}: the video holds no frame that can be decoded")
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # The promise is an estimate from the length; a tenth less is a file cut short.
        if index < 0.9 * promised:
            _LOG.warning("%s: %d frames of %.0f could be read; the file is damaged or cut short", self._path, index, promised)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()


class Capture:
    """``cv2.VideoCapture`` that may be closed while another thread waits in it: OpenCV would free what is being read."""

    def __init__(self, *arguments: object) -> None:
        self.cv2 = open_capture(*arguments)
        self.closed = threading.Event()
        self._reading = threading.Lock()

    def read(self) -> cv2.typing.MatLike | None:
        """The next picture; None where none comes, or when it is closed."""
        with self._reading:
            found, picture = (False, None) if self.closed.is_set() else self.cv2.read()
        if self.closed.is_set():
            self.close()
        return picture if found else None

    def close(self) -> None:
        """Release it, at once or on the way out of `read`; safe to call twice."""
        self.closed.set()
        if self._reading.acquire(blocking=False):
            self.cv2.release()
            self._reading.release()


Size = Annotated[int, Meta(ge=16, le=8192)]


class CameraOptions(Table, frozen=True):
    """What a V4L2 camera is asked for; it may give something else, which `Camera.description` says."""

    width: Size = 640
    height: Size = 480
    fps: Annotated[float, Meta(gt=0, le=1000)] = 30.0
    fourcc: str = "MJPG"
    """Pixel format of four letters: MJPG is what USB cameras need for 30 frames a second."""
    frozen_s: FrozenSeconds = 6.0


class Camera:
    """``opencv:N``: camera number N (``/dev/videoN``) by V4L2."""

    live = True
    tracked = True

    def __init__(self, spec: Spec) -> None:
        options = self.check(spec)
        self._name, self._frozen_s, self.repeats = str(spec), options.frozen_s, not options.frozen_s
        self._capture = Capture(int(spec.path), V4L2)
        device = Path(f"/dev/video{spec.path}")
        if not self._capture.cv2.isOpened():
            raise SourceError(f"{spec}: no camera answers at {device}: {_why_not(device)}")
        for key, value in (
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc)),
            (cv2.CAP_PROP_FRAME_WIDTH, options.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
            (cv2.CAP_PROP_FPS, options.fps),
        ):
            self._capture.cv2.set(key, value)
        asked = f"{options.width}x{options.height} {options.fourcc}, {options.fps:.3g} frames a second"
        given = _format(self._capture.cv2)
        self.description = f"camera {spec.path}, {given}" + (f" ({asked} asked for)" if given != asked else "")

    @staticmethod
    def check(spec: Spec) -> CameraOptions:
        """The options; raises `SettingsError` or `SourceError` for a spec that could not be opened. Opens nothing."""
        options = checked(spec.options, CameraOptions, str(spec), strict=False)
        if not re.fullmatch(r"[0-9]{1,3}", spec.path):
            raise SourceError(f"{spec}: a camera is a number, as in opencv:0; a clip is file:PATH")
        if not re.fullmatch(r"[ -~]{4}", options.fourcc):
            raise SourceError(f"{spec}: fourcc is four letters such as MJPG or YUYV, found {options.fourcc!r}")
        return options

    def __iter__(self) -> Iterator[Frame]:
        """Frames until closed; raises `SourceError` when the camera fails, or gives the same picture again and again."""
        still, index = Stillness(), 0
        while (picture := self._capture.read()) is not None:
            frame = colour_frame(index, time.time(), picture)
            yield frame
            index += 1
            if 0 < self._frozen_s < still.lasts_s(frame.luma, time.monotonic()):
                raise SourceError(
                    f"{self._name}: the same picture for {self._frozen_s:g} s; is it still plugged in? (on purpose: frozen_s=0)"
                )
        if not self._capture.closed.is_set():
            raise SourceError(f"{self._name}: the camera stopped giving frames; is it still plugged in?")

    def close(self) -> None:
        """Release the camera."""
        self._capture.close()


def _format(capture: cv2.VideoCapture) -> str:
    """What a camera has agreed to, as it says itself."""
    keys = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FPS)
    width, height, fourcc, fps = (capture.get(key) for key in keys)
    letters = int(fourcc).to_bytes(4, "little", signed=True).decode("ascii", "replace")
    return f"{width:.0f}x{height:.0f} {letters}, " + (f"{fps:.3g} frames a second" if fps > 0 else "as many frames as it likes")


def _why_not(device: Path) -> str:
    """Why a V4L2 device may not have opened, and what to do."""
    if not device.exists():
        others = sorted(str(other) for other in device.parent.glob("video*"))
        return f"there is {', '.join(others)}" if others else "no camera is plugged in, or its driver is missing"
    if not os.access(device, os.R_OK | os.W_OK):
        return "no permission; 'sudo usermod -aG video $USER', then log in again"
    return f"another program may hold it ('fuser {device}' shows which), or it is not a camera ('v4l2-ctl --list-devices')"


class StreamOptions(Table, frozen=True):
    """How a network camera is treated; written after a ``#`` in its address, which is never sent to it."""

    timeout_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    """Seconds after which opening and reading give up, and it is opened again."""
    frozen_s: FrozenSeconds = 10.0


class Stream:
    """``rtsp://…`` or ``http://…``, also ``rtsp://…#timeout_s=10``: a network camera.

    A stream that ends, stalls or freezes is opened again until it gives new pictures; `edgefer.pipeline.loop.run` ends the wait.
    """

    live = True
    tracked = True
    pause_s = 1.0
    """Between one try to open and the next."""

    def __init__(self, spec: Spec) -> None:
        self._options = self.check(spec)
        self.repeats = not self._options.frozen_s
        self._address, self.description = spec.path.partition("#")[0], f"stream {spec}"
        self._closed = threading.Event()
        self._capture = self._open()
        if not self._capture.cv2.isOpened():
            raise SourceError(f"{self.description}: {self._why_not()}")
        self.description += f", {_format(self._capture.cv2)}"

    @staticmethod
    def check(spec: Spec) -> StreamOptions:
        """The options; raises `SettingsError` for an address or an option that is wrong. Opens nothing."""
        address, _, options = spec.path.partition("#")
        try:
            url = urlsplit(address)
            sound = bool(url.hostname) and url.port != 0 and "@" not in options
        except ValueError:
            sound = False
        if not sound:
            raise SettingsError(f"{spec}: not a camera's address; write {spec.scheme}://host/path; {ESCAPES}")
        return checked(dict(parse_qsl(options, keep_blank_values=True)), StreamOptions, str(spec), strict=False)

    def _open(self) -> Capture:
        limit_ms = round(self._options.timeout_s * 1000)
        # Only limits given at opening hold: set later, a stalled stream blocks for ever.
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        return Capture(self._address, cv2.CAP_FFMPEG, limits)

    def _why_not(self) -> str:
        """Whether anybody is there at all; OpenCV says nothing."""
        try:
            parts = urlsplit(self._address)
            port = parts.port or {"rtsp": 554, "http": 80, "https": 443}[parts.scheme]
            socket.create_connection((parts.hostname or "", port), self._options.timeout_s).close()
        except (OSError, ValueError) as error:
            return f"nobody answers there ({reason(error)}); is the camera on, and in this network?"
        return f"it answers, but with no video within {self._options.timeout_s:g} s; check the path, the user and the password in a player"

    def __iter__(self) -> Iterator[Frame]:
        """New pictures until closed."""
        still, index = Stillness(), 0
        lost_s: float | None = None
        while not self._closed.is_set():
            picture = self._capture.read()
            if picture is not None:
                now_s = time.monotonic()
                frame = colour_frame(index, time.time(), picture)
                same_s = still.lasts_s(frame.luma, now_s)
                # Once lost, the old picture is no sign of life.
                if lost_s is None or same_s == 0:
                    if lost_s is not None:
                        _LOG.warning("%s: back after %.0f s", self.description, now_s - lost_s)
                    lost_s = None
                    yield frame
                    index += 1
                if not 0 < self._options.frozen_s < same_s:
                    continue
            if lost_s is None:
                lost_s = time.monotonic()
                trouble = "it ended or stalled" if picture is None else f"the same picture for {same_s:.0f} s (on purpose? #frozen_s=0)"
                _LOG.warning("%s: %s; connecting again", self.description, trouble)
            elif time.monotonic() - lost_s > LOST_S:
                raise SourceError(f"{self.description}: did not come back in {LOST_S:.0f} s")
            self._capture.close()
            if not self._closed.wait(self.pause_s):
                self._capture = self._open()
                # It may begin with the picture it stopped at: it has as long as before to give another.
                still.begin(time.monotonic())
        self._capture.close()

    def close(self) -> None:
        """Hang up."""
        self._closed.set()
        self._capture.close()
