from __future__ import annotations

import re
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest
from command import Run, one_line

pytest.importorskip("starlette", reason="the extra 'web' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'web' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'web' is not installed")

from web_client import Serve, ask, seen

import edgefer
from edgefer.errors import EdgeferError, SinkError
from edgefer.output import About, Background, begin, close_all
from edgefer.sinks import open_sink, web
from edgefer.sinks.history import HistorySink
from edgefer.sinks.web import Web

ABOUT = About("1", "test", lambda: {"name": "toy", "sha256": "x", "labels": ["happy", "sad"]}, ())
HISTORY = "/api/history?from=1795607000&to=1795609000&bucket=60"


@pytest.mark.parametrize(
    ("spec", "shows", "images_leave"),
    [
        ("http://127.0.0.1:0", "pictures", False),
        ("http://localhost:0", "pictures", False),
        ("http://0.0.0.0:0?token_file={token}", "faces", False),
        ("http://127.0.0.1:0?host=fer.test&token_file={token}", "faces", False),  # a reverse proxy lets others in
        ("http://0.0.0.0:0?show=pixelated&token_file={token}", "pixelated", True),
    ],
)
def test_where_other_machines_can_connect_pictures_are_off_by_default(spec: str, shows: str, images_leave: bool, token_file: str) -> None:
    sink = open_sink(spec.format(token=token_file))
    assert isinstance(sink, Web)
    with closing(sink):
        assert f"(shows {shows})" in sink.begin(ABOUT)
        assert sink.images_leave is images_leave


def test_web_is_short_for_port_8080_of_this_machine() -> None:
    with socket.socket() as other:
        with suppress(OSError):  # taken already, which is as good
            other.bind(("127.0.0.1", 8080))
            other.listen()
        with pytest.raises(SinkError, match="is edgefer running already"):
            open_sink("web:")


def test_an_address_that_others_can_reach_needs_a_token_and_the_error_has_the_command_for_one() -> None:
    for text in (
        "http://127.0.0.1:0?host=fer.test",
        "http://0.0.0.0:8080",
        "http://192.0.2.7:8080",
        "http://[::]:8080",
        "http://raspberrypi:8080",
    ):
        with pytest.raises(SinkError, match=r"needs a token.*openssl rand -hex 32 > web.token.*token_file=web.token"):
            open_sink(text)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("http://127.0.0.1", "not an address to listen on"),
        ("http://127.0.0.1:99999", "not an address to listen on"),
        ("http://127.0.0.1:80/path", "not an address to listen on"),
        ("http://user:secret@127.0.0.1:80", "takes no user and no password"),
        ("http://user:secret@[::1:80", "takes no user and no password"),
        ("http://[::1:8080", "not an address to listen on"),
        ("http://a..b:8080?token_file={token}", "cannot listen there"),
        ("http://:80", "not an address to listen on"),
        ("http://127.0.0.1:8080?pictures=on", "unknown key 'pictures'"),
        ("http://127.0.0.1:8080?show=all", "key 'show'"),
        ("web:8080", "takes no path"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line_without_its_password(text: str, facts: str, token_file: str) -> None:
    with pytest.raises(EdgeferError, match=re.escape(facts)) as refused:
        open_sink(text.format(token=token_file))
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_port_in_use_is_refused_with_a_question(serve: Serve) -> None:
    with pytest.raises(SinkError, match="is edgefer running already"):
        open_sink(f"http://127.0.0.1:{serve().address.port}")


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['starlette'] = None; from edgefer.cli.main import main; "
        "sys.exit(main(['run', '--source', 'synthetic:', '--sink', 'http://127.0.0.1:0']))"
    )
    root = str(Path(edgefer.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "edgefer[web]" in one_line(done.stderr)


def test_without_a_history_sink_the_page_keeps_its_own_history(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FLUSH_S", 0.0)
    sink = serve()
    for index in range(11):
        sink.write(seen(index))
    (bucket,) = ask(sink, HISTORY).json["buckets"]  # type: ignore[misc]
    assert bucket["expressions_s"] == {"happy": pytest.approx(1.0, abs=0.01)}  # type: ignore[index]


def test_with_a_history_sink_the_page_shows_that_history(tmp_path: Path) -> None:
    stop = threading.Event()
    specs = ("http://127.0.0.1:0", f"history:{tmp_path}/history.db")
    sinks = [Background(open_sink(spec), spec, stop, lossless=True) for spec in specs]
    messages = begin(sinks, About("1", "test", ABOUT.model, sinks))
    page, history = (sink.sink for sink in sinks)
    assert isinstance(page, Web)
    assert isinstance(history, HistorySink)
    assert messages == [f"web page: {page.address} (shows pictures)", f"history: {tmp_path}/history.db"]
    for index in range(11):
        history.write(seen(index))
    history.flush()
    (bucket,) = ask(page, HISTORY).json["buckets"]  # type: ignore[misc]
    assert bucket["frames"] == 11  # type: ignore[index]
    assert list(ask(page, "/api/state").json["vitals"]["sinks"]) == ["http:127.0.0.1:0", "history:history.db"]  # type: ignore[index]
    close_all(sinks)


def test_a_history_that_cannot_be_read_disables_only_the_history(serve: Serve, tmp_path: Path) -> None:
    page, history = serve(), open_sink(f"history:{tmp_path}/history.db")
    page.begin(About("1", "test", ABOUT.model, [history]))
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as connection:
        for table in ("minutes", "expressions"):
            connection.execute(f"ALTER TABLE {table} RENAME TO missing_{table}")
        assert ask(page, "/api/state").json["today"] == {}
        answer = ask(page, "/api/history")
        assert (answer.status, list(answer.json)) == (503, ["error"])
        assert str(tmp_path) not in answer.body.decode()
        for table in ("minutes", "expressions"):
            connection.execute(f"ALTER TABLE missing_{table} RENAME TO {table}")
    assert ask(page, "/api/history").status == 200
    history.close()


def test_the_run_prints_the_address_of_the_page(edgefer: Run) -> None:
    done = edgefer("run", "--source", "synthetic:?seconds=0.5&paced=false&size=160x120", "--sink", "http://127.0.0.1:0?show=faces")
    assert done.returncode == 0, done.stderr
    assert re.search(r"web page: http://127\.0\.0\.1:\d+ \(shows faces\)", done.stderr)
    assert "No image leaves this machine" in done.stderr
