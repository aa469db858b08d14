"""The web page of ``edgefer collect``: the live picture, and a button for each class. On this machine's own address only."""

from __future__ import annotations

import socket
import threading
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefer.errors import SettingsError, SinkError
from edgefer.files import ASSETS
from edgefer.types import Observation
from edgefer.web.address import Address
from edgefer.web.answers import Answer, Json, refuse
from edgefer.web.auth import Guard
from edgefer.web.body import read_body
from edgefer.web.picture import encode
from edgefer.web.server import Server

_FILES = {
    "/": ("collect.html", "text/html"),
    "/collect.js": ("collect.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Choices(Protocol):
    """What the page shows and changes: `edgefer.cli.collector.Collector`."""

    current: str
    count: int

    @property
    def counts(self) -> dict[str, int]:
        """Pictures of each class."""
        ...

    @property
    def countdown_s(self) -> float:
        """Seconds until pictures of the chosen class are kept."""
        ...

    def choose(self, label: str) -> None:
        """Keep pictures of a class; empty: of none."""


class State(Answer, frozen=True):
    """What is collected now."""

    current: str
    count: int
    countdown_s: float
    counts: dict[str, int]
    faces: int
    frame: int


class Choice(Answer, frozen=True):
    """The class to collect; empty: none."""

    label: str


class CollectPage:
    """Serves the page until it is closed."""

    def __init__(self, choices: Choices, listening: socket.socket) -> None:
        self._choices = choices
        self._last: Observation | None = None
        self._lock = threading.Lock()
        routes = [
            Route("/api/collect", self._state),
            Route("/api/collect", self._choose, methods=["POST"]),
            Route("/api/picture", self._picture),
            *(Route(path, self._file) for path in _FILES),
        ]
        guard = Guard(Starlette(routes=routes), None, (), (), cookie="edgefer_collect")
        self.address = str(Address(*listening.getsockname()[:2]))
        self._server = Server(guard, listening)

    def add(self, observation: Observation) -> None:
        """The frame to show; it is encoded only on request."""
        with self._lock:
            self._last = observation

    def close(self) -> None:
        """End the server."""
        self._server.close()

    async def _file(self, request: Request) -> Response:
        name, kind = _FILES[request.url.path]
        return Response((ASSETS / "web" / name).read_bytes(), media_type=kind)

    async def _state(self, request: Request) -> Response:
        choices, last = self._choices, self._last
        faces, frame = (len(last.faces), last.frame.index) if last else (0, -1)
        return Json(State(choices.current, choices.count, round(choices.countdown_s, 1), choices.counts, faces, frame))

    async def _choose(self, request: Request) -> Response:
        body = await read_body(request)
        if body is None:
            return refuse(413, "too long")
        try:
            self._choices.choose(msgspec.json.decode(body, type=Choice).label)
        except (msgspec.MsgspecError, SettingsError) as error:
            return refuse(422, str(error))
        return await self._state(request)

    async def _picture(self, request: Request) -> Response:
        last = self._last
        if last is None:
            return refuse(404, "no frame yet")
        return Response(await run_in_threadpool(encode, last, False, False), media_type="image/jpeg")


def open_page(text: str, choices: Choices) -> CollectPage:
    """The page at an address; raises `SettingsError` where it is not this machine's own, `SinkError` where it is taken."""
    url = urlsplit(text)
    host = url.hostname or ""
    try:
        port = url.port
    except ValueError:
        port = None
    if url.scheme != "http" or port is None or not Address(host, port).local:
        raise SettingsError(
            f"--page {text}: shows faces in clear, so it is on this machine's own address only: http://127.0.0.1:8081; "
            "from another machine: ssh -L 8081:127.0.0.1:8081 this-device"
        )
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise SinkError(f"--page {text}: cannot listen there: {error.strerror}; is another program using this port?") from None
    return CollectPage(choices, listening)
