"""JPEG pictures over HTTP: an MJPEG stream, whatever its headers, or a camera that serves single pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.client import HTTPException

import cv2

from edgefer.errors import EdgeferError
from edgefer.sources.http_request import HttpRequest
from edgefer.sources.picture_size import jpeg_end
from edgefer.sources.pictures import decode_picture

_BEGIN = b"\xff\xd8\xff"
_MAX_BYTES = 40_000_000
"""Bytes among which there must be a whole picture."""


class Jpegs:
    """Pictures of an answered ``request``; ``begin`` is what was read of it, ``fps`` the rate at which single pictures are asked for.

    Read like `edgefer.sources.capture.Capture`.
    """

    pixel_aspect = 1.0
    trouble = ""
    stamp_s: float | None = None
    """MJPEG has no stamps."""

    def __init__(self, address: str, request: HttpRequest, body: Iterator[bytes], timeout_s: float, fps: float) -> None:
        self._address, self._request, self._timeout_s, self._fps = address, request, timeout_s, fps
        self.closed = threading.Event()
        self._body, self._buffer = body, bytearray()
        self._due_s = time.monotonic()
        self._next = self._find()
        # A stream goes on after its first picture.
        self.single = self.opened and not request.content_type.startswith("multipart/") and not self._more()
        size = f"{self._next.shape[1]}x{self._next.shape[0]}" if self._next is not None else ""
        self.format = f"{size} MJPG" + (f", single pictures, {fps:g} a second" if self.single else "")

    @property
    def opened(self) -> bool:
        """Whether a picture came."""
        return self._next is not None

    def read(self) -> cv2.typing.MatLike | None:
        """The next picture, (H, W, 3) uint8 BGR; None if none comes, or when it is closed."""
        picture, self._next = self._next, None
        if picture is None and not self.closed.is_set():
            picture = self._ask() if self.single else self._find()
        return None if self.closed.is_set() else picture

    def _ask(self) -> cv2.typing.MatLike | None:
        """One more single picture, when it is due."""
        self._due_s = max(self._due_s + 1 / self._fps, time.monotonic() - 1 / self._fps)
        if self.closed.wait(max(0.0, self._due_s - time.monotonic())):
            return None
        try:
            self._request = HttpRequest(self._address, self._timeout_s)
            self._body, self._buffer = self._request.chunks(), bytearray()
            return self._find()
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            self._request.close()

    def _find(self) -> cv2.typing.MatLike | None:
        """The next picture of the body; what is damaged is passed over."""
        end_s = time.monotonic() + self._timeout_s
        while not self.closed.is_set() and time.monotonic() < end_s and len(self._buffer) < _MAX_BYTES:
            if jpeg := self._take():
                try:
                    return decode_picture(jpeg)[0]
                except EdgeferError:
                    continue
            if not self._more():
                return None
        return None

    def _more(self) -> bool:
        """Whether more of the body came."""
        try:
            chunk = next(self._body, b"")
        except OSError:
            return False
        self._buffer += chunk
        return bool(chunk)

    def _take(self) -> bytes | None:
        """A whole JPEG from the buffer; what stands before it is dropped."""
        while (begin := self._buffer.find(_BEGIN)) >= 0:
            end = jpeg_end(self._buffer, begin)
            if end == 0:
                del self._buffer[:begin]
                return None
            found = bytes(self._buffer[begin:end]) if end > 0 else b""
            del self._buffer[: max(end, begin + 2)]
            if found:
                return found
        # The beginning of the next one may be there in part.
        del self._buffer[:-2]
        return None

    def close(self) -> None:
        """End the connection; safe to call twice."""
        self.closed.set()
        self._request.close()
