"""The HTTP server: an ASGI application in a thread of its own, with bounded connections, threads and requests a second."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
MAX_THREADS = 8
"""Requests worked on at a time. Starlette's default is 40 threads, each of which keeps memory of its own."""
MAX_REQUESTS_PER_S = 200
"""More requests wait, because the camera's frames need the CPU too. Sixteen open pages request ten pictures a second each."""
IDLE_S = 10
"""Seconds that a connection may be open without a complete request."""


class Server:
    """Serves an application on a listening socket until it is closed; closing twice is safe."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        self._app, self._listening = app, listening
        self._next_s = time.monotonic()
        config = uvicorn.Config(
            self._throttled,
            interface="asgi3",
            http=BoundedProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16_384,
            backlog=MAX_CONNECTIONS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="web", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread of the server runs."""
        return self._thread.is_alive()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._server.server_state.connections)

    @property
    def requests(self) -> int:
        """Number of requests that are not answered yet."""
        return len(self._server.server_state.tasks)

    async def _serve(self) -> None:
        current_default_thread_limiter().total_tokens = MAX_THREADS
        await self._server.serve(sockets=[self._listening])

    async def _throttled(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on at most `MAX_REQUESTS_PER_S`; after a second without requests, as many at once."""
        now_s = time.monotonic()
        self._next_s = max(self._next_s + 1 / MAX_REQUESTS_PER_S, now_s - 1.0)
        if self._next_s > now_s:
            await asyncio.sleep(self._next_s - now_s)
        await self._app(scope, receive, send)

    def close(self) -> None:
        """End the server and its connections."""
        self._server.should_exit = True
        self._thread.join(timeout=3)
        self._listening.close()


class BoundedProtocol(H11Protocol):
    """A bounded number of connections, none of which may be idle: uvicorn itself limits requests only."""

    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Refuse a connection beyond the limit."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._check = self.loop.call_later(IDLE_S, self._end_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the next check, which would keep this object in memory."""
        super().connection_lost(exc)
        if self._check:
            self._check.cancel()

    def _end_if_idle(self, last_unsent: int = 0, last_cycle: Any = None) -> None:
        """Close an idle connection. ``last_…`` are the values of the last check: bytes not sent yet, and the request."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == last_unsent:
            # The reader takes nothing: close() would wait forever.
            self.transport.abort()
            return
        if not self.transport.is_closing() and self.cycle is last_cycle and (last_cycle is None or last_cycle.response_complete):
            self.transport.close()
        self._check = self.loop.call_later(IDLE_S, self._end_if_idle, unsent, self.cycle)
