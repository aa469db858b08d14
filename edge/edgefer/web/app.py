"""The web page and its JSON API as an ASGI application; what it shows comes from `Live`, who may ask is `Guard`'s to say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edgefer.errors import SettingsError, SinkError
from edgefer.files import ASSETS
from edgefer.history.aggregate import MINUTE_S
from edgefer.history.timespec import fitting_bucket_s, moment_s
from edgefer.html_template import fill
from edgefer.web.auth import Guard, address_of, refuse
from edgefer.web.live import Live, Show
from edgefer.web.prometheus import CONTENT_TYPE, Metrics

WEB_ASSETS = ASSETS / "web"
FILES = {
    "/page.css": "text/css", "/page.js": "text/javascript", "/chart.js": "text/javascript",
    "/icon.svg": "image/svg+xml", "/openapi.json": "application/json",
}  # fmt: skip
OPEN = ("/", "/login", "/page.css", "/icon.svg", "/healthz", "/readyz")
"""Needs no token: "/" answers a stranger with the question for it."""
WATCHERS = 16
"""Pages that are fed at one time."""
STALLED_S, BEAT_S = 15.0, 1.0
"""Seconds a reader may be stuck before it is let go; seconds from one state to the next."""
LONGEST_BODY = 1024
BODY_S = 5.0
MOST_BUCKETS = 1000
READY_S = 5.0
"""A frame not older than this makes the run ready."""


class Privacy(msgspec.Struct, forbid_unknown_fields=True):
    """What ``PUT /api/privacy`` takes."""

    show: Show


class Page:
    """The routes; ``live.wake`` may be called from any thread once ``loop`` is known."""

    def __init__(self, live: Live, metrics: Metrics, token: str | None, hosts: Collection[str], cookie: str) -> None:
        self._live, self._metrics = live, metrics
        self._files = {path: (WEB_ASSETS / path[1:]).read_bytes() for path in FILES}
        self._index, self._login = ((WEB_ASSETS / name).read_text(encoding="utf-8") for name in ("index.html", "login.html"))
        self._watchers = 0
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        live.wake = self._wake
        routes = [
            Route("/", self._home),
            Route("/login", self._log_in, methods=["POST"]),
            *(Route(path, partial(self._file, path)) for path in FILES),
            Route("/api/state", self._state),
            Route("/api/events", self._events),
            Route("/api/history", self._history),
            Route("/api/model", self._model),
            Route("/api/picture", self._picture),
            Route("/api/privacy", self._privacy, methods=["PUT"]),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._scrape),
        ]
        errors = {
            404: partial(_plain_error, "nothing here; /openapi.json lists what there is"),
            405: partial(_plain_error, "not this method"),
        }
        self.guard = Guard(Starlette(routes=routes, exception_handlers=errors), token, hosts, OPEN, cookie)

    def _wake(self) -> None:
        if self._watchers and self._loop:
            try:
                self._loop.call_soon_threadsafe(self._ring)
            except RuntimeError:  # the server has ended, and its loop is closed
                self._loop = None

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def close(self) -> None:
        """End the streams, so that the server need not wait for them."""
        self._closing = True
        self._wake()

    async def _home(self, request: Request) -> Response:
        if self.guard.admits(request.headers):
            return Response(self._index, media_type="text/html")
        return self._ask_for_token(401, "")

    def _ask_for_token(self, status: int, why: str, headers: dict[str, str] | None = None) -> Response:
        return Response(fill(self._login, why=why), status, headers, "text/html")

    async def _log_in(self, request: Request) -> Response:
        fields = parse_qs((await _body(request)).decode("utf-8", "replace"))
        refusal = self.guard.check(address_of(request.scope), fields.get("token", [""])[0].strip())
        if refusal:
            why = "Too many wrong tokens. Wait a minute." if refusal.status_code == 429 else "That is not the token."
            return self._ask_for_token(refusal.status_code, why, {"retry-after": "60"} if refusal.status_code == 429 else None)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self.guard.cookie, self.guard.pass_key, max_age=30 * 86_400, httponly=True, samesite="strict")
        return answer

    async def _file(self, path: str, request: Request) -> Response:
        return Response(self._files[path], media_type=FILES[path], headers={"cache-control": "no-cache"})

    async def _state(self, request: Request) -> Response:
        return _json(await run_in_threadpool(self._live.state))

    async def _model(self, request: Request) -> Response:
        # Where the file lies is nobody's business who only looks on.
        return _json(msgspec.json.encode({key: fact for key, fact in self._live.about.model().items() if key != "path"}))

    async def _picture(self, request: Request) -> Response:
        wanted = request.query_params.get("boxes", "false")
        if wanted not in ("true", "false"):
            return refuse(400, f"boxes is true or false, not {wanted[:40]!r}")
        made = await run_in_threadpool(self._live.picture, wanted == "true")
        if made is None:
            return Response(status_code=204)
        return Response(made[1], media_type="image/jpeg", headers={"edgefer-frame": str(made[0])})

    async def _privacy(self, request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await _body(request), type=Privacy)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return refuse(400, str(error))
        if not self._live.switch(wanted.show):
            return refuse(403, f"the configuration allows no more than {self._live.allowed[-1]!r}")
        return JSONResponse({"show": self._live.show, "allowed": list(self._live.allowed)})

    async def _history(self, request: Request) -> Response:
        asked, now_s = request.query_params, time.time()
        try:
            begin_s, end_s = moment_s(asked.get("from", "24h"), now_s), moment_s(asked.get("to", "now"), now_s)
            bucket_s = _whole_minutes(asked["bucket"]) if "bucket" in asked else fitting_bucket_s(end_s - begin_s)
        except SettingsError as error:
            return refuse(400, str(error))
        # A bucket too fine for the span is made coarser, and the answer says so.
        bucket_s = max(bucket_s, -(-int(end_s - begin_s) // MOST_BUCKETS // MINUTE_S) * MINUTE_S)
        try:
            buckets = await run_in_threadpool(self._live.history.buckets, begin_s, end_s, bucket_s)
        except SinkError:
            # Said without the path of the file; the sink's own log names it.
            return refuse(503, "the history cannot be read")
        content = {"from": begin_s, "to": end_s, "bucket_s": bucket_s, "buckets": [asdict(bucket) for bucket in buckets]}
        return _json(msgspec.json.encode(content))

    async def _healthz(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _readyz(self, request: Request) -> Response:
        health = self._live.health
        ready = health.frames > 0 and health.silent_s <= READY_S
        return JSONResponse({"status": "ready" if ready else "no frame"}, 200 if ready else 503)

    async def _scrape(self, request: Request) -> Response:
        return Response(await run_in_threadpool(self._metrics.page), media_type=CONTENT_TYPE)

    async def _events(self, request: Request) -> Response:
        if self._watchers >= WATCHERS:
            return refuse(429, f"{WATCHERS} pages are open already", {"retry-after": "10"})
        return _Stream(self)

    async def stream(self, send: Send) -> None:
        """Server-sent events until the reader is stuck, or the server ends: ``state`` each second, ``faces`` as they come."""
        self._loop, beat_s, shown = asyncio.get_running_loop(), float("-inf"), b""
        while not self._closing:
            news = self._news
            if time.monotonic() - beat_s >= BEAT_S:
                beat_s = time.monotonic()
                await _push(send, b"state", await run_in_threadpool(self._live.state, False))
            if (faces := self._live.faces()) and faces != shown:
                shown = faces
                await _push(send, b"faces", faces)
            try:
                async with asyncio.timeout(max(0.01, beat_s + BEAT_S - time.monotonic())):
                    await news.wait()
            except TimeoutError:
                continue
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def count(self, more: int) -> None:
        """A reader came, or went."""
        self._watchers += more


class _Stream(Response):
    """An answer without an end: it also listens for the reader's going, which a write alone would not notice."""

    def __init__(self, page: Page) -> None:
        super().__init__(media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Feed the reader until it goes."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._page.count(+1)
        feeding, listening = asyncio.create_task(self._page.stream(send)), asyncio.create_task(_gone(receive))
        try:
            done, _ = await asyncio.wait({feeding, listening}, return_when=asyncio.FIRST_COMPLETED)
            if feeding in done and not isinstance(feeding.exception(), TimeoutError | None):
                feeding.result()
        finally:
            feeding.cancel()
            listening.cancel()
            self._page.count(-1)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _push(send: Send, event: bytes, data: bytes) -> None:
    async with asyncio.timeout(STALLED_S):
        await send({"type": "http.response.body", "body": b"event: " + event + b"\ndata: " + data + b"\n\n", "more_body": True})


async def _body(request: Request) -> bytes:
    """The body, as far as it is short and comes soon; what is longer or slower is no valid one anyway."""
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    return b""
    except (TimeoutError, ClientDisconnect):
        return b""
    return body


def _whole_minutes(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 1 <= len(text) <= 9 or int(text) < 1:
        raise SettingsError(f"bucket is seconds, from 60, not {text[:40]!r}")
    return -(-int(text) // MINUTE_S) * MINUTE_S


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _plain_error(why: str, request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    return refuse(status, why, getattr(error, "headers", None))
