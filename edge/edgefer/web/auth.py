"""Access to the web page: the host names it answers to, the token, the limit on wrong tokens, and headers for the browser."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefer.errors import SinkError
from edgefer.redact import redact_file_name
from edgefer.web.answers import Json, refuse
from edgefer.web.rate_limit import WINDOW_S, RateLimit

MIN_TOKEN_LENGTH = 16
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


def headers(frame: str) -> dict[str, str]:
    """The headers of every response; ``frame`` is the origin whose pages may show this one inside them."""
    if not frame:
        return HEADERS
    policy = HEADERS["content-security-policy"].replace("frame-ancestors 'none'", f"frame-ancestors {frame}")
    # X-Frame-Options knows no origins.
    return {**{name: value for name, value in HEADERS.items() if name != "x-frame-options"}, "content-security-policy": policy}


def read_token(path: Path) -> str:
    """The token in a file; raises `SinkError` where it is missing or too short, or every user of the machine may read it."""
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not ASCII"
        raise SinkError(f"token_file {redact_file_name(str(path))}: the token cannot be read: {why}; {MAKE_TOKEN}") from None
    if mode & 0o007:
        raise SinkError(f"{path}: every user of this machine may read the token; chmod 600 {path}")
    if len(token) < MIN_TOKEN_LENGTH:
        raise SinkError(f"{path}: a token of {len(token)} characters can be guessed, {MIN_TOKEN_LENGTH} at least; {MAKE_TOKEN}")
    return token


class Guard:
    """An ASGI application that passes permitted requests to another one, and refuses the rest.

    ``public`` are paths that need no token. A ``Host`` that is neither an address nor a name of this machine is refused: it may
    be DNS rebinding.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, hosts: Collection[str], public: Collection[str], cookie: str, frame: str = ""
    ) -> None:
        self._app, self._public, self.cookie = app, public, cookie
        self._token = token.encode() if token else None
        # The browser's cookie is a digest, from which the token cannot be computed.
        self.session_key = hmac.new(self._token, b"edgefer web page", hashlib.sha256).hexdigest() if self._token else ""
        name = socket.gethostname().lower()
        self._hosts = {"localhost", name, f"{name}.local", *(host.lower() for host in hosts)}
        self._rate_limit = RateLimit()
        self._headers = headers(frame)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it; every response gets the security headers."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Json | None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_own(host):
            return refuse(421, f"this page does not answer to the name {host[:100]!r}; add ?host=NAME to its address to allow one")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return refuse(403, "requests from another site are refused")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not _same_origin(headers, host):
            return refuse(403, "changes from another site are refused")
        if scope["path"] in self._public:
            return None
        return self._token_refusal(address_of(scope), headers)

    def _is_own(self, host: str) -> bool:
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return name.lower().rstrip(".") in self._hosts

    def admits(self, headers: Headers) -> bool:
        """Whether no token is needed, or the browser has the cookie of an earlier login."""
        return self._token is None or hmac.compare_digest(_cookie(headers, self.cookie).encode(), self.session_key.encode())

    def _token_refusal(self, address: str, headers: Headers) -> Json | None:
        if self.admits(headers):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return refuse(401, "a token is needed: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})
        return self.check(address, given.strip())

    def check(self, address: str, given: str) -> Json | None:
        """None where the token is right, else the refusal."""
        if self._rate_limit.exceeded(address):
            return refuse(429, "too many wrong tokens; wait a minute", {"retry-after": f"{WINDOW_S:.0f}"})
        # Digests have one length, so that the time of the comparison does not depend on the token's length.
        wanted, found = (hashlib.sha256(text).digest() for text in (self._token or b"", given.encode("utf-8", "surrogateescape")))
        if self._token and hmac.compare_digest(wanted, found):
            return None
        self._rate_limit.count(address)
        return refuse(401, "the token is wrong", {"www-authenticate": "Bearer"})


def address_of(scope: Scope) -> str:
    """The address of the client."""
    return scope["client"][0] if scope.get("client") else ""


def _same_origin(headers: Headers, host: str) -> bool:
    """Browsers send the origin of a request; programs send none, and have no user's cookies."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    return site in (None, "same-origin", "none") and origin in (None, f"http://{host}", f"https://{host}")


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return found[name].value if name in found else ""
