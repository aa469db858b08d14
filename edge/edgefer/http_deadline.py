"""HTTP requests with one time limit for the whole exchange: urllib's own holds for each read, so that a byte now and then renews it."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True, slots=True)
class Limit:
    """What a connection must keep to."""

    end_s: float
    """When the exchange must be over, by `time.monotonic`."""
    check_address: Callable[[str], None]
    """Called with each IP address before a connection to it; raises where it is not allowed."""

    def left_s(self) -> float:
        """Seconds that are left; raises `TimeoutError` where none are."""
        left_s = self.end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s


def opener(
    total_s: float, *handlers: urllib.request.BaseHandler, check_address: Callable[[str], None] = lambda _: None
) -> urllib.request.OpenerDirector:
    """An opener whose requests, redirects and bodies together take at most ``total_s`` seconds from now; then `TimeoutError` is raised.

    Only the resolution of names has limits of its own, those of the system's resolver.
    """
    limit = Limit(time.monotonic() + total_s, check_address)
    return urllib.request.build_opener(_HttpHandler(limit), _HttpsHandler(limit), *handlers)


class _Socket(socket.socket):
    """A socket that lowers its time limit before each read."""

    limit: Limit

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.limit.left_s())
        return super().recv_into(*arguments)


class _TlsSocket(ssl.SSLSocket):
    """The same for TLS; the handshake has one limit already."""

    limit: Limit

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.limit.left_s())
        return super().recv_into(*arguments)


def _connect(limit: Limit, address: tuple[str, int], *_: object) -> _Socket:
    """A connection to the first of the host's addresses that answers; all must be allowed."""
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    for each in found:
        limit.check_address(str(each[4][0]))
    failure: OSError = OSError("the host has no address")
    for family, kind, protocol, _name, target in found:
        connection = _Socket(family, kind, protocol)
        connection.limit = limit
        try:
            connection.settimeout(limit.left_s())
            connection.connect(target)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


class _Http(http.client.HTTPConnection):
    def __init__(self, limit: Limit, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._create_connection = partial(_connect, limit)


class _Https(http.client.HTTPSConnection):
    def __init__(self, limit: Limit, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._limit, self._create_connection = limit, partial(_connect, limit)

    def connect(self) -> None:
        """Connect, and keep to the limit after the handshake too."""
        super().connect()
        if isinstance(self.sock, _TlsSocket):
            self.sock.limit = self._limit


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self._limit = limit

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Http, self._limit), req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, limit: Limit) -> None:
        self._tls = ssl.create_default_context()
        self._tls.sslsocket_class = _TlsSocket
        super().__init__(context=self._tls)
        self._limit = limit

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Https, self._limit), req, context=self._tls)
