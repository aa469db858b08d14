"""Network cameras: RTSP, HTTP, and video that arrives over TCP, UDP or SRT."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import cv2
from msgspec import Meta

from edgefer.errors import SettingsError, SourceError
from edgefer.redact import reason
from edgefer.sources import Source
from edgefer.sources.camera_health import Stillness
from edgefer.sources.capture import Capture, FrozenSeconds
from edgefer.sources.http_video import Video, open_http
from edgefer.sources.mounting import VideoOptions
from edgefer.sources.stamps import LiveTimes
from edgefer.spec import Spec
from edgefer.types import Frame

LOST_S = 600.0
"""Seconds after which a lost stream is given up if nothing else ends the wait: the largest `source_timeout_s`."""
_UNSTAMPED = ("tcp",)
"""Often raw H.264, as rpicam-vid sends it: FFmpeg makes up its stamps, so that a frame's time is that of its arrival."""

_LOG = logging.getLogger(__name__)


class StreamOptions(VideoOptions, frozen=True):
    """How a network camera is treated; written after a ``#`` in its address, which is never sent to it."""

    timeout_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    """Seconds after which opening and reading give up, and it is opened again."""
    frozen_s: FrozenSeconds = 10.0
    """Seconds of one and the same picture after which it is opened again; 0: never."""
    fps: Annotated[float, Meta(gt=0, le=30)] = 5.0
    """Pictures a second that are asked of a camera which serves single ones."""


class Stream(Source):
    """A network camera: RTSP, MJPEG, HLS or single JPEG pictures over HTTP, or video over TCP, UDP or SRT.

    A stream that ends, stalls or freezes is opened again until it gives new pictures; `edgefer.pipeline.loop.run` ends the wait.
    Redirects and playlists of an HTTP camera stay on its host.
    """

    forms = ("rtsp://host/path", "http://host/path", "https://host/path", "tcp://host:port", "udp://@:port", "srt://host:port")
    options = StreamOptions
    options_after = "#"
    live = True
    retry_s = 1.0
    """Seconds between two attempts to open it."""

    def __init__(self, spec: Spec) -> None:
        self._options, self._scheme = spec.read(StreamOptions), spec.scheme
        self.repeats = not self._options.frozen_s
        self._address, self.description = spec.path, f"stream {spec}"
        self._closed = threading.Event()
        try:
            self._video = self._open()
        except SourceError as error:
            raise SourceError(f"{self.description}: {error}") from None
        if not self._video.opened:
            trouble = self._video.trouble or self._why_not()
            self._video.close()
            raise SourceError(f"{self.description}: {trouble}")
        if "single pictures" in self._video.format:
            _LOG.warning("%s: serves %s (change it: #fps=N)", self.description, self._video.format)
        self.description += f", {self._video.format}{self._options.words}"

    @classmethod
    def check(cls, spec: Spec) -> None:
        """Raises `SettingsError` for a spec that cannot be opened; opens nothing."""
        if spec.scheme == "udp" and re.match(r"udp://@?:\d{1,5}(?![^/?])", spec.path):  # any sender
            spec.read(StreamOptions)
            return
        super().check(spec)
        if spec.scheme in ("tcp", "udp", "srt") and not urlsplit(spec.path).port:
            raise SettingsError(f"{spec}: no port; write {spec.scheme}://host:port")

    def _open(self) -> Video:
        limit_ms = round(self._options.timeout_s * 1000)
        # Only limits given at opening hold: set later, a stalled stream blocks for ever.
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        if self._scheme in ("http", "https"):
            return open_http(self._address, self._options.timeout_s, self._options.fps, limits)
        # RTSP needs several protocols, and names no other addresses in its video.
        return Capture(self._address, cv2.CAP_FFMPEG, limits, protocols="" if self._scheme == "rtsp" else self._scheme)

    def _why_not(self) -> str:
        """Whether anything answers at the address: OpenCV gives no reason."""
        within = f"within {self._options.timeout_s:g} s"
        if self._scheme == "udp":
            return f"no video arrived {within}; does the sender send to this machine and this port?"
        if self._scheme == "srt":
            return f"no video arrived {within}, or OpenCV's FFmpeg has no SRT here; MPEG-TS over udp:// needs none"
        try:
            parts = urlsplit(self._address)
            port = parts.port or {"rtsp": 554, "http": 80, "https": 443}[parts.scheme]
            socket.create_connection((parts.hostname or "", port), self._options.timeout_s).close()
        except (OSError, ValueError) as error:
            return f"nobody answers there ({reason(error)}); is the camera on, and in this network?"
        return f"it answers, but with no video {within}; check the path, the user and the password in a player"

    def __iter__(self) -> Iterator[Frame]:
        """New pictures until closed."""
        still, times, index = Stillness(), LiveTimes(), 0
        lost_s: float | None = None
        while not self._closed.is_set():
            picture = self._video.read()
            if picture is not None:
                now_s = time.monotonic()
                stamp_s = None if self._scheme in _UNSTAMPED else self._video.stamp_s
                square = self._options.square(picture, self._video.pixel_aspect)
                frame = self._options.frame(index, times.next_s(stamp_s, time.time()), square)
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
            self._video.close()
            if not self._closed.wait(self.retry_s):
                self._reopen()
                # It may begin with the picture it stopped at: it has as long as before to give another.
                still.begin(time.monotonic())
                times = LiveTimes()
        self._video.close()

    def _reopen(self) -> None:
        try:
            self._video = self._open()
        except SourceError as error:  # the next attempt may succeed
            _LOG.debug("%s: %s", self.description, error)

    def close(self) -> None:
        """Close the connection."""
        self._closed.set()
        self._video.close()
