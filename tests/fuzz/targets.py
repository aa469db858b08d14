"""One function for each kind of input. Any bytes may raise only edgefer's own errors, which are one line and exit 1."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgefer.detectors import Detector
from edgefer.errors import EdgeferError
from edgefer.history.aggregate import Aggregator
from edgefer.history.store import History
from edgefer.model.card import split_card
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.mqtt.address import parse_address
from edgefer.mqtt.fleet import Fleet, as_json, table
from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import Pipeline
from edgefer.redact import redact, redact_url
from edgefer.settings import Settings, UpdateSettings, load_settings
from edgefer.sources import Source
from edgefer.spec import parse_spec
from edgefer.types import Box, Frame
from edgefer.update.ledger import read_ledger
from edgefer.update.order import read_order
from edgefer.web.app import Page
from edgefer.web.health import Health
from edgefer.web.live import Live
from edgefer.web.prometheus import Metrics


@cache
def _folder() -> Path:
    """In memory if possible: files are written a hundred thousand times."""
    folder = Path(tempfile.mkdtemp(prefix="edgefer-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(name: str, content: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(content)
    return path


def config(data: bytes) -> None:
    """The bytes as a configuration file and as the ledger of updates."""
    path = _file("config.toml", data)
    read_ledger(path)
    load_settings(path)


def spec(data: bytes) -> None:
    """The text of a source, a sink or a broker, and the same with its secrets removed."""
    text = data.decode("utf-8", "replace")
    for parse in (parse_spec, parse_address):
        with suppress(EdgeferError):
            parse(text)
    redact(redact_url(text))


def card(data: bytes) -> None:
    """A model's appended zip."""
    split_card(data, "model")


@cache
def _published() -> bytes:
    return find_model("small").read_bytes()


def model(data: bytes) -> None:
    """A model file, cut short and with bits flipped: 2 bytes for the length, then 4 a flip."""
    content = bytearray(_published())
    for at in range(2, len(data) - 3, 4):
        content[int.from_bytes(data[at : at + 3]) % len(content)] ^= data[at + 3]
    if data[:2].strip(b"\0"):
        del content[len(content) * int.from_bytes(data[:2]) >> 16 :]
    if bytes(content) == _published():
        return
    path = _file("model.tflite", bytes(content))
    try:
        Classifier(path)
    except EdgeferError:
        return
    # Only bits outside the model, its card and its digest may differ without an error: those of the zip's own directory.
    assert split_card(bytes(content), "")[0] == split_card(_published(), "")[0], "a changed model was accepted"


def mqtt(data: bytes) -> None:
    """A message: topic, a zero byte, payload; as the fleet and the updater read it."""
    topic, _, payload = data.partition(b"\0")
    fleet = Fleet("edgefer")
    for leaf in (topic.decode("utf-8", "replace"), "edgefer/a/status", "edgefer/a/state", "edgefer/a/update/status"):
        fleet.update(leaf, payload)
    devices = fleet.devices(2e9)
    table(devices)
    as_json(devices, "broker", 2e9)
    read_order(payload, UpdateSettings(enabled=True))


def history(data: bytes) -> None:
    """A history file: read, then opened to be written, which sets a corrupt one aside."""
    for left in _folder().glob("history*"):
        left.unlink()
    path = _file("history.db", data)
    with suppress(EdgeferError), closing(History(path, "read")) as kept:
        kept.span()
        kept.labels()
        kept.buckets(0, 2e9, 3600)
        kept.visits(0, 2e9)
        kept.changes(0, 2e9)
    with closing(History(path)) as kept:
        kept.make_room(1, 1, 0)


@cache
def _page() -> Page:
    health = Health()
    live = Live(health, History(None), "pictures")
    return Page(live, Metrics(health, Aggregator(), with_faces=lambda: True), "a token of some length", [], "cookie")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def http(data: bytes) -> None:
    """A request: lines of method, path, query and headers, an empty line, the body."""
    head, _, body = data.partition(b"\n\n")
    method, path, query, *lines = [*head.split(b"\n"), b"", b"", b""]
    headers = [(name.strip().lower(), value.strip()) for name, mark, value in (line.partition(b":") for line in lines) if mark]
    for given in (headers, [(b"host", b"localhost"), (b"authorization", b"Bearer a token of some length"), *headers]):
        said = _loop().run_until_complete(_ask(method, path, query, given, body))
        assert not said or (200 <= said[0] < 600 and said[0] != 500), said


async def _ask(method: bytes, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> list[int]:
    said: list[int] = []
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            said.append(message["status"])

    scope = {
        "type": "http", "http_version": "1.1", "method": method.decode("latin-1"), "path": path.decode("utf-8", "replace"),
        "raw_path": path, "query_string": query, "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "scheme": "http", "root_path": "",
    }  # fmt: skip
    await _page().guard(scope, receive, send)
    return said


class _Source(Source):
    description = "frames"

    def __init__(self, *frames: Frame) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def close(self) -> None:
        pass


class _Sees(Detector):
    """A detector that sees what it is told to, and around a known face the first of it: as many boxes there are never."""

    def __init__(self, boxes: list[Box]) -> None:
        self.boxes = boxes

    def __call__(self, luma: Any, smallest_px: int, largest_px: int = 0, sure: bool = True) -> list[Box]:
        return self.boxes[:1] if largest_px else self.boxes


@cache
def _classifier() -> Classifier:
    return Classifier(find_model("small"))


DTYPES: tuple[str, ...] = ("uint8", "uint8", "uint8", "float32", "float64", "int16", "bool", "uint16")


def process(luma: Any, boxes: list[Box], time_s: float = 0.0) -> int:
    """The number of processed frames of two: this one and a correct one after it."""
    pipeline = Pipeline(Settings(), _classifier(), tracked=True, detector=_Sees(boxes))
    frames = Frame(0, time_s, luma), Frame(1, 1.0, np.zeros((48, 64), np.uint8))
    summary = run(_Source(*frames), pipeline, [], threading.Event(), 1.0)
    assert summary.frames + summary.faults == 2
    return summary.frames


def frame(data: bytes) -> None:
    """A frame: 8 bytes of form, then boxes, then pixels."""
    form, rest = data[:8].ljust(8, b"\0"), data[8:]
    height, width, count = form[0] % 65, form[1] % 65, form[2] % 4
    corners = [int.from_bytes(rest[2 * i : 2 * i + 2], signed=True) // 64 for i in range(4 * count)]
    boxes = [Box(*corners[4 * i : 4 * i + 4]) for i in range(count)]
    pixels = np.resize(np.frombuffer(rest or b"\0", np.uint8), (height, width)).astype(DTYPES[form[3] % len(DTYPES)])
    luma = (pixels, pixels.T, pixels[::-1, ::2], np.stack([pixels] * 3, 2))[form[4] % 4]
    if luma.dtype.kind == "f" and form[5] & 1:
        luma = luma * np.nan
    process(luma, boxes, (0.0, 1e300, float("nan"), float("inf"), -1.0)[form[6] % 5])


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (config, spec, card, model, mqtt, history, http, frame)
}


def attempt(name: str, data: bytes) -> None:
    """One execution. An error of edgefer's own must be one printable line; any other error is a find."""
    try:
        TARGETS[name](data)
    except EdgeferError as error:
        assert str(error).strip() and "\n" not in str(error), f"not one line: {error!r}"


def seeds(name: str) -> list[bytes]:
    """The first inputs of a fuzzer, and the finds kept in ``corpus/<name>``."""
    made: dict[str, list[bytes]] = {
        "config": [b'threads = 2\n[track]\nlost_s = 1.5\n[[action]]\ncommand = ["true"]\n', b"\xff", b"threads = 99999999999999999999"],
        "spec": [b"opencv:0?fps=15", b"mqtt://h:1883/a/b?every_s=3", b"rtsp://u:p/w@h", b"http://[::1", b"mqtt://a:99999"],
        "card": [_published()[-4000:], b"PK\5\6" + bytes(18)],
        "model": [b"\0\0\0\1\0\1", b"\x80\0", b"\xff\xff"],
        "mqtt": [
            b"edgefer/a/state\0" + msgspec.json.encode({"time": 1e300, "mix": {"a": 1e300}, "fps": -1, "version": "1"}),
            b'x\0{"url":"http://[","sha256":"' + b"0" * 64 + b'"}', b"\0online",
        ],
        "history": [b"", b"SQLite format 3\0" + bytes(100)],
        "http": [
            b"GET\n/api/state\n\n", b"GET\n/api/history\nfrom=24h&bucket=60\n", b"PUT\n/api/privacy\n\n\n\n{\"show\":\"faces\"}",
            b"POST\n/login\n\ncookie: cookie=\xff\n\ntoken=%ff", b"GET\n/metrics\n\nhost: [::1\n",
        ],
        "frame": [b"\x30\x40\1\0\0\0\0\0" + bytes(range(256)), b"\1\1\0\3\0\1\2\0", b"\0\0\0\0\0\0\0\0"],
    }  # fmt: skip
    kept = Path(__file__).with_name("corpus") / name
    return [*made[name], *(file.read_bytes() for file in sorted(kept.glob("*")))]
