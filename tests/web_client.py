"""Clients of the web page for the tests: single requests, and a reader of its events."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgefer.types import Box, Face, Frame, Observation

if TYPE_CHECKING:
    from edgefer.sinks.web import Web

TOKEN = "correct-horse-battery-staple"
DEADLINE_S = 30.0
"""How long anything is waited for: the machine may be busy."""
Serve = Callable[..., "Web"]


def seen(index: int = 0, faces: int = 1, bgr: np.ndarray | None = None) -> Observation:
    """An observation of a 320x240 frame, or of ``bgr``."""
    found = tuple(Face(n + 1, Box(40 + 60 * n, 50, 50, 50), "happy", 0.9321, {"happy": 0.9321, "sad": 0.0679}) for n in range(faces))
    luma = np.full((240, 320), 90, np.uint8) if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return Observation(Frame(index, 1_795_608_000 + index / 10, np.asarray(luma, np.uint8), bgr, dropped=2), found, {"detect": 2.0})


@dataclass
class Answer:
    """A response that is read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


def connect(sink: Web) -> http.client.HTTPConnection:
    """A connection that may be used for several requests."""
    return http.client.HTTPConnection("127.0.0.1", sink.address.port, timeout=DEADLINE_S)


def ask(sink: Web, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    """One request; headers are keywords with ``_`` for ``-``."""
    with closing(connect(sink)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def put(sink: Web, show: str, **headers: str) -> Answer:
    """Change the privacy level."""
    return ask(sink, "/api/privacy", "PUT", json.dumps({"show": show}), content_type="application/json", **headers)


def log_in(sink: Web, token: str) -> Answer:
    """Send the form of the login page."""
    return ask(sink, "/login", "POST", f"token={token}", content_type="application/x-www-form-urlencoded")


class Stream:
    """A reader of /api/events."""

    def __init__(self, sink: Web) -> None:
        self.connection = connect(sink)
        self.connection.request("GET", "/api/events")
        self.answer = self.connection.getresponse()

    def next(self, wanted: str) -> dict[str, object]:
        """The next event of a kind."""
        while True:
            event, data, empty = (self.answer.readline().decode().rstrip("\n") for _ in range(3))
            assert (event.startswith("event: "), data.startswith("data: "), empty) == (True, True, ""), (event, data)
            if event == f"event: {wanted}":
                return dict(json.loads(data[6:]))

    def close(self) -> None:
        self.connection.close()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that no event announces."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.01)
