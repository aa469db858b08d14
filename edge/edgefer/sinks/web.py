"""The sink of the web page: it gives observations to the page, and runs the server."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from edgefer.errors import MissingLibrary, SettingsError, SinkError
from edgefer.history.aggregate import Aggregator
from edgefer.history.store import History
from edgefer.options import SecretFile
from edgefer.output import About, Sink, bare
from edgefer.settings import Table, checked
from edgefer.sinks.history import HistorySink
from edgefer.spec import Spec
from edgefer.types import CameraState, Observation
from edgefer.web.address import Address
from edgefer.web.health import Health

try:
    from edgefer.web.answers import PrivacyLevel
    from edgefer.web.app import Page
    from edgefer.web.auth import MAKE_TOKEN, TokenRefused, read_token
    from edgefer.web.live import Live
    from edgefer.web.prometheus import Metrics
    from edgefer.web.server import MAX_CONNECTIONS, Server
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    if missing not in ("uvicorn", "h11", "starlette", "anyio", "prometheus_client"):
        raise
    raise MissingLibrary(
        f"the web page needs {missing}: pip install 'edgefer[web]', in a checkout .venv/bin/pip install -r requirements/outputs.txt"
    ) from None

FLUSH_S, KEEP_DAYS, MAX_MB = 5.0, 7.0, 16.0
"""Without a ``history:`` sink the page keeps its own history, in memory."""
CREDENTIAL = "web-token"


class WebOptions(Table, frozen=True):
    """Who may see what."""

    show: PrivacyLevel | None = None
    """The most that the page shows; without it pictures on this machine's own address, faces on any other."""
    token_file: SecretFile = ""
    """File with the token that visitors need; required for any address but this machine's own, and with ``host``."""
    host: str = ""
    """Further names, separated by commas, that the page answers to, such as a reverse proxy's."""
    frame: str = ""
    """The page that may show this one inside it, such as https://ha.local:8123; without it none may."""

    def __post_init__(self) -> None:
        if self.frame and not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?", self.frame):
            raise ValueError("frame is one origin without a path, such as https://ha.local:8123")


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
        listening = _listen(spec, address)
        self.address = Address(address.host, listening.getsockname()[1])
        self.images_leave = not _private(address, options) and most in ("pixelated", "pictures")
        """Whether pictures can be seen from another machine."""
        self._health, self._aggregator, self._own = Health(), Aggregator(), History(None)
        self._flushed_s = time.monotonic()
        self.privacy_control = self._live = Live(self._health, self._own, most)
        self.page_url = "" if self.address.local else self.address.elsewhere
        self._metrics = Metrics(self._health, self._aggregator, with_faces=lambda: self._live.level != "totals")
        hosts = [name for name in options.host.split(",") if name]
        self._page = Page(self._live, self._metrics, token, hosts, cookie=f"edgefer_{self.address.port}", frame=options.frame)
        self.server = Server(self._page.guard, listening)

    @classmethod
    def check(cls, spec: Spec) -> None:
        """Raises `SettingsError` for a wrong address or option, `SinkError` for a wrong token; opens nothing."""
        _, options = _address(spec)
        if options.token_file:
            read_token(Path(options.token_file))

    def begin(self, about: About) -> str:
        """Connect the page to its run, and to the ``history:`` sink if there is one; returns the address."""
        self._live.about = self._metrics.about = about
        self._use_kept_history()
        return f"web page: {self.address} (shows {self._live.level})"

    def write(self, observation: Observation) -> None:
        """Count it, and show it at most ten times a second; pictures are encoded only on request."""
        self._health.add(observation)
        self._aggregator.add(observation)
        self._live.add(observation)
        if time.monotonic() - self._flushed_s >= FLUSH_S:
            self._flushed_s = time.monotonic()
            batch = self._aggregator.take()
            self._use_kept_history()
            if self._live.history is self._own:
                batch.visits.clear()
                batch.changes.clear()
                self._own.add(batch)
                self._own.make_room(KEEP_DAYS, MAX_MB, free_mb=0)

    def _use_kept_history(self) -> None:
        """Show the history of the ``history:`` sink as soon as that is open."""
        kept = next((sink for sink in map(bare, self._live.about.sinks) if isinstance(sink, HistorySink)), None)
        if kept:
            self._live.history = kept.history

    def camera(self, state: CameraState) -> None:
        """Show the state of the camera."""
        self._health.camera = state.how

    def close(self) -> None:
        """End the server and the streams of open pages."""
        self._page.close()
        self.server.close()
        self._own.close()


def _address(spec: Spec) -> tuple[Address, WebOptions]:
    """The address and the options of a spec; raises `SettingsError`."""
    if spec.scheme == "web":
        if spec.path:
            raise SettingsError(f"{spec}: web: takes no path; for another address write http://127.0.0.1:8080")
        return Address("127.0.0.1", 8080), checked(spec.options, WebOptions, str(spec), strict=False)
    if "@" in spec.text.partition("?")[0]:
        # The text is not repeated: what is before an @ may be a password.
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
    """Whether only this machine can read the page; with ``host`` a reverse proxy lets others read it."""
    return address.local and not options.host


def _most(address: Address, options: WebOptions) -> PrivacyLevel:
    """The highest privacy level: pictures leave this machine only where an option says so."""
    return options.show or ("pictures" if _private(address, options) else "faces")


def _token(spec: Spec, address: Address, options: WebOptions) -> str | None:
    if options.token_file:
        return read_token(Path(options.token_file))
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), CREDENTIAL)
    if credential.is_file():
        return read_token(credential)
    if not _private(address, options):
        raise TokenRefused(f"{spec}: other machines can read this address, so it needs a token; {MAKE_TOKEN}")
    return None


def _listen(spec: Spec, address: Address) -> socket.socket:
    listening = None
    try:
        family, kind, protocol, _, bind_address = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        # With the protocol: only then asyncio sets TCP_NODELAY. Without it an answer waits 40 ms for an acknowledgement.
        listening = socket.socket(family, kind, protocol)
        # A restarted daemon can use its address again at once.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(bind_address)
        # Clients that connect before the server's thread runs wait in the backlog.
        listening.listen(MAX_CONNECTIONS)
    except (OSError, UnicodeError) as error:
        if listening:
            listening.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        advice = "; another program has this port: is edgefer running already?" if taken else ""
        why = getattr(error, "strerror", None) or "no host has such a name"
        raise SinkError(f"{spec}: cannot listen there: {why}{advice}") from None
    return listening
