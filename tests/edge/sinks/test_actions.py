from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from command import Run, one_line
from mosquitto import free_port

from edgefer.cli.main import main
from edgefer.errors import SettingsError
from edgefer.settings import ActionSettings
from edgefer.sinks.actions import Actions, check_actions
from edgefer.types import Box, Face, Frame, Observation

LUMA = np.zeros((48, 48), np.uint8)


def seen(time_s: float, label: str = "happy") -> Observation:
    return Observation(Frame(0, time_s, LUMA), (Face(3, Box(1, 2, 9, 9), label, 0.9, {label: 0.9}),))


class Server(ThreadingHTTPServer):
    """Keeps every post; /403 is refused, /slow waits for `answer`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posted: list[tuple[str, bytes]] = []
        self.answer = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.posted.append((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
        if self.path == "/slow":
            server.answer.wait(60)
        self.send_response({"/403": 403, "/moved": 302}.get(self.path, 204))
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.answer.set()
    server.shutdown()
    thread.join()
    server.server_close()


def wait_until(condition: Callable[[], object], within_s: float = 30) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def keep(path: Path) -> list[str]:
    """A command that appends its input to a file."""
    return [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())", str(path)]


def test_a_command_gets_the_event_as_a_line_of_json_and_its_arguments_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "$(touch owned); `x` happy"
    actions = Actions([ActionSettings(name="lamp", expression="happy", min_score=0.5, command=keep(path))])
    actions.write(seen(5.0))
    actions.close(60)
    (line,) = path.read_text().splitlines()
    assert json.loads(line) == {
        "action": "lamp", "time": 5.0, "expression": "happy", "held_s": 0.0,
        "rule": {"expression": "happy", "min_score": 0.5, "for_s": 0.0},
        "face": {"track": 3, "box": [1, 2, 9, 9], "expression": "happy", "score": 0.9, "scores": {"happy": 0.9}},
    }  # fmt: skip
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert actions.done == 1


def test_a_webhook_gets_the_event_as_its_body(server: Server) -> None:
    actions = Actions([ActionSettings(expression="no_face", webhook=f"http://127.0.0.1:{server.server_port}/hook")])
    actions.write(Observation(Frame(0, 1.0, LUMA), ()))
    actions.close(60)
    ((kind, body),) = server.posted
    assert kind == "application/json"
    assert json.loads(body)["expression"] == "no_face"
    assert "face" not in json.loads(body)


def test_failures_are_logged_once_and_counted_without_the_address_and_the_next_action_runs(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = f"http://127.0.0.1:{server.server_port}"
    actions = Actions([
        ActionSettings(name="refused", webhook=f"{here}/403", cooldown_s=0),
        ActionSettings(name="moved", webhook=f"{here}/moved", cooldown_s=0),
        ActionSettings(name="slow", webhook=f"{here}/slow", cooldown_s=0, timeout_s=0.5),
        ActionSettings(name="nobody", webhook=f"http://127.0.0.1:{free_port()}/secret", cooldown_s=0),
        ActionSettings(name="fails", command=[sys.executable, "-c", "raise SystemExit(3)"], cooldown_s=0),
        ActionSettings(name="hangs", command=[sys.executable, "-c", "import time; time.sleep(60)"], cooldown_s=0, timeout_s=0.5),
        ActionSettings(name="works", command=keep(tmp_path / "out"), cooldown_s=0),
    ])  # fmt: skip
    for time_s in (1, 2):
        actions.write(seen(time_s))
        actions.write(Observation(Frame(0, time_s + 0.5, LUMA), ()))
    actions.close(60)
    assert (actions.done, actions.failed) == (2, 12)
    assert len((tmp_path / "out").read_text().splitlines()) == 2
    for fact in (
        "answers 403",
        "answers 302",
        "action slow:",
        "Connection refused",
        "ended with 3",
        "longer than 0.5 s",
    ):
        assert caplog.text.count(fact) == 1, fact
    assert "/secret" not in caplog.text


def test_a_webhook_that_drips_its_answer_is_given_up_and_delays_no_other_action(tmp_path: Path) -> None:
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
            while not over.wait(0.05):
                connection.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        hook = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        actions = Actions([
            ActionSettings(name="hook", webhook=hook, timeout_s=2),
            ActionSettings(name="bell", command=keep(tmp_path / "bell")),
        ])  # fmt: skip
        actions.write(seen(1.0))
        wait_until(lambda: actions.done == 1)
        assert (tmp_path / "bell").exists(), "the second action waits for the first"
        wait_until(lambda: actions.failed == 1)
        over.set()
        thread.join()
        actions.close(1)


def test_when_too_many_actions_are_due_the_oldest_is_dropped(server: Server) -> None:
    actions = Actions([ActionSettings(webhook=f"http://127.0.0.1:{server.server_port}/slow", cooldown_s=0)])
    for index in range(40):
        actions.write(seen(2.0 * index))
        actions.write(Observation(Frame(0, 2.0 * index + 1, LUMA), ()))
    assert actions.dropped >= 40 - Actions.SLOTS - 1
    server.answer.set()
    actions.close(60)
    assert actions.done + actions.dropped == 40
    assert json.loads(server.posted[-1][1])["time"] == 78.0


def test_closing_ends_a_running_command_and_drops_those_behind_it(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = "import sys, pathlib, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    actions = Actions([ActionSettings(command=[sys.executable, "-c", code, str(started)], timeout_s=50)])
    actions.write(seen(1.0))
    actions.write(Observation(Frame(0, 61.0, LUMA), ()))
    actions.write(seen(62.0))
    wait_until(started.exists)
    actions.close(0.1)
    wait_until(lambda: actions.failed)
    assert (actions.done, actions.failed) == (0, 1)


@pytest.mark.parametrize(
    ("table", "fact"),
    [
        ("", "either a command or a webhook"),
        ('command = ["x"]\nwebhook = "http://h"', "either a command or a webhook"),
        ('webhook = "file:///etc/passwd"', "http://"),
        ('webhook = "http://bell:secret@host/hook"', "without user and password"),
        ('command = ["true"]\nexpresion = "happy"', "did you mean 'expression'?"),
        ('command = ["true"]\nexpression = "hapy"', "did you mean 'happy'?"),
        ('command = "rm -rf x"', "expected `array`"),
        ('command = [""]', "no program"),
    ],
)
def test_a_wrong_action_is_one_line_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, fact: str) -> None:
    (tmp_path / "config.toml").write_text(f"[[action]]\n{table}\n")
    assert main(["check-config", str(tmp_path / "config.toml")]) == 1
    line = one_line(capsys.readouterr().err)
    assert fact in line
    assert "action" in line


def test_a_missing_program_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"action number 1: .*'nowhere-to-be-found'"):
        check_actions([ActionSettings(command=["nowhere-to-be-found"])], [])


def test_a_run_executes_the_configured_action(edgefer: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"sinks = ['jsonl:frames.jsonl']\n[[action]]\ncommand = {json.dumps(keep(tmp_path / 'out'))}\n")
    done = edgefer("run", "--config", "config.toml", "--source", "synthetic:?seconds=1&paced=false&size=320x240")
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "out").read_text().splitlines()
    first = next(line for line in map(json.loads, (tmp_path / "frames.jsonl").read_text().splitlines()) if line["faces"])
    assert json.loads(line)["time"] == first["time"]
