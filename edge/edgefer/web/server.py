"""The HTTP server: an ASGI application in a thread of its own, with bounded connections, threads and requests a second."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from typing import Any

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgefer.web.answers import refuse
from edgefer.web.auth import address_of
from edgefer.web.rate_limit import FairShare, network_of

MAX_CONNECTIONS, MAX_PER_CLIENT = 64, 48
"""Connections of all clients, and requests of one client, at a time."""
ALWAYS, RESERVE = "/healthz", 8
"""The path that is answered also beyond these limits, and the number of connections that are accepted for it while all are busy."""
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
        self._share, self._open = FairShare(), Counter[str]()
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
        """Pass on a bounded number of requests at a time, and at most `MAX_REQUESTS_PER_S`, in equal shares for all clients."""
        client = network_of(address_of(scope))
        busy = self._open[client] >= MAX_PER_CLIENT or self.requests > MAX_CONNECTIONS
        if busy and scope.get("path") != ALWAYS:
            await refuse(503, "too many requests at a time", {"retry-after": "1"})(scope, receive, send)
            return
        self._open[client] += 1
        try:
            await asyncio.sleep(self._share.wait_s(client, MAX_REQUESTS_PER_S))
            await self._app(scope, receive, send)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    def close(self) -> None:
        """End the server and its connections."""
        self._server.should_exit = True
        self._thread.join(timeout=3)
        self._listening.close()


class BoundedProtocol(H11Protocol):
    """A bounded number of connections, none of which may be idle: uvicorn itself limits requests only."""

    _check: asyncio.TimerHandle | None = None
    opened_s = 0.0

    def connection_made(self, transport: Any) -> None:
        """Beyond the limit, the client with the most connections loses the oldest one on which it sent no complete request."""
        super().connection_made(transport)
        self.opened_s = self.loop.time()
        self._check = self.loop.call_later(IDLE_S, self._end_if_idle)
        every = (other for other in self.connections if isinstance(other, BoundedProtocol))
        connections = [other for other in every if not other.transport.is_closing()]
        if len(connections) <= MAX_CONNECTIONS:
            return
        counts = Counter(other.network for other in connections)
        waiting = [other for other in connections if other.waiting and other is not self]
        if waiting:
            min(waiting, key=lambda other: (-counts[other.network], other.opened_s)).transport.abort()
        elif len(connections) > MAX_CONNECTIONS + RESERVE:
            transport.abort()

    @property
    def network(self) -> str:
        """The network of the client."""
        return network_of(self.client[0] if self.client else "")

    @property
    def waiting(self) -> bool:
        """Whether there is no complete request that is not answered yet."""
        return self.cycle is None or self.cycle.response_complete

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
        if not self.transport.is_closing() and self.cycle is last_cycle and self.waiting:
            self.transport.close()
        self._check = self.loop.call_later(IDLE_S, self._end_if_idle, unsent, self.cycle)
