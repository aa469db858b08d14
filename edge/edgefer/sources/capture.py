"""OpenCV's video capture: opened without noise, closed safely, and what it is set to."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import cv2
from msgspec import Meta

from edgefer.native_stderr import silence_native_stderr

V4L2 = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY

FrozenSeconds = Annotated[float, Meta(ge=0, le=3600)]


_OPENING = threading.Lock()


def open_capture(*arguments: object, protocols: str = "") -> cv2.VideoCapture:
    """``cv2.VideoCapture`` without the warnings that OpenCV and FFmpeg print: edgefer has its own messages.

    ``protocols``: those that FFmpeg may use, with commas between them; a list of addresses in a video leads to no others.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what FFmpeg prints about damaged frames, later on
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")  # seconds that a read waits for a camera that hangs
    # The first is its name in Debian's OpenCV (4.6 of Bookworm, 4.10 of Trixie), the second in PyPI's.
    silence = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    silence(0)
    with _OPENING, _ffmpeg_options(f"protocol_whitelist;{protocols}" if protocols else ""), silence_native_stderr():
        return cv2.VideoCapture(*arguments)


@contextmanager
def _ffmpeg_options(options: str) -> Iterator[None]:
    """Add FFmpeg's options: OpenCV takes them from the environment alone."""
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    before = os.environ.get(name)
    if options:
        os.environ[name] = f"{before}|{options}" if before else options
    try:
        yield
    finally:
        if options:
            os.environ.pop(name)
            os.environ.update({name: before} if before else {})


class Capture:
    """``cv2.VideoCapture`` that may be closed while another thread waits in it: OpenCV would free what is being read."""

    def __init__(self, *arguments: object, protocols: str = "") -> None:
        self.cv2 = open_capture(*arguments, protocols=protocols)
        self.closed = threading.Event()
        self.stamp_s = 0.0
        """The presentation stamp of the last picture."""
        self.pixel_aspect = pixel_aspect(self.cv2)
        """Width to height of the last picture's pixels."""
        self._reading = threading.Lock()

    @property
    def opened(self) -> bool:
        """Whether there is video."""
        return self.cv2.isOpened()

    @property
    def trouble(self) -> str:
        """Why there is none, if it is known."""
        return ""

    @property
    def format(self) -> str:
        """Size, pixel format and rate."""
        return stream_format(self.cv2)

    def read(self) -> cv2.typing.MatLike | None:
        """The next picture; None if none comes, or when it is closed."""
        with self._reading:
            found, picture = (False, None) if self.closed.is_set() else self.cv2.read()
            if found:
                self.stamp_s = self.cv2.get(cv2.CAP_PROP_POS_MSEC) / 1000
                self.pixel_aspect = pixel_aspect(self.cv2)
        if self.closed.is_set():
            self.close()
        return picture if found else None

    def close(self) -> None:
        """Release it, at once or at the end of `read`; safe to call twice."""
        self.closed.set()
        if self._reading.acquire(blocking=False):
            self.cv2.release()
            self._reading.release()


def pixel_aspect(capture: cv2.VideoCapture) -> float:
    """Width to height of a pixel as a file or a stream says; 1 where it says nothing, or nothing sensible."""
    across, down = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    return across / down if down > 0 and 0.1 <= across / down <= 10 else 1.0


def stream_format(capture: cv2.VideoCapture) -> str:
    """Size, pixel format and rate that a camera reports."""
    keys = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FPS)
    width, height, fourcc, fps = (capture.get(key) for key in keys)
    letters = int(fourcc).to_bytes(4, "little", signed=True).decode("ascii", "replace")
    return f"{width:.0f}x{height:.0f} {letters}, " + (f"{fps:.3g} frames a second" if fps > 0 else "as many frames as it likes")
