"""The web page: a small server in a thread of its own, beside the pipeline."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from edgefer.errors import MissingLibrary, SettingsError, SinkError
from edgefer.history.aggregate import Tally
from edgefer.history.store import History
from edgefer.options import SecretFile
from edgefer.output import About, Background, Sink
from edgefer.settings import Table, checked
from edgefer.sinks.history import HistorySink
from edgefer.spec import Spec
from edgefer.types import CameraState, Observation
from edgefer.web.health import Health

try:
    import uvicorn
    from anyio.to_thread import current_default_thread_limiter
    from starlette.types import Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from edgefer.web.app import Page
    from edgefer.web.auth import MAKE_TOKEN, read_token
    from edgefer.web.live import Live, Show
    from edgefer.web.prometheus import Metrics
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    if missing not in ("uvicorn", "h11", "starlette", "anyio", "prometheus_client"):
        raise
    raise MissingLibrary(
        f"the web page needs {missing}: pip install 'edgefer[web]', in a checkout .venv/bin/pip install -r requirements/outputs.txt"
    ) from None

CONNECTIONS = 64
THREADS = 8
"""Threads that work out answers. Starlette's own pool has 40, each of which keeps memory."""
ANSWERS_PER_S = 200
"""Requests above this rate wait: the frames need the processor, too. Sixteen open pages request ten pictures a second each."""
IDLE_S = 10
"""Seconds a connection may be open without a whole request."""
FLUSH_S, KEEP_DAYS, MAX_MB = 5.0, 7.0, 16.0
"""Without a ``history:`` sink the page keeps a history of its own, in memory."""
CREDENTIAL = "web-token"


class WebOptions(Table, frozen=True):
    """Who may see what."""

    show: Show | None = None
    """The most that the page shows; without it pictures on this machine's own address, faces on any other."""
    token_file: SecretFile = ""
    """File with the token that visitors need; required for any address but this machine's own, and with ``host``."""
    host: str = ""
    """Further names, separated by commas, that the page answers to, such as a reverse proxy's."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address on which the server listens."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Web(Sink):
    """A web page with the live view and the history; web: is http://127.0.0.1:8080.

    Any address but this machine's own needs a token. Raises `SinkError` if the address is taken.
    """

    forms = ("http://host:port", "web:")
    options = WebOptions

    def __init__(self, spec: Spec) -> None:
        address, options = _address(spec)
        token = _token(spec, address, options)
        most = _most(address, options)
        self._listening = _listen(spec, address)
        self.address = Address(address.host, self._listening.getsockname()[1])
        self.images_leave = not _private(address, options) and most in ("pixelated", "pictures")
        self._health, self._tally, self._own = Health(), Tally(), History(None)
        self._flushed_s = self._turn_s = time.monotonic()
        self._live = Live(self._health, self._own, most)
        self._metrics = Metrics(self._health, self._tally, faces=lambda: self._live.show != "totals")
        hosts = [name for name in options.host.split(",") if name]
        self._page = Page(self._live, self._metrics, token, hosts, cookie=f"edgefer_{self.address.port}")
        config = uvicorn.Config(
            self._in_turn,
            interface="asgi3",
            http=_Bounded,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16_384,
            backlog=CONNECTIONS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()

    @classmethod
    def check(cls, spec: Spec) -> None:
        """Raises `SettingsError` for a wrong address or option, `SinkError` for a wrong token; opens nothing."""
        _, options = _address(spec)
        if options.token_file:
            read_token(Path(options.token_file))

    def _serve(self) -> None:
        asyncio.run(self._answer())

    async def _answer(self) -> None:
        current_default_thread_limiter().total_tokens = THREADS
        await self._server.serve(sockets=[self._listening])

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page, `ANSWERS_PER_S` at most; after a second without requests as many at once."""
        now_s = time.monotonic()
        self._turn_s = max(self._turn_s + 1 / ANSWERS_PER_S, now_s - 1.0)
        if self._turn_s > now_s:
            await asyncio.sleep(self._turn_s - now_s)
        await self._page.guard(scope, receive, send)

    def begin(self, about: About) -> str:
        """Connect the page to its run, and to the ``history:`` sink if there is one; returns the address."""
        self._live.about = self._metrics.about = about
        bare = (sink.sink if isinstance(sink, Background) else sink for sink in about.sinks)
        kept = next((sink for sink in bare if isinstance(sink, HistorySink)), None)
        if kept:
            self._live.history = kept.history
        return f"web page: {self.address} (shows {self._live.show})"

    def write(self, observation: Observation) -> None:
        """Count it, and show it if one is due; nothing is encoded while no page is open."""
        self._health.add(observation)
        self._tally.add(observation)
        self._live.add(observation)
        if time.monotonic() - self._flushed_s >= FLUSH_S:
            self._flushed_s = time.monotonic()
            batch = self._tally.take()
            if self._live.history is self._own:
                batch.visits.clear()
                batch.changes.clear()
                self._own.add(batch)
                self._own.make_room(KEEP_DAYS, MAX_MB, free_mb=0)

    def camera(self, state: CameraState) -> None:
        """Show the camera's state."""
        self._health.camera = state.how

    def close(self) -> None:
        """End the server; open pages are disconnected."""
        self._page.close()
        self._server.should_exit = True
        self._thread.join(timeout=3)
        self._listening.close()
        self._own.close()


class _Bounded(H11Protocol):
    """A bounded number of connections, none of which may be idle: uvicorn bounds requests only."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._timer = self.loop.call_later(IDLE_S, self._end_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            # A pending timer would keep this connection's memory, and many visitors in a row would add up.
            self._timer.cancel()

    def _end_if_idle(self, unsent: int = 0, answered: Any = None) -> None:
        """``unsent`` and ``answered`` are from the last check: bytes that waited for the reader, and the last whole request."""
        waiting = self.transport.get_write_buffer_size()
        if waiting and waiting == unsent:
            # The reader takes nothing: not even closing would end this connection.
            self.transport.abort()
            return
        if not self.transport.is_closing() and self.cycle is answered and (answered is None or answered.response_complete):
            self.transport.close()
        self._timer = self.loop.call_later(IDLE_S, self._end_if_idle, waiting, self.cycle)


def _address(spec: Spec) -> tuple[Address, WebOptions]:
    """The address and the options of a spec; raises `SettingsError`."""
    if spec.scheme == "web":
        if spec.path:
            raise SettingsError(f"{spec}: web: takes no path; for another address write http://127.0.0.1:8080")
        return Address("127.0.0.1", 8080), checked(spec.options, WebOptions, str(spec), strict=False)
    if "@" in spec.text.partition("?")[0]:
        # Not repeated: the text before an @ may be a password.
        raise SettingsError(
            f"{spec.scheme}: an address to listen on takes no user and no password; write http://127.0.0.1:8080 and add ?token_file=FILE"
        )
    try:
        url = urlsplit(spec.text)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or port is None or url.path not in ("", "/"):
        raise SettingsError(f"{spec}: not an address to listen on; write http://127.0.0.1:8080, options after a question mark")
    return Address(host, port), checked(dict(parse_qsl(url.query, keep_blank_values=True)), WebOptions, str(spec), strict=False)


def _private(address: Address, options: WebOptions) -> bool:
    """Whether only this machine can see the page: a reverse proxy, which `WebOptions.host` is for, lets others in."""
    return address.local and not options.host


def _most(address: Address, options: WebOptions) -> Show:
    """The most that is shown; pictures leave this machine only on request."""
    return options.show or ("pictures" if _private(address, options) else "faces")


def _token(spec: Spec, address: Address, options: WebOptions) -> str | None:
    if options.token_file:
        return read_token(Path(options.token_file))
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), CREDENTIAL)
    if credential.is_file():
        return read_token(credential)
    if not _private(address, options):
        raise SinkError(f"{spec}: others could look on, so it needs a token; {MAKE_TOKEN}")
    return None


def _listen(spec: Spec, address: Address) -> socket.socket:
    listening = None
    try:
        family, kind, protocol, _, endpoint = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        # The protocol must be given: only then asyncio sets TCP_NODELAY, which saves 40 ms an answer.
        listening = socket.socket(family, kind, protocol)
        # A restarted daemon gets its address back at once.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(endpoint)
        # From here on the address answers: a request that comes before the thread runs waits.
        listening.listen(CONNECTIONS)
    except (OSError, UnicodeError) as error:
        if listening:
            listening.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        advice = "; another program has this port: is edgefer running already?" if taken else ""
        why = getattr(error, "strerror", None) or "no host has such a name"
        raise SinkError(f"{spec}: cannot listen there: {why}{advice}") from None
    return listening
