"""Network cameras: RTSP and MJPEG streams, through OpenCV's FFmpeg."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import cv2
from msgspec import Meta

from edgefer.errors import SourceError
from edgefer.redact import reason
from edgefer.sources import Source
from edgefer.sources.camera_health import Stillness
from edgefer.sources.capture import Capture, FrozenSeconds, stream_format
from edgefer.sources.mounting import VideoOptions, pixel_aspect
from edgefer.spec import Spec
from edgefer.types import Frame

LOST_S = 600.0
"""Seconds after which a lost stream is given up if nothing else ends the wait: the largest `source_timeout_s`."""

_LOG = logging.getLogger(__name__)


class StreamOptions(VideoOptions, frozen=True):
    """How a network camera is treated; written after a ``#`` in its address, which is never sent to it."""

    timeout_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    """Seconds after which opening and reading give up, and it is opened again."""
    frozen_s: FrozenSeconds = 10.0
    """Seconds of one and the same picture after which it is opened again; 0: never."""


class Stream(Source):
    """A network camera: an RTSP stream, or MJPEG over HTTP.

    A stream that ends, stalls or freezes is opened again until it gives new pictures; `edgefer.pipeline.loop.run` ends the wait.
    """

    forms = ("rtsp://host/path", "http://host/path", "https://host/path")
    options = StreamOptions
    options_after = "#"
    live = True
    retry_s = 1.0
    """Seconds between two attempts to open it."""

    def __init__(self, spec: Spec) -> None:
        self._options = spec.read(StreamOptions)
        self.repeats = not self._options.frozen_s
        self._address, self.description = spec.path, f"stream {spec}"
        self._closed = threading.Event()
        self._capture = self._open()
        if not self._capture.cv2.isOpened():
            raise SourceError(f"{self.description}: {self._why_not()}")
        self.description += f", {stream_format(self._capture.cv2)}{self._options.words}"

    def _open(self) -> Capture:
        limit_ms = round(self._options.timeout_s * 1000)
        # Only limits given at opening hold: set later, a stalled stream blocks for ever.
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        return Capture(self._address, cv2.CAP_FFMPEG, limits)

    def _why_not(self) -> str:
        """Whether anything answers at the address: OpenCV gives no reason."""
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
                frame = self._options.frame(index, time.time(), self._options.square(picture, pixel_aspect(self._capture.cv2)))
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
            if not self._closed.wait(self.retry_s):
                self._capture = self._open()
                # It may begin with the picture it stopped at: it has as long as before to give another.
                still.begin(time.monotonic())
        self._capture.close()

    def close(self) -> None:
        """Close the connection."""
        self._closed.set()
        self._capture.close()
