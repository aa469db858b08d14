"""The fleet's table as one HTML page without external files: written to a file, or served to this machine only."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import localtime, strftime
from typing import Any

from edgefer.errors import SettingsError, SinkError
from edgefer.files import ASSETS
from edgefer.html_template import Html, fill, fill_all
from edgefer.mqtt.fleet import COLUMNS, Device, as_json, cells, mix, summary

NUMBERS = ("fps", "°C", "seen")


def _asset(name: str) -> str:
    return (ASSETS / "web" / name).read_text(encoding="utf-8")


def policy() -> str:
    """The Content-Security-Policy of the page: its own script, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_asset("fleet.js").encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"script-src 'sha256-{digest}'"
    )


def page(devices: list[Device], broker: str, now_s: float, live: bool = False) -> str:
    """The page; a ``live`` one updates itself every two seconds."""
    nothing = fill('<tr><td colspan="$columns">No device has sent a message yet.</td></tr>', columns=str(len(COLUMNS)))
    return fill(
        _asset("fleet.html"),
        style=Html(_asset("fleet.css")),
        summary=summary(devices, broker),
        when=strftime("%Y-%m-%d %H:%M:%S %Z", localtime(now_s)),
        head=fill_all('<th scope="col"$kind>$text</th>', ({"kind": _kind(column), "text": column} for column in COLUMNS)),
        rows=Html("\n".join(map(_row, devices))) or nothing,
        script=Html(f"<script>{_asset('fleet.js')}</script>" if live else ""),
    )


def _kind(column: str) -> Html:
    return Html(' class="number"' if column in NUMBERS else "")


def _row(device: Device) -> Html:
    texts = dict(zip(COLUMNS, cells(device), strict=True))
    texts["the last minute"] = fill_all(
        '<meter value="$value" aria-hidden="true"></meter> $name $share ',
        ({"value": f"{share:.2f}", "name": name, "share": f"{share:.0%}"} for name, share in mix(device.state)),
    )
    if device.update.why:
        texts["update"] = fill('<span title="$why">$state</span>', why=device.update.why, state=texts["update"])
    row = fill_all("<td$kind>$text</td>", ({"kind": _kind(column), "text": text} for column, text in texts.items()))
    return fill('<tr class="$status">$cells</tr>', status=device.status, cells=row)


MAX_CONNECTIONS, IDLE_S = 16, 10.0
"""Connections at a time, each of which has a thread, and seconds after which one without a request is closed."""


class _Server(ThreadingHTTPServer):
    """A bounded number of threads: beyond it a new connection is closed at once."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, where one is free."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and close the connection in time also where no request comes."""
        deadline = threading.Timer(IDLE_S, partial(_shut_down, request))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _PageHandler(BaseHTTPRequestHandler):
    def handle(self) -> None:
        """A browser may close the connection at any time."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Log nothing: a page that updates itself would fill the terminal."""


def serve(address: str, devices: Callable[[], list[Device]], broker: str, now_s: Callable[[], float]) -> ThreadingHTTPServer:
    """A read-only server for this machine: ``/`` is the page, ``/fleet.json`` the fleet as JSON. The caller runs it.

    Raises `SettingsError` for an address of another machine, `SinkError` where the port is taken.
    """
    match = re.fullmatch(r"(127\.0\.0\.1|localhost):(\d{1,5})", address)
    if not match or int(match[2]) > 65_535:
        raise SettingsError(f"--serve {address}: write 127.0.0.1:PORT; the page has no password, so other machines need a proxy with one")

    csp = policy()

    class Handler(_PageHandler):
        def do_GET(self) -> None:
            # Another name means DNS rebinding: a foreign web page's name that points to this machine.
            if (self.headers.get("Host") or "").partition(":")[0] not in ("127.0.0.1", "localhost"):
                return self.send_error(421)
            if self.path == "/":
                self._answer("text/html; charset=utf-8", page(devices(), broker, now_s(), live=True).encode())
            elif self.path == "/fleet.json":
                self._answer("application/json", as_json(devices(), broker, now_s()))
            else:
                self.send_error(404)
            return None

        def _answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            headers = {
                "Content-Type": kind,
                "Content-Length": str(len(content)),
                "Cache-Control": "no-store",
                "Content-Security-Policy": csp,
            }
            for name, value in {**headers, "X-Content-Type-Options": "nosniff"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    try:
        return _Server((match[1], int(match[2])), Handler)
    except OSError as error:
        raise SinkError(f"--serve {address}: cannot listen there: {error.strerror}") from None
