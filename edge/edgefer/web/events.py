"""Server-sent events: the state each second, and the faces as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgefer.web.answers import refuse
from edgefer.web.live import Live

MAX_STREAMS = 16
"""Streams that are open at a time."""
SEND_TIMEOUT_S, STATE_EVERY_S = 15.0, 1.0
"""Seconds that a reader may block before its stream ends; seconds from one state to the next."""


class Events:
    """All open streams. Observations may come from any thread."""

    def __init__(self, live: Live) -> None:
        self._live, self._streams, self._closing = live, 0, False
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        live.on_change = self._wake

    def _wake(self) -> None:
        if self._streams and self._loop:
            try:
                self._loop.call_soon_threadsafe(self._wake_streams)
            except RuntimeError:  # the server has ended, and its loop is closed
                self._loop = None

    def _wake_streams(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """End all streams, so that the server need not wait for them."""
        self._closing = True
        self._wake()

    def open(self) -> Response:
        """A new stream, or a refusal where too many are open."""
        self._loop = asyncio.get_running_loop()
        if self._streams >= MAX_STREAMS:
            return refuse(429, f"{MAX_STREAMS} streams are open already", {"retry-after": "10"})
        return _Stream(self)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a stream while it is open."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def feed(self, send: Send) -> None:
        """Send events until the server ends; raises `TimeoutError` where the reader blocks for too long."""
        state_s, last = float("-inf"), None
        while not self._closing:
            changed = self._changed
            if time.monotonic() - state_s >= STATE_EVERY_S:
                state_s = time.monotonic()
                await _send(send, b"state", await run_in_threadpool(self._live.state, False))
            observation = self._live.observation()
            if observation and observation != last:
                last = observation
                await _send(send, b"faces", observation)
            try:
                async with asyncio.timeout(max(0.01, state_s + STATE_EVERY_S - time.monotonic())):
                    await changed.wait()
            except TimeoutError:
                continue
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Stream(Response):
    """A response without an end. It also waits for the reader to disconnect, which sending alone would not notice."""

    def __init__(self, events: Events) -> None:
        super().__init__(media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the reader disconnects."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(head)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        with self._events.counted():
            await send(head)
            feeding, waiting = asyncio.create_task(self._events.feed(send)), asyncio.create_task(_disconnected(receive))
            try:
                done, _ = await asyncio.wait({feeding, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if feeding in done and not isinstance(feeding.exception(), TimeoutError | None):
                    feeding.result()
            finally:
                feeding.cancel()
                waiting.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, event: bytes, content: msgspec.Struct) -> None:
    body = b"event: " + event + b"\ndata: " + msgspec.json.encode(content) + b"\n\n"
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": body, "more_body": True})
