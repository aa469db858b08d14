"""Who may speak to the web page: the host names it answers to, the token, the pace of guesses, and the browser's own rules."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefer.errors import SinkError
from edgefer.redact import shown_file

SHORTEST = 16
"""Characters of a token at least."""
GUESSES, WINDOW_S, ADDRESSES = 5, 60.0, 1024
"""Wrong tokens of one address within the window, after which it is turned away; addresses remembered."""
ALL_GUESSES = 100
"""Wrong tokens of everybody together within the window."""
MAKE_TOKEN = (
    "make one with '(umask 077; openssl rand -hex 32 > web.token)' and add '?token_file=web.token' to the address; "
    "the service takes it from /etc/credstore/web-token"
)

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer": a browser would then send the form with "Origin: null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


def read_token(path: Path) -> str:
    """The token in a file; raises `SinkError` where it is missing, too short, or everybody may read it."""
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not ASCII"
        raise SinkError(f"token_file {shown_file(str(path))}: the token cannot be read: {why}; {MAKE_TOKEN}") from None
    if mode & 0o007:
        raise SinkError(f"{path}: everybody on this machine may read the token; chmod 600 {path}")
    if len(token) < SHORTEST:
        raise SinkError(f"{path}: a token of {len(token)} characters can be guessed, {SHORTEST} at least; {MAKE_TOKEN}")
    return token


class Guesses:
    """Counts wrong tokens by address, a bounded number of addresses, and forgets them after a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=ALL_GUESSES)

    def too_many(self, address: str) -> bool:
        """Whether no more guesses of this address are heard for now."""
        return self._full(self._by_address.get(_neighbourhood(address), deque()), GUESSES) or self._full(self._all, ALL_GUESSES)

    def _full(self, times: deque[float], most: int) -> bool:
        return len(times) >= most and self._clock() - times[-most] < WINDOW_S

    def wrong(self, address: str) -> None:
        """Count one."""
        key = _neighbourhood(address)
        self._by_address.setdefault(key, deque(maxlen=GUESSES)).append(self._clock())
        self._by_address.move_to_end(key)
        self._all.append(self._clock())
        if len(self._by_address) > ADDRESSES:
            self._by_address.popitem(last=False)


def _neighbourhood(address: str) -> str:
    """An IPv4 address; of IPv6 the network of 64 bits, of which one machine has every address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


class Guard:
    """Stands before the page's application (ASGI), and turns away what must not reach it.

    A ``Host`` that is neither an address nor a name of this machine is DNS rebinding. ``open_paths`` need no token.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: Collection[str], open_paths: Collection[str], cookie: str) -> None:
        self._app, self._open, self.cookie = app, open_paths, cookie
        self._token = token.encode() if token else None
        # What a browser keeps is not the token itself, and cannot be turned back into it.
        self.pass_key = hmac.new(self._token, b"edgefer web page", hashlib.sha256).hexdigest() if self._token else ""
        name = socket.gethostname().lower()
        self._hosts = {"localhost", name, f"{name}.local", *(host.lower() for host in hosts)}
        self.guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on; every answer gets the security headers."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._own(host):
            return refuse(421, f"this page does not answer to the name {host[:100]!r}; add ?host=NAME to its address to allow one")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return refuse(403, "another site may not ask")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not _same_origin(headers, host):
            return refuse(403, "another site may not change anything")
        if scope["path"] in self._open:
            return None
        return self._token_refusal(address_of(scope), headers)

    def _own(self, host: str) -> bool:
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return name.lower().rstrip(".") in self._hosts

    def admits(self, headers: Headers) -> bool:
        """Whether no token is needed, or the browser has shown it before."""
        return self._token is None or hmac.compare_digest(_cookie(headers, self.cookie).encode(), self.pass_key.encode())

    def _token_refusal(self, address: str, headers: Headers) -> JSONResponse | None:
        if self.admits(headers):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return refuse(401, "a token is needed: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})
        return self.check(address, given.strip())

    def check(self, address: str, given: str) -> JSONResponse | None:
        """None where the token is right; else what to answer."""
        if self.guesses.too_many(address):
            return refuse(429, "too many wrong tokens; wait a minute", {"retry-after": f"{WINDOW_S:.0f}"})
        # Digests have one length: the comparison tells nothing, not even how long the token is.
        wanted, found = (hashlib.sha256(text).digest() for text in (self._token or b"", given.encode("utf-8", "surrogateescape")))
        if self._token and hmac.compare_digest(wanted, found):
            return None
        self.guesses.wrong(address)
        return refuse(401, "the token is wrong", {"www-authenticate": "Bearer"})


def refuse(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error for programs: ``{"error": …}``."""
    return JSONResponse({"error": why}, status, headers)


def address_of(scope: Scope) -> str:
    """The address of who asks."""
    return scope["client"][0] if scope.get("client") else ""


def _same_origin(headers: Headers, host: str) -> bool:
    """A browser says where a request comes from; a program says nothing, and carries nobody's cookies."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    return site in (None, "same-origin", "none") and origin in (None, f"http://{host}", f"https://{host}")


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return found[name].value if name in found else ""
