"""Access to the web page: the host names it answers to, the token, the limit on wrong tokens, and headers for the browser."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefer.errors import SettingsError, SinkError
from edgefer.redact import redact_file_name
from edgefer.web.answers import Json, refuse
from edgefer.web.rate_limit import WINDOW_S, RateLimit

MIN_TOKEN_LENGTH, MIN_DIFFERENT, MIN_UNCOMMON = 16, 7, 5
"""Least number of characters of a token, of different ones, and of those outside of common words, rows of keys and repetitions."""
MAKE_TOKEN = (
    "make one with '(umask 077; openssl rand -hex 32 > web.token)' and add '?token_file=web.token' to the address; "
    "the service takes it from /etc/credstore/web-token"
)

_COMMON = re.compile(
    r"pass(?:word|wort|wd|phrase)?|secret|geheim|token|admin|root|user|login|guest|default|test|demo|hallo|hello|welcome|letmein|change|"
    r"edgefer|raspberry|camera|home|web|page|qwert[yz]?|asdf|yxcv|zxcv|abcd?e?f?|0?123\d*|987\d*|(?:19|20)\d\d(?!\d)",
    re.IGNORECASE,
)

PROXY_HEADERS = ("via", "forwarded", "x-real-ip")
"""Headers that a proxy adds, besides x-forwarded-…"""

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


class TokenRefused(SinkError, SettingsError):
    """There is no token, or one that protects nothing: trying again helps nobody."""


def headers(frame: str) -> dict[str, str]:
    """The headers of every response; ``frame`` is the origin whose pages may show this one inside them."""
    if not frame:
        return HEADERS
    policy = HEADERS["content-security-policy"].replace("frame-ancestors 'none'", f"frame-ancestors {frame}")
    # X-Frame-Options knows no origins.
    return {**{name: value for name, value in HEADERS.items() if name != "x-frame-options"}, "content-security-policy": policy}


def read_token(path: Path) -> str:
    """The token in a file; raises `TokenRefused` where it is missing or can be guessed, or every user of the machine may read it."""
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not ASCII"
        raise TokenRefused(f"token_file {redact_file_name(str(path))}: the token cannot be read: {why}; {MAKE_TOKEN}") from None
    if mode & 0o007:
        raise TokenRefused(f"{path}: every user of this machine may read the token; chmod 600 {path}")
    if len(token) < MIN_TOKEN_LENGTH:
        raise TokenRefused(f"{path}: a token of {len(token)} characters can be guessed, {MIN_TOKEN_LENGTH} at least; {MAKE_TOKEN}")
    if len(set(token)) < MIN_DIFFERENT or _uncommon(token) < MIN_UNCOMMON:
        raise TokenRefused(f"{path}: a token of common words, rows of keys or repetitions can be guessed; {MAKE_TOKEN}")
    return token


def _uncommon(token: str) -> int:
    """Number of characters without common words and rows of keys, each repetition counted once."""
    return len(re.sub(r"(.+?)\1+", r"\1", _COMMON.sub("", token)))


class Guard:
    """An ASGI application that passes permitted requests to another one, and refuses the rest.

    ``public`` are paths that need no token. A ``Host`` that is neither an address nor a name of this machine is refused: it may
    be DNS rebinding. Without a name in ``hosts``, so is a request that a proxy forwarded: others would see what is meant for this machine.

    There are three ways in, the header ``Authorization``, the login page and its cookie. A right token or cookie always passes. Wrong ones
    are counted together, and refused without a hint once there are too many.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, hosts: Collection[str], public: Collection[str], cookie: str, frame: str = ""
    ) -> None:
        self._app, self._public, self.cookie = app, public, cookie
        self._token = token.encode() if token else None
        # The browser's cookie is a digest, from which the token cannot be computed.
        self.session_key = hmac.new(self._token, b"edgefer web page", hashlib.sha256).hexdigest() if self._token else ""
        name = socket.gethostname().lower()
        self._proxied = bool(hosts)
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
        if not self._proxied and any(name in PROXY_HEADERS or name.startswith("x-forwarded-") for name in headers):
            return refuse(403, "a proxy forwards this request: add '?host=NAME&token_file=FILE' to the page's address to allow that")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return refuse(403, "requests from another site are refused")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not _same_origin(headers, host):
            return refuse(403, "changes from another site are refused")
        if scope["path"] in self._public:
            return None
        return self.refusal(address_of(scope), headers)

    def _is_own(self, host: str) -> bool:
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return name.lower().rstrip(".") in self._hosts

    def admits(self, address: str, headers: Headers) -> bool:
        """Whether no token is needed, or the request has the token, or the cookie of an earlier login."""
        return self.refusal(address, headers) is None

    def refusal(self, address: str, headers: Headers) -> Json | None:
        """None where no token is needed, or the request has it; else the answer to give."""
        if self._token is None:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return self.check(address, given.strip() if scheme.lower() == "bearer" else "", _cookie(headers, self.cookie))

    def check(self, address: str, token: str, cookie: str = "") -> Json | None:
        """None where the token or the cookie is right, else the answer to give; a wrong one is counted."""
        if self._token is not None and (_equal(token, self._token) | _equal(cookie, self.session_key.encode())):
            return None
        if not (token or cookie):
            return refuse(401, "a token is needed: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})
        if self._rate_limit.exceeded(address):
            return refuse(429, "too many wrong tokens; wait a minute", {"retry-after": f"{WINDOW_S:.0f}"})
        self._rate_limit.count(address)
        return refuse(401, "the token is wrong", {"www-authenticate": "Bearer"})


def _equal(given: str, wanted: bytes) -> bool:
    """Compares digests, which have one length: the time does not depend on where the texts differ, nor on the token's length."""
    return hmac.compare_digest(*(hashlib.sha256(text).digest() for text in (given.encode("utf-8", "surrogateescape"), wanted)))


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
