"""The fleet's table as one page that needs nothing else: a file to send around, or a page served to this machine alone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import localtime, strftime

from edgefer.errors import SettingsError, SinkError
from edgefer.mqtt.fleet import COLUMNS, Device, as_json, cells, mix, summary

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 1.5rem auto; padding: 0 1rem; max-width: 100rem }
h1 { font-size: 1.4rem; margin: 0 }
p { margin: .2rem 0 1rem; color: color-mix(in srgb, CanvasText 70%, Canvas) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid color-mix(in srgb, CanvasText 20%, Canvas) }
th, td, meter { white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
meter { width: 3rem; vertical-align: middle }
.offline td:nth-child(2) { font-weight: bold; color: light-dark(#a40000, #ff8a80) }
code { font-size: .9em }
"""
SCRIPT = """
setInterval(async () => {
  try {
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
  } catch { document.querySelector("#when").textContent = "edgefer fleet does not answer: these are its last words"; }
}, 2000);
"""
"""Only the table is replaced: the page keeps its place, and a screen reader its."""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
NUMBERS = ("fps", "°C", "seen")


def page(devices: list[Device], broker: str, now_s: float, live: bool = False) -> str:
    """HTML without anything from elsewhere; ``live`` renews itself every two seconds."""
    when = strftime("%Y-%m-%d %H:%M:%S %Z", localtime(now_s))
    head = "".join(f'<th scope="col"{_class(column)}>{column}</th>' for column in COLUMNS)
    rows = "\n".join(map(_row, devices)) or f'<tr><td colspan="{len(COLUMNS)}">No device has said anything yet.</td></tr>'
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>edgefer fleet</title><style>{STYLE}</style></head>
<body>
<main>
<h1>edgefer fleet</h1>
<p>{escape(summary(devices, broker))} · <span id="when">{when}</span></p>
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</main>
{f"<script>{SCRIPT}</script>" if live else ""}
</body>
</html>
"""


def _class(column: str) -> str:
    return ' class="number"' if column in NUMBERS else ""


def _row(device: Device) -> str:
    texts = dict(zip(COLUMNS, map(escape, cells(device)), strict=True))
    shares = (f'<meter value="{share:.2f}" aria-hidden="true"></meter> {escape(name)} {share:.0%}' for name, share in mix(device.state))
    texts["the last minute"] = " ".join(shares)
    if device.update.why:
        texts["update"] = f'<span title="{escape(device.update.why)}">{texts["update"]}</span>'
    return f'<tr class="{escape(device.status)}">' + "".join(f"<td{_class(column)}>{text}</td>" for column, text in texts.items()) + "</tr>"


class _Quiet(BaseHTTPRequestHandler):
    def handle(self) -> None:
        """A browser may leave in the middle."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Nothing: a page that renews itself would fill the terminal."""


def serve(place: str, devices: Callable[[], list[Device]], broker: str, now_s: Callable[[], float]) -> ThreadingHTTPServer:
    """A read-only server for this machine alone: ``/`` is the page, ``/fleet.json`` the same for machines. The caller runs it.

    Raises `SettingsError` for a place that is not this machine's own, `SinkError` where the port cannot be had.
    """
    match = re.fullmatch(r"(127\.0\.0\.1|localhost):(\d{1,5})", place)
    if not match or int(match[2]) > 65_535:
        raise SettingsError(
            f"--serve {place}: write 127.0.0.1:PORT; the page has no password, so others see it only through a proxy of yours"
        )

    class Handler(_Quiet):
        def do_GET(self) -> None:
            # A name that is not ours is some web page's, made to point here.
            if (self.headers.get("Host") or "").partition(":")[0] not in ("127.0.0.1", "localhost"):
                return self.send_error(421)
            if self.path == "/":
                self._answer("text/html; charset=utf-8", page(devices(), broker, now_s(), live=True).encode())
            elif self.path == "/fleet.json":
                self._answer("application/json", as_json(devices(), broker, now_s()))
            else:
                self.send_error(404)
            return None

        def _answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            headers = {
                "Content-Type": kind,
                "Content-Length": str(len(content)),
                "Cache-Control": "no-store",
                "Content-Security-Policy": POLICY,
            }
            for name, value in {**headers, "X-Content-Type-Options": "nosniff"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    try:
        return ThreadingHTTPServer((match[1], int(match[2])), Handler)
    except OSError as error:
        raise SinkError(f"--serve {place}: cannot listen there: {error.strerror}") from None
