"""What OpenCV reads: V4L2 cameras, video files, and RTSP or MJPEG streams."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from edge.errors import SourceError
from edge.picture import colour_frame
from edge.plug import Spec
from edge.quiet import quiet_native
from edge.settings import Table, checked
from edge.types import Frame

V4L2 = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY


_LOG = logging.getLogger(__name__)


def open_capture(*arguments: object) -> cv2.VideoCapture:
    """``cv2.VideoCapture`` without the warnings that OpenCV and FFmpeg print for what we say ourselves."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its words about damaged frames, later on
    # The first is its name in Debian's OpenCV (4.6 of Bookworm, 4.10 of Trixie), the second in PyPI's.
    silence = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    silence(0)
    with quiet_native():
        return cv2.VideoCapture(*arguments)


class File:
    """``file:PATH``: any video OpenCV reads, every frame; a frame's time is its position in seconds."""

    live = False
    tracked = True

    def __init__(self, spec: Spec) -> None:
        checked(spec.options, Table, spec.text, strict=False)
        self._path = Path(spec.path)
        if not self._path.is_file():
            raise SourceError(f"{spec.text}: no such file")
        self._capture = open_capture(str(self._path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{spec.text}: not a video that OpenCV can read; try 'ffmpeg -i {self._path.name} clip.mp4'")
        self._fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self._fps <= 1000:
            self._fps = 25.0
        size = (int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.description = f"{self._path}, {size[0]}x{size[1]}, {self._fps:.3g} frames a second"

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


class CameraOptions(Table, frozen=True):
    """What a V4L2 camera is asked for; it may give something else, which `Camera.description` says."""

    width: int = 640
    height: int = 480
    fps: float = 30.0
    fourcc: str = "MJPG"
    """Pixel format of four letters: MJPG is what USB cameras need for 30 frames a second."""


class Camera:
    """``opencv:N``: camera number N (``/dev/videoN``) by V4L2."""

    live = True
    tracked = True

    def __init__(self, spec: Spec) -> None:
        options = checked(spec.options, CameraOptions, spec.text, strict=False)
        if not re.fullmatch(r"[0-9]{1,3}", spec.path):
            raise SourceError(f"{spec.text}: a camera is a number, as in opencv:0; a clip is file:PATH")
        if len(options.fourcc) != 4:
            raise SourceError(f"{spec.text}: fourcc is four letters such as MJPG or YUYV, found {options.fourcc!r}")
        self._name = spec.text
        self._capture = open_capture(int(spec.path), V4L2)
        if not self._capture.isOpened():
            raise SourceError(f"{spec.text}: no camera answers at /dev/video{spec.path}; 'edgefer doctor' lists the cameras")
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
        self._capture.set(cv2.CAP_PROP_FPS, options.fps)
        got = [self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)]
        self.description = f"camera {spec.path}, {got[0]:.0f}x{got[1]:.0f}, {got[2]:.3g} frames a second"

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the camera fails, which raises `SourceError`."""
        return _live_frames(self._capture, f"{self._name}: the camera stopped giving frames; is it still plugged in?")

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


class Stream:
    """``rtsp://…`` or ``http://…``: a network camera; opening and reading give up after a few seconds."""

    live = True
    tracked = True
    timeout_s = 5

    def __init__(self, spec: Spec) -> None:
        # The password in a camera's address is not for the log.
        address = spec.path.partition("://")[2]
        self.description = f"stream {spec.scheme}://{address.rpartition('@')[2]}"
        limit_ms = self.timeout_s * 1000
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        # Only limits given at opening hold: set later, a stalled stream blocks for ever.
        self._capture = open_capture(spec.path, cv2.CAP_FFMPEG, limits)
        if not self._capture.isOpened():
            raise SourceError(f"{self.description}: no video there within {self.timeout_s} s; check the address in a player")

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the stream ends or stalls, which raises `SourceError`."""
        return _live_frames(self._capture, f"{self.description}: the stream ended or stalled for {self.timeout_s} s")

    def close(self) -> None:
        """Hang up."""
        self._capture.release()


def _live_frames(capture: cv2.VideoCapture, when_over: str) -> Iterator[Frame]:
    """Frames with the time of their arrival; raises `SourceError` with ``when_over`` when one fails to come."""
    index = 0
    while True:
        found, picture = capture.read()
        if not found:
            raise SourceError(when_over)
        yield colour_frame(index, time.time(), picture)
        index += 1
