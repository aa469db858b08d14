"""A running daemon reloads its configuration on SIGHUP, and keeps the current one if the new one is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgefer.cli.check_config import check_config
from edgefer.errors import EdgeferError
from edgefer.settings import Settings
from edgefer.stop import StopFlag

TRIAL_S = 30.0
"""A failure within this many seconds of a reload is blamed on the new configuration."""

Run = Callable[[Settings, threading.Event, Callable[[str], None]], int]
"""Settings, stop event, message printer -> exit status, as `edgefer.cli.daemon.run`."""


class Reload:
    """Runs under one configuration after another; ``stop`` ends the current run.

    ``read`` reads the settings again: the file ``config`` overridden by the flags. Without a file there is nothing to reload.
    `request` and `end` may be called by signal handlers: they only set flags.
    """

    def __init__(
        self, settings: Settings, stop: threading.Event, read: Callable[[], Settings], config: Path | None, say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings, self._stop, self._read, self._config, self._say, self._clock = settings, stop, read, config, say, clock
        self._next: Settings | None = None
        self._ended = self._over = False
        self._requested = StopFlag()
        self._changing = threading.Lock()
        """Held while a new configuration is handed over: `_next` and ``stop`` change together."""

    def request(self) -> None:
        """Request a reload; several that come at once are one."""
        self._requested.set()

    def end(self) -> None:
        """Stop for good, even if a reload is pending."""
        self._ended = True
        self._stop.set()

    def ask(self) -> None:
        """Reload now; a file with an error is reported and ignored."""
        if self._config is None:
            self._say("SIGHUP: no --config file was given, so there is nothing to reload; going on")
            return
        try:
            check_config(self._config)
            settings = self._read()
        except EdgeferError as error:
            self._say(f"{error}; going on with the current configuration")
            return
        with self._changing:
            self._next = settings
            self._stop.set()

    def run(self, run: Run) -> int:
        """Call ``run`` until it ends by itself or `end` is called; returns its exit status.

        Raises `EdgeferError` as ``run`` does. Under a configuration that was just loaded, the previous one is tried again first.
        """
        threading.Thread(target=self._follow_requests, name="reload", daemon=True).start()
        try:
            return self._run(run)
        finally:
            self._over = True
            self._requested.set()

    def _follow_requests(self) -> None:
        """In a thread: a signal may interrupt the main one in the middle of an import or of a message."""
        while self._requested.wait() and not self._over:
            self._requested.clear()
            try:
                self.ask()
            except Exception as error:  # the next request must find this thread
                self._say(f"the configuration cannot be loaded: {type(error).__name__}: {error}; going on with the current one")

    def _run(self, run: Run) -> int:
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
            with self._changing:
                if self._next is None:
                    return status
                before, self._settings, self._next = self._settings, self._next, None
                self._stop.clear()
            if self._ended:
                return status
            self._say(f"{self._config}: reloaded")
