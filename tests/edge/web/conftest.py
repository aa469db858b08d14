"""The web page on a free port of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from web_client import TOKEN, Serve

from edgefer.output import About
from edgefer.regions import Regions
from edgefer.sinks import open_sink

if TYPE_CHECKING:
    from edgefer.sinks.web import Web


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Opens the sink with options, begins its run, and closes it in the end."""
    from edgefer.sinks.web import Web

    with ExitStack() as stack:

        def open_web(**options: str) -> Web:
            query = "&".join(f"{name}={value}" for name, value in options.items())
            sink = open_sink(f"http://127.0.0.1:0?{query}" if query else "http://127.0.0.1:0")
            assert isinstance(sink, Web)
            stack.callback(sink.close)
            model = {"name": "toy", "sha256": "abc", "path": "/secret/folder.tflite", "labels": ["happy", "sad"]}
            sink.begin(About("1.2.3", "test camera", lambda: model, (), Regions([], lambda _: None, None)))
            return sink

        yield open_web


@pytest.fixture
def every_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows every observation, not ten a second."""
    from edgefer.web import live

    monkeypatch.setattr(live, "MIN_INTERVAL_S", 0.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run stays live and ready also where the machine is too busy for the test."""
    from edgefer.web import app, health

    monkeypatch.setattr(health, "SILENT_S", 300.0)
    monkeypatch.setattr(app, "READY_S", 300.0)


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "web.token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return str(path)
