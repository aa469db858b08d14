from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from command import Run, one_line
from mosquitto import free_port

from edgefer.cli.checks.outputs import outputs
from edgefer.cli.checks.target import Target
from edgefer.errors import SinkError
from edgefer.output import About, Background, Retried, Sink, split_required
from edgefer.sinks import SINKS, open_sink
from edgefer.stop import StopFlag
from edgefer.types import Frame, Observation

DEADLINE_S = 60.0
LIVE = "synthetic:?size=160x120&fps=30"


def observation() -> Observation:
    import numpy as np

    return Observation(Frame(0, 1.0, np.zeros((48, 48), np.uint8)), ())


@contextmanager
def daemon(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "edgefer", "run", "--source", LIVE, *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: object, what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("history:", ("history:", False)),
        ("history:?required=true", ("history:", True)),
        ("history:h.db?required=true&every_s=2", ("history:h.db?every_s=2", True)),
        ("history:h.db?every_s=2&required=false", ("history:h.db?every_s=2", False)),
        ("http://0.0.0.0:80?token_file=t&required=true", ("http://0.0.0.0:80?token_file=t", True)),
    ],
)
def test_every_sink_has_the_option_required(text: str, expected: tuple[str, bool]) -> None:
    assert split_required(text) == expected


def test_the_option_required_is_checked_like_any_other(tmp_path: Path) -> None:
    SINKS.check(f"history:{tmp_path}/h.db?required=true")
    SINKS.check("mqtt://host/base/node?required=true")
    open_sink(f"jsonl:{tmp_path}/out?required=false").close()
    assert (tmp_path / "out").exists()


class Opened(Sink):
    def __init__(self) -> None:
        self.taken = 0
        self.told = False

    def begin(self, about: About) -> str:
        self.told = True
        return "here"

    def write(self, observation: Observation) -> None:
        self.taken += 1

    def close(self) -> None:
        pass


def test_an_output_that_cannot_be_opened_is_tried_again_with_growing_pauses_and_its_losses_are_counted() -> None:
    now, tries, opened = [0.0], [], Opened()

    def opener() -> Sink:
        tries.append(now[0])
        if len(tries) < 3:
            raise SinkError("still full")
        return opened

    retried = Retried("history:", opener, SinkError("full"), lambda: now[0])
    sink = Background(retried, "history:", StopFlag(), lossless=True)
    sink.begin(About("1", "test", lambda: {}, ()))
    for second in range(60):
        now[0] = float(second)
        sink.write(observation())
        until(lambda second=second: sink.failed + opened.taken == second + 1, "not taken")
        assert sink.open == bool(opened.taken)
    sink.close()
    assert tries == [5, 15, 35]
    assert (opened.taken, sink.failed, opened.told) == (25, 35, True)


def test_a_daemon_goes_on_where_a_port_is_taken_and_opens_the_page_when_it_is_free(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with daemon(tmp_path, "--sink", f"http://127.0.0.1:{port}", "--sink", "jsonl:out.jsonl") as process:
            until(lambda: (tmp_path / "out.jsonl").exists() and (tmp_path / "out.jsonl").stat().st_size, "no observation")
            taken.close()

            def losses() -> dict[str, object]:
                try:
                    with closing(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state", timeout=5)) as answer:
                        return dict(json.loads(answer.read())["vitals"]["sinks"][f"http:127.0.0.1:{port}"])
                except OSError:
                    return {}

            until(lambda: losses().get("open"), "the page never opened")
            process.send_signal(signal.SIGTERM)
            assert process.stderr
            messages = process.stderr.read()
            assert process.wait(DEADLINE_S) == 1, "observations were lost"
    assert "tried again" in messages
    assert "opened" in messages


@pytest.mark.parametrize("which", ["required", "of a clip"])
def test_a_required_output_and_one_of_a_clip_end_the_run(edgefer: Run, clip: Path, which: str) -> None:
    source, sink = (LIVE, "jsonl:/nowhere/x?required=true") if which == "required" else (f"file:{clip}", "jsonl:/nowhere/x")
    done = edgefer("run", "--source", source, "--sink", sink, "--sink", "jsonl:out")
    assert done.returncode == 1
    assert "/nowhere/x" in one_line(done.stderr)


def test_doctor_names_an_output_that_cannot_be_opened(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(
            f'sinks = ["status:", "jsonl:{tmp_path}/file/out", "http://127.0.0.1:{port}", "http://127.0.0.1:{free_port()}"]\n'
        )
        found = outputs(Target(config=config))
    assert found.state == "fail"
    assert f"{tmp_path}/file is not a folder" in found.found
    assert f"127.0.0.1:{port}: cannot listen there" in found.found
    config.write_text(f'sinks = ["status:", "history:{tmp_path}/h.db"]\n')
    assert outputs(Target(config=config)).state == "pass"
    assert not (tmp_path / "h.db").exists()
