"""A running daemon reloads its configuration on SIGHUP, and keeps the current one if the new one is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgefer.cli.check_config import check_config
from edgefer.errors import EdgeferError
from edgefer.settings import Settings

TRIAL_S = 30.0
"""A failure within this many seconds of a reload is blamed on the new configuration."""

Run = Callable[[Settings, threading.Event, Callable[[str], None]], int]
"""Settings, stop event, message printer -> exit status, as `edgefer.cli.daemon.run`."""


class Reload:
    """Runs under one configuration after another; ``stop`` ends the current run.

    ``read`` reads the settings again: the file ``config`` overridden by the flags. Without a file there is nothing to reload.
    """

    def __init__(
        self, settings: Settings, stop: threading.Event, read: Callable[[], Settings], config: Path | None, say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings, self._stop, self._read, self._config, self._say, self._clock = settings, stop, read, config, say, clock
        self._next: Settings | None = None
        self._ended = False

    def end(self) -> None:
        """Stop for good, even if a reload is pending."""
        self._ended = True
        self._stop.set()

    def ask(self) -> None:
        """Request a reload; a file with an error is reported and ignored."""
        if self._config is None:
            self._say("SIGHUP: no --config file was given, so there is nothing to reload; going on")
            return
        try:
            check_config(self._config)
            self._next = self._read()
        except EdgeferError as error:
            self._say(f"{error}; going on with the current configuration")
            return
        self._stop.set()

    def run(self, run: Run) -> int:
        """Call ``run`` until it ends by itself or `end` is called; returns its exit status.

        Raises `EdgeferError` as ``run`` does. Under a configuration that was just loaded, the previous one is tried again first.
        """
        before: Settings | None = None
        while True:
            started_s = self._clock()
            try:
                status = run(self._settings, self._stop, self._say)
            except EdgeferError as error:
                if before is None or self._clock() - started_s > TRIAL_S:
                    raise
                self._say(f"{error}; going back to the previous configuration")
                self._settings, before = before, None
                continue
            if self._next is None:
                return status
            before, self._settings, self._next = self._settings, self._next, None
            self._stop.clear()
            if self._ended:
                return status
            self._say(f"{self._config}: reloaded")
