"""Fixtures of the command's tests."""

from __future__ import annotations

import faulthandler
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Run

from edgefer import machine
from edgefer.cli import daemon
from edgefer.cli.main import main


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The command in this process, in an empty folder; signal handlers and the log are restored afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    # A worker that has run TensorFlow's tests holds more than max_memory_mb allows: only what the command adds counts.
    before = machine.resident_bytes()
    monkeypatch.setattr(daemon, "resident_bytes", lambda: machine.resident_bytes() - before)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    root, level = logging.getLogger(), logging.getLogger().level
    log_handlers = root.handlers[:]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, status, out, err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    root.handlers[:] = log_handlers
    root.setLevel(level)
    faulthandler.unregister(signal.SIGUSR1)
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
