from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest

from edgefer.cli.reload import TRIAL_S, Reload
from edgefer.errors import SourceError
from edgefer.settings import Settings, load_settings

SOUND = 'source = "synthetic:?size=160x120"\nsinks = ["jsonl:{}"]\n'


def wait_for(path: Path, within_s: float = 60) -> str:
    """The text of a file as soon as it has any."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise TimeoutError(f"{path.name} stays empty")


def test_a_running_daemon_loads_a_valid_configuration_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    config, messages = tmp_path / "config.toml", tmp_path / "messages"
    config.write_text(SOUND.format("first.jsonl"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with messages.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgefer", "run", "--config", "config.toml"], cwd=tmp_path, env=environment, stderr=stderr
        )
    with process:
        wait_for(tmp_path / "first.jsonl")
        config.write_text(SOUND.format("second.jsonl") + "[track]\nlost = 3\n")
        process.send_signal(signal.SIGHUP)
        while "going on with the current configuration" not in wait_for(messages):
            time.sleep(0.05)
        assert "config.toml" in messages.read_text()
        assert "lost_s" in messages.read_text()
        config.write_text(SOUND.format("second.jsonl"))
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path / "second.jsonl")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert "Traceback" not in messages.read_text()


def test_a_sighup_at_any_time_of_the_start_neither_ends_the_daemon_nor_is_lost(tmp_path: Path) -> None:
    config, messages = tmp_path / "config.toml", tmp_path / "messages"
    config.write_text(SOUND.format("out.jsonl"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "edgefer", "run", "--config", "config.toml"]
    # With a mask the kernel keeps the signal from the first instruction on: Python itself takes a while to start.
    mask = partial(signal.pthread_sigmask, signal.SIG_BLOCK, {signal.SIGHUP})
    with (
        messages.open("w") as stderr,
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=stderr, preexec_fn=mask) as process,  # noqa: PLW1509
    ):
        try:
            until_s = time.monotonic() + 60
            while not (tmp_path / "out.jsonl").exists():
                assert process.poll() is None, messages.read_text()
                assert time.monotonic() < until_s
                process.send_signal(signal.SIGHUP)
                time.sleep(0.02)
            while "reloaded" not in wait_for(messages):
                time.sleep(0.05)
            for _ in range(2000):
                process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert "Traceback" not in messages.read_text()
    assert "Error" not in messages.read_text()


class Runs:
    """Replaces `edgefer.cli.daemon.run`: records its settings, then does the next of ``does``."""

    def __init__(self, *does: object) -> None:
        self.seen: list[str] = []
        self._does = list(does)

    def __call__(self, settings: Settings, stop: threading.Event, say: object) -> int:
        self.seen.append(settings.source)
        what = self._does.pop(0)
        if isinstance(what, Exception):
            raise what
        if callable(what):
            what()
        return 0


def reloading(tmp_path: Path, messages: list[str], clock: object = time.monotonic) -> Reload:
    config = tmp_path / "config.toml"
    config.write_text('source = "opencv:1"\n')
    first = msgspec.structs.replace(Settings(), source="opencv:0")
    return Reload(first, threading.Event(), lambda: load_settings(config), config, messages.append, clock)  # type: ignore[arg-type]


def test_a_new_configuration_that_cannot_run_brings_the_previous_one_back(tmp_path: Path) -> None:
    messages: list[str] = []
    reload = reloading(tmp_path, messages)
    runs = Runs(reload.ask, SourceError("no camera 1"), None)
    assert reload.run(runs) == 0
    assert runs.seen == ["opencv:0", "opencv:1", "opencv:0"]
    assert "no camera 1" in messages[-1]
    assert "previous configuration" in messages[-1]


def test_a_failure_long_after_is_not_blamed_on_the_configuration(tmp_path: Path) -> None:
    times = iter([0.0, 100.0, 100.0 + TRIAL_S + 1])
    reload = reloading(tmp_path, [], lambda: next(times))
    with pytest.raises(SourceError):
        reload.run(Runs(reload.ask, SourceError("unplugged")))


def test_a_stop_wins_over_a_pending_reload(tmp_path: Path) -> None:
    reload = reloading(tmp_path, [])
    runs = Runs(lambda: (reload.ask(), reload.end()))
    assert reload.run(runs) == 0
    assert runs.seen == ["opencv:0"]


def test_without_a_file_there_is_nothing_to_reload() -> None:
    messages: list[str] = []
    stop = threading.Event()
    Reload(Settings(), stop, Settings, None, messages.append).ask()
    assert not stop.is_set()
    assert "no --config file" in messages[0]
