"""A request to a network camera: its headers in time, no way to another host, and a body that another thread may end."""

from __future__ import annotations

import http.client
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from edgefer.errors import SourceError

CHUNK = 65_536


class HttpRequest:
    """An answered request; ``timeout_s`` is for the headers altogether, and for each wait for the body.

    Raises `OSError`, `http.client.HTTPException` or `ValueError` without an answer, `SourceError` where the camera leads elsewhere.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        url, user, password = _without_login(address)
        self._sockets: list[socket] = []
        logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        if user:
            logins.add_password(None, url, user, password)
        opener = urllib.request.build_opener(
            _Http(self._sockets),
            _Https(self._sockets),
            _SameHost,
            urllib.request.HTTPBasicAuthHandler(logins),
            urllib.request.HTTPDigestAuthHandler(logins),
        )
        # A server that drips its headers, a byte a second, is never late by the timeout of the socket.
        deadline = threading.Timer(timeout_s, self.close)
        deadline.daemon = True
        deadline.start()
        try:
            self._answer = opener.open(urllib.request.Request(url, headers={"User-Agent": "edgefer"}), timeout=timeout_s)
        finally:
            deadline.cancel()
        self.address: str = self._answer.url
        """After redirects."""
        self.content_type: str = self._answer.headers.get_content_type()

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives; raises `OSError` where nothing comes for the timeout."""
        try:
            while chunk := self._answer.read1(CHUNK):
                yield chunk
        except (http.client.HTTPException, ValueError) as error:  # ValueError: closed by another thread
            raise OSError(str(error)) from None

    def close(self) -> None:
        """End the request, also while another thread reads; safe to call twice."""
        for connection in self._sockets:
            with suppress(OSError, ValueError):
                connection.shutdown(SHUT_RDWR)


def same_host(address: str, reference: str, base: str) -> str:
    """The address that ``reference`` means on the page ``base``; raises `SourceError` where it is not on the host of ``address``."""
    found = urljoin(base, reference.strip())
    theirs, ours = urlsplit(found), urlsplit(address)
    if theirs.scheme not in ("http", "https") or theirs.hostname != ours.hostname:
        elsewhere = theirs.hostname if theirs.scheme in ("http", "https") else f"{theirs.scheme}:"
        raise SourceError(f"the camera leads to {elsewhere}, which is not its own host; if you trust it, write that address")
    return found


class _SameHost(urllib.request.HTTPRedirectHandler):
    """A redirect stays on the camera's host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage, newurl: str) -> Any:
        same_host(req.full_url, newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Http(urllib.request.HTTPHandler):
    """Remembers its connections, so that they can be shut down."""

    def __init__(self, sockets: list[socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connection(http.client.HTTPConnection, self._sockets), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, sockets: list[socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        # Cameras sign their own certificates.
        unverified = ssl._create_unverified_context()
        return self.do_open(_connection(http.client.HTTPSConnection, self._sockets), req, context=unverified)


def _connection(kind: Any, sockets: list[socket]) -> Any:
    """A class of connections that adds its sockets to a list."""

    class Remembered(kind):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    return Remembered


def _without_login(address: str) -> tuple[str, str, str]:
    """An address without its user and password, the user, the password."""
    parts = urlsplit(address)
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), unquote(user), unquote(password)
