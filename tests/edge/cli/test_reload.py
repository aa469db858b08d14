from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from edgefer.cli.reload import TRIAL_S, Reload
from edgefer.errors import SourceError
from edgefer.settings import Settings, load_settings

SOUND = 'source = "synthetic:?size=160x120"\nsinks = ["jsonl:{}"]\n'


def wait_for(path: Path, within_s: float = 30) -> str:
    """The text of a file as soon as it has any."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise TimeoutError(f"{path.name} stays empty")


def test_a_running_daemon_takes_up_a_sound_configuration_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    config, said = tmp_path / "config.toml", tmp_path / "said"
    config.write_text(SOUND.format("first.jsonl"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgefer", "run", "--config", "config.toml"], cwd=tmp_path, env=environment, stderr=stderr
        )
    with process:
        wait_for(tmp_path / "first.jsonl")
        config.write_text(SOUND.format("second.jsonl") + "[track]\nlost = 3\n")
        process.send_signal(signal.SIGHUP)
        while "going on with the current configuration" not in wait_for(said):
            time.sleep(0.05)
        assert "config.toml" in said.read_text()
        assert "lost_s" in said.read_text()
        config.write_text(SOUND.format("second.jsonl"))
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path / "second.jsonl")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert "Traceback" not in said.read_text()


class Runs:
    """Stands for `edgefer.cli.daemon.run`: notes the settings it is called with, and does what it is told to."""

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


def reloading(tmp_path: Path, said: list[str], clock: object = time.monotonic) -> Reload:
    config = tmp_path / "config.toml"
    config.write_text('source = "opencv:1"\n')
    first = msgspec.structs.replace(Settings(), source="opencv:0")
    return Reload(first, threading.Event(), lambda: load_settings(config), config, said.append, clock)  # type: ignore[arg-type]


def test_a_new_configuration_that_cannot_run_brings_the_one_before_back(tmp_path: Path) -> None:
    said: list[str] = []
    reload = reloading(tmp_path, said)
    runs = Runs(reload.ask, SourceError("no camera 1"), None)
    assert reload.run(runs) == 0
    assert runs.seen == ["opencv:0", "opencv:1", "opencv:0"]
    assert said[-1] == "no camera 1; going back to the previous configuration"


def test_a_failure_long_after_is_not_blamed_on_the_configuration(tmp_path: Path) -> None:
    times = iter([0.0, 100.0, 100.0 + TRIAL_S + 1])
    reload = reloading(tmp_path, [], lambda: next(times))
    with pytest.raises(SourceError):
        reload.run(Runs(reload.ask, SourceError("unplugged")))


def test_who_ends_it_wins_over_who_reloads_it(tmp_path: Path) -> None:
    reload = reloading(tmp_path, [])
    runs = Runs(lambda: (reload.ask(), reload.end()))
    assert reload.run(runs) == 0
    assert runs.seen == ["opencv:0"]


def test_without_a_file_there_is_nothing_to_read_again() -> None:
    said: list[str] = []
    stop = threading.Event()
    Reload(Settings(), stop, Settings, None, said.append).ask()
    assert not stop.is_set()
    assert "no --config file" in said[0]
