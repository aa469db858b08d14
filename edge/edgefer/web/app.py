"""The web page and its JSON API as an ASGI application: `Live` has the content, `Guard` decides who may read it."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from edgefer.errors import SettingsError, SinkError
from edgefer.files import ASSETS
from edgefer.history.aggregate import MINUTE_S
from edgefer.history.timespec import fitting_bucket_s, parse_time_s
from edgefer.html_template import fill
from edgefer.web.answers import History, IgnoreRegions, Json, PrivacyChange, Status, refuse
from edgefer.web.auth import Guard, address_of
from edgefer.web.body import read_body
from edgefer.web.events import Events
from edgefer.web.live import Live
from edgefer.web.openapi import OPERATIONS, document
from edgefer.web.prometheus import CONTENT_TYPE, Metrics

WEB_ASSETS = ASSETS / "web"
FILES = {"/page.css": "text/css", "/page.js": "text/javascript", "/chart.js": "text/javascript", "/icon.svg": "image/svg+xml"}
PUBLIC = ("/", "/login", "/page.css", "/icon.svg", *(operation.path for operation in OPERATIONS if operation.public))
"""Paths that need no token: "/" replies with the login page."""
MAX_BUCKETS = 1000
READY_S = 5.0
"""A run is ready while its last frame is not older than this."""
COOKIE_DAYS = 30


class Page:
    """The routes and their handlers; ``guard`` is the application to serve."""

    def __init__(self, live: Live, metrics: Metrics, token: str | None, hosts: Collection[str], cookie: str, frame: str = "") -> None:
        self._live, self._metrics, self._events = live, metrics, Events(live)
        self._files = {path: (WEB_ASSETS / path[1:]).read_bytes() for path in FILES}
        self._index, self._login = ((WEB_ASSETS / name).read_text(encoding="utf-8") for name in ("index.html", "login.html"))
        api = {
            "/api/state": self._state,
            "/api/events": self._stream,
            "/api/history": self._history,
            "/api/model": self._model,
            "/api/picture": self._picture,
            "/api/privacy": self._privacy,
            "/api/ignore": self._ignore,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._scrape,
        }
        routes = [
            Route("/", self._home),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/openapi.json", self._openapi),
            *(Route(path, partial(self._file, path)) for path in FILES),
            *(Route(path, handler, methods=[one.method for one in OPERATIONS if one.path == path]) for path, handler in api.items()),
        ]
        errors = {
            404: partial(_http_error, "no such path; /openapi.json lists all paths"),
            405: partial(_http_error, "the path does not support this method"),
        }
        self.guard = Guard(Starlette(routes=routes, exception_handlers=errors), token, hosts, PUBLIC, cookie, frame)

    def close(self) -> None:
        """End open streams, so that the server need not wait for them."""
        self._events.close()

    async def _home(self, request: Request) -> Response:
        if self.guard.admits(address_of(request.scope), request.headers):
            return Response(self._index, media_type="text/html")
        return self._login_page(401, "")

    def _login_page(self, status: int, why: str, headers: dict[str, str] | None = None) -> Response:
        return Response(fill(self._login, why=why), status, headers, "text/html")

    async def _log_in(self, request: Request) -> Response:
        fields = parse_qs((await read_body(request) or b"").decode("utf-8", "replace"))
        refusal = self.guard.check(address_of(request.scope), fields.get("token", [""])[0].strip())
        if refusal and refusal.status_code == 429:
            return self._login_page(429, "Too many wrong tokens. Wait a minute.", {"retry-after": "60"})
        if refusal:
            return self._login_page(refusal.status_code, "That is not the token.")
        answer = RedirectResponse("./", 303)
        answer.set_cookie(self.guard.cookie, self.guard.session_key, max_age=COOKIE_DAYS * 86_400, httponly=True, samesite="strict")
        return answer

    async def _file(self, path: str, request: Request) -> Response:
        return Response(self._files[path], media_type=FILES[path], headers={"cache-control": "no-cache"})

    async def _openapi(self, request: Request) -> Response:
        return Response(document(), media_type="application/json", headers={"cache-control": "no-cache"})

    async def _state(self, request: Request) -> Response:
        return Json(await run_in_threadpool(self._live.state))

    async def _stream(self, request: Request) -> Response:
        return self._events.open()

    async def _model(self, request: Request) -> Response:
        return Json(self._live.model())

    async def _picture(self, request: Request) -> Response:
        boxes = request.query_params.get("boxes", "false")
        if boxes not in ("true", "false"):
            return refuse(400, f"boxes is true or false, not {boxes[:40]!r}")
        picture = await run_in_threadpool(self._live.picture, boxes == "true")
        if picture is None:
            return Response(status_code=204)
        index, jpeg = picture
        return Response(jpeg, media_type="image/jpeg", headers={"edgefer-frame": str(index)})

    async def _privacy(self, request: Request) -> Response:
        try:
            change = msgspec.json.decode(await read_body(request) or b"", type=PrivacyChange)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return refuse(400, str(error))
        if not self._live.set_level(change.show):
            return refuse(403, f"the configuration allows no more than {self._live.allowed[-1]!r}")
        return Json(self._live.privacy())

    async def _ignore(self, request: Request) -> Response:
        if request.method != "POST":
            return Json(self._live.ignored())
        regions = self._live.about.regions
        if regions is None or not self._live.shows_pictures:
            return refuse(403, "regions can be changed only while the page shows pictures")
        try:
            change = msgspec.json.decode(await read_body(request) or b"", type=IgnoreRegions)
            await run_in_threadpool(regions.change, change.regions)
        except (msgspec.DecodeError, UnicodeDecodeError, SettingsError) as error:
            return refuse(400, str(error))
        return Json(self._live.ignored())

    async def _history(self, request: Request) -> Response:
        query, now_s = request.query_params, time.time()
        try:
            from_s, to_s = parse_time_s(query.get("from", "24h"), now_s), parse_time_s(query.get("to", "now"), now_s)
            bucket_s = _whole_minutes(query["bucket"]) if "bucket" in query else fitting_bucket_s(to_s - from_s)
        except SettingsError as error:
            return refuse(400, str(error))
        # Longer than requested where there would be too many buckets; the answer has the length used.
        bucket_s = max(bucket_s, -(-int(to_s - from_s) // MAX_BUCKETS // MINUTE_S) * MINUTE_S)
        try:
            buckets = await run_in_threadpool(self._live.history.buckets, from_s, to_s, bucket_s)
        except SinkError:
            # Without the path of the file, which the sink's own log has.
            return refuse(503, "the history cannot be read")
        return Json(History(from_s=from_s, to_s=to_s, bucket_s=bucket_s, buckets=buckets))

    async def _healthz(self, request: Request) -> Response:
        return Json(Status(status="alive"))

    async def _readyz(self, request: Request) -> Response:
        health = self._live.health
        ready = health.frames > 0 and health.silent_s <= READY_S
        return Json(Status(status="ready" if ready else "no frame"), 200 if ready else 503)

    async def _scrape(self, request: Request) -> Response:
        return Response(await run_in_threadpool(self._metrics.page), media_type=CONTENT_TYPE)


def _whole_minutes(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 1 <= len(text) <= 9 or int(text) < 1:
        raise SettingsError(f"bucket is seconds, from 60, not {text[:40]!r}")
    return -(-int(text) // MINUTE_S) * MINUTE_S


def _http_error(why: str, request: Request, error: Exception) -> Response:
    return refuse(getattr(error, "status_code", 500), why, getattr(error, "headers", None))
