"""Opens the video of an address in the web: JPEG pictures are read here; anything else goes through a pipe to FFmpeg.

FFmpeg itself would follow a redirect or a playlist to any host.
"""

from __future__ import annotations

from http.client import HTTPException
from itertools import chain
from typing import Protocol
from urllib.error import HTTPError

import cv2

from edgefer.errors import SourceError
from edgefer.redact import reason
from edgefer.sources.capture import Capture
from edgefer.sources.hls import Hls, is_playlist
from edgefer.sources.http_request import HttpRequest, same_host
from edgefer.sources.jpegs import Jpegs
from edgefer.sources.pump import Pump

_HEAD = 2048
"""First bytes of an answer, which tell JPEG from video."""


class Video(Protocol):
    """Pictures of a stream, one after the other."""

    @property
    def pixel_aspect(self) -> float:
        """Width to height of the last picture's pixels."""

    @property
    def stamp_s(self) -> float | None:
        """The last picture's presentation stamp; None: the stream has none."""

    @property
    def format(self) -> str:
        """Size, pixel format and rate."""

    @property
    def opened(self) -> bool:
        """Whether there is video."""

    @property
    def trouble(self) -> str:
        """Why there is none, if it is known."""

    def read(self) -> cv2.typing.MatLike | None:
        """The next picture; None if none comes, or when it is closed."""

    def close(self) -> None:
        """End it, also while another thread reads; safe to call twice."""


def open_http(address: str, timeout_s: float, fps: float, limits: list[int]) -> Video:
    """The video at an address; ``limits`` are OpenCV's, for FFmpeg. Raises `SourceError` with what the server answers."""
    try:
        request = HttpRequest(address, timeout_s)
    except HTTPError as error:
        if 300 <= error.code < 400:
            same_host(address, error.headers.get("Location") or "", address)
        login = "; check user and password" if error.code in (401, 403) else "; check the path"
        raise SourceError(f"it answers {error.code} {error.reason}{login}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"nobody answers there ({reason(error)}); is the camera on, and in this network?") from None
    body = request.chunks()
    head = b""
    try:
        while len(head) < _HEAD and (chunk := next(body, b"")):
            head += chunk
            if is_playlist(head) or b"\xff\xd8\xff" in head:
                break
    except OSError:
        request.close()
    if is_playlist(head):
        request.close()
        hls = Hls(request.address, timeout_s)
        return PumpedVideo(Pump(hls.chunks(), hls.close), limits)
    whole = chain([head], body)
    if request.content_type.startswith(("image/", "multipart/")) or b"\xff\xd8\xff" in head:
        return Jpegs(address, request, whole, timeout_s, fps)
    return PumpedVideo(Pump(whole, request.close), limits)


class PumpedVideo(Capture):
    """FFmpeg behind a `Pump`."""

    def __init__(self, pump: Pump, limits: list[int]) -> None:
        self._pump = pump
        super().__init__(pump.address, cv2.CAP_FFMPEG, limits, protocols=pump.PROTOCOL)

    @property
    def trouble(self) -> str:
        """Why there is none, if it is known."""
        return str(self._pump.failure) if isinstance(self._pump.failure, SourceError) else ""

    def close(self) -> None:
        """Release it, at once or at the end of `read`; safe to call twice."""
        self._pump.close()
        super().close()
        if not self.cv2.isOpened():
            self._pump.release()
