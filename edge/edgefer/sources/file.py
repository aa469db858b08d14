"""Video files, and videos that come through a pipe."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
from msgspec import Meta

from edgefer.errors import SourceError
from edgefer.sources import Source
from edgefer.sources.capture import Capture, open_capture
from edgefer.sources.h264 import h264_fps
from edgefer.sources.mounting import VideoOptions
from edgefer.sources.pump import Pump, chunks_of
from edgefer.sources.stamps import FileTimes
from edgefer.spec import Spec
from edgefer.types import Frame

_LOG = logging.getLogger(__name__)
_MAX_FPS = 250.0
"""Frames a second above which a rate is not believed: recorders that know none write 600, 1000 or 90000."""
_ASSUMED_FPS = 30.0
_SAMPLE = 12
"""Frames whose stamps are compared with a rate that is not believed."""
_RAW = (b"\0\0\0\1", b"\0\0\1", b"\xff\xd8\xff")
"""How raw H.264, H.265 and MJPEG begin; they hold no time stamps."""
_BEGIN = 4096
_PROGRAM_STREAM = b"\0\0\1\xba"
"""Begins like a raw stream, but is a container."""


class FileOptions(VideoOptions, frozen=True):
    """How a file's time is counted, and how a pipe is read."""

    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    """Frames a second; by default each frame's time is its presentation stamp in the file."""
    live: bool = False
    """What comes through a pipe is a camera's: frames that are late are dropped, and a frame's time is that of its arrival."""


class File(Source):
    """A video file that OpenCV can read, every frame; a FIFO, or ``-`` for standard input.

    A frame's time is its presentation stamp, in seconds since the first frame.
    """

    forms = ("file:PATH", "file:-")
    options = FileOptions

    def __init__(self, spec: Spec) -> None:
        self._options, self._spec = spec.read(FileOptions), str(spec)
        self._path = Path("/dev/stdin" if spec.path == "-" else spec.path)
        self._closed = threading.Event()
        self._pump: Pump | None = None
        self._capture: Capture | None = None
        if spec.path == "-" and sys.stdin and sys.stdin.isatty():
            raise SourceError(f"{spec}: standard input is a terminal; pipe a video into it, as in 'rpicam-vid -t 0 -o - | edgefer run …'")
        if self._path.is_fifo():
            self.live, self.pauses = self._options.live, not self._options.live
            self.description = f"{self._path}, a pipe{self._options.words}"
            return
        if not self._path.is_file():
            raise SourceError(f"{spec}: {_what_else(self._path)}")
        self._capture = self._open(str(self._path.absolute()), "file")
        self._times = self._timing(self._path, self._capture)
        declared = self._capture.cv2.get(cv2.CAP_PROP_FPS)
        size = (int(self._capture.cv2.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        rate = f"{self._rate:.3g} frames a second" if self._counted or self._rate == declared else "frames at their own times"
        self.description = f"{self._path}, {'x'.join(map(str, size))}, {rate}{self._options.words}"

    def _open(self, address: str, protocols: str) -> Capture:
        capture = Capture(address, cv2.CAP_FFMPEG, protocols=protocols)
        if not capture.cv2.isOpened():
            raise SourceError(f"{self._spec}: not a video that OpenCV can read; try 'ffmpeg -i {self._path.name} clip.mp4'")
        return capture

    def _timing(self, path: Path | None, capture: Capture) -> FileTimes:
        """How frames get their times; a rate that is guessed or not believed is logged. ``path`` None: a pipe."""
        declared = capture.cv2.get(cv2.CAP_PROP_FPS)
        self._rate = declared if 0 < declared <= _MAX_FPS else _ASSUMED_FPS
        self._counted = bool(self._options.fps)
        if self._options.fps:
            self._rate = self._options.fps
        elif path and (begin := _raw(path)):
            self._counted, named = True, h264_fps(begin)
            self._rate = named if named and named <= _MAX_FPS else self._rate
            how = "counted, as it says" if named == self._rate else "assumed"
            _LOG.warning("%s: a raw stream has no time stamps; %.4g frames a second are %s (change it: ?fps=N)", path, self._rate, how)
        elif self._rate != declared:
            claim = f"claims {declared:.6g} frames a second" if declared > 0 else "names no rate"
            self._counted = bool(path) and _step_s(str(path and path.absolute())) < 1 / _MAX_FPS
            instead = f"{self._rate:g} are assumed" if self._counted else "the time stamps of its frames are used"
            _LOG.warning("%s: %s; %s (change it: ?fps=N)", path or self._spec, claim, instead)
        return FileTimes(1 / self._rate)

    def _open_pipe(self) -> tuple[Capture, FileTimes]:
        try:
            self._pump = Pump(chunks_of(self._path, self._closed))
        except OSError as error:
            raise SourceError(f"{self._spec}: cannot be read: {error.strerror}") from None
        self._capture = self._open(self._pump.address, Pump.PROTOCOL)
        return self._capture, self._timing(None, self._capture)

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, then the end; raises `SourceError` if there is none at all."""
        try:
            yield from self._frames()
        finally:
            if self._pump:
                self.close()
                self._pump.release()

    def _frames(self) -> Iterator[Frame]:
        capture, times = (self._capture, self._times) if self._capture else self._open_pipe()
        index, time_s = 0, 0.0
        while (picture := capture.read()) is not None:
            counted_s = index / self._rate
            time_s = time.time() if self.live else counted_s if self._counted else times.next_s(capture.stamp_s)
            yield self._options.frame(index, time_s, self._options.square(picture, capture.pixel_aspect))
            index += 1
        if self._closed.is_set():
            return
        if not index:
            raise SourceError(f"{self._path}: the video holds no frame that can be decoded")
        if not self._pump:
            self._warn_if_cut(capture, index, time_s)

    def _warn_if_cut(self, capture: Capture, index: int, time_s: float) -> None:
        frames, fps = capture.cv2.get(cv2.CAP_PROP_FRAME_COUNT), capture.cv2.get(cv2.CAP_PROP_FPS)
        # The number of frames is an estimate from the length; a tenth less of both is a file cut short.
        if index < 0.9 * frames and fps > 0 and time_s + 1 / self._rate < 0.9 * frames / fps:
            _LOG.warning("%s: %.1f s of %.1f could be read; the file is damaged or cut short", self._path, time_s, frames / fps)

    def close(self) -> None:
        """Release the file; ends the iteration of a pipe."""
        self._closed.set()
        if self._pump:
            self._pump.close()
        if self._capture:
            self._capture.close()


def _raw(path: Path) -> bytes:
    """The first bytes of a raw stream; empty for any other file."""
    with path.open("rb") as file:
        begin = file.read(_BEGIN)
    return begin if begin.startswith(_RAW) and not begin.startswith(_PROGRAM_STREAM) else b""


def _step_s(address: str) -> float:
    """The usual time between two of a file's first frames, by their stamps, in seconds; 0 where there are no stamps."""
    capture = open_capture(address, cv2.CAP_FFMPEG)
    stamps_s = [capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 for _ in range(_SAMPLE) if capture.grab()]
    capture.release()
    return median(after - before for before, after in pairwise(stamps_s)) if len(stamps_s) > 1 else 0.0


def _what_else(path: Path) -> str:
    """Why a path is not a video file, and what to write instead."""
    if path.is_dir():
        return f"a folder; for its pictures write images:{path}"
    if path.is_char_device() and path.name.startswith("video"):
        return f"a camera; write opencv:{path}"
    return "neither a file nor a pipe" if os.path.lexists(path) else "no such file"
