"""HLS, the playlists of network cameras: the segments one after the other, from the camera's own host alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from itertools import pairwise

from edgefer.errors import SourceError
from edgefer.sources.http_request import HttpRequest, same_host

_MAX_BYTES = 1_000_000
_LIVE_EDGE = 3
"""Segments before the newest one at which a live playlist begins, as RFC 8216, 6.3.3 asks for."""


@dataclass(frozen=True, slots=True)
class Playlist:
    """A media playlist."""

    first: int
    """Number of the first segment."""
    segments: tuple[str, ...]
    """Addresses."""
    head: str
    """Address of what stands before every segment; empty: nothing."""
    wait_s: float
    """Seconds until it may have changed."""
    ended: bool


def is_playlist(begin: bytes) -> bool:
    """Whether an answer that begins so is a playlist."""
    return begin.lstrip(b"\xef\xbb\xbf\r\n ").startswith(b"#EXTM3U")


class Hls:
    """The video of the playlist at ``address``. Iterate over `chunks`; `close` ends them from another thread."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._closed = threading.Event()
        self._request: HttpRequest | None = None

    def chunks(self) -> Iterator[bytes]:
        """The segments' bytes until the playlist ends, or it is closed.

        Raises `SourceError` for an address on another host and for encrypted video, `OSError` where the camera does not answer.
        """
        url = self._address
        if variant := best_variant(self._address, text := self._text(url)):
            url = variant
            text = self._text(url)
        playlist = parse_playlist(self._address, url, text)
        done, head = playlist.first, ""
        if not playlist.ended:
            done += max(0, len(playlist.segments) - _LIVE_EDGE)
        while True:
            for number, segment in enumerate(playlist.segments, playlist.first):
                if number >= done and not self._closed.is_set():
                    if playlist.head != head:
                        head = playlist.head
                        yield from self._fetch(head)
                    yield from self._fetch(segment)
                    done = number + 1
            if playlist.ended or self._closed.wait(playlist.wait_s):
                return
            playlist = parse_playlist(self._address, url, self._text(url))

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            self._request = request = HttpRequest(url, self._timeout_s)
        except (HTTPException, ValueError) as error:
            raise OSError(str(error)) from None
        if self._closed.is_set():
            request.close()
        try:
            yield from request.chunks()
        finally:
            request.close()

    def _text(self, url: str) -> str:
        found = bytearray()
        for chunk in self._fetch(url):
            found += chunk
            if len(found) > _MAX_BYTES:
                raise SourceError("the playlist is too long")
        return found.decode(errors="replace")

    def close(self) -> None:
        """End the chunks; safe to call twice."""
        self._closed.set()
        if self._request:
            self._request.close()


def best_variant(address: str, text: str) -> str:
    """The address of the variant with the highest bandwidth; empty where the text is no list of variants."""
    lines = [line.strip() for line in text.splitlines()]
    found: dict[str, int] = {}
    for line, following in pairwise(lines):
        if line.startswith("#EXT-X-STREAM-INF:"):
            rate = re.search(r"[:,]BANDWIDTH=(\d{1,12})", line)
            found[following] = int(rate[1]) if rate else 0
    return same_host(address, max(found, key=lambda each: found[each]), address) if found else ""


def parse_playlist(address: str, url: str, text: str) -> Playlist:
    """A media playlist at ``url`` of the camera at ``address``; raises `SourceError` for what cannot be followed."""
    first, wait_s, head, ended = 0, 2.0, "", False
    segments = []
    for line in map(str.strip, text.splitlines()):
        name, _, value = line.partition(":")
        if name == "#EXT-X-MEDIA-SEQUENCE" and value.isdecimal():
            first = int(value)
        elif name == "#EXT-X-TARGETDURATION" and re.fullmatch(r"\d{1,4}(\.\d+)?", value):
            wait_s = min(max(float(value) / 2, 0.5), 10)
        elif name == "#EXT-X-MAP" and (found := re.search(r'URI="([^"]+)"', value)):
            head = same_host(address, found[1], url)
        elif name == "#EXT-X-KEY" and "METHOD=NONE" not in value:
            raise SourceError("the video is encrypted (HLS with a key), which edgefer does not read")
        elif name == "#EXT-X-ENDLIST":
            ended = True
        elif line and not line.startswith("#"):
            segments.append(same_host(address, line, url))
    return Playlist(first, tuple(segments), head, wait_s, ended)
