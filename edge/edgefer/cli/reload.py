"""A running service takes up a changed configuration on SIGHUP, and keeps the one it has where the new one is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgefer.cli.check_config import check_config
from edgefer.errors import EdgeferError
from edgefer.settings import Settings

TRIAL_S = 30.0
"""Seconds in which a failure is blamed on the configuration just taken up."""

Look = Callable[[Settings, threading.Event, Callable[[str], None]], int]


class Reload:
    """Runs under one configuration after another; ``stop`` ends the present run.

    ``read`` gives the settings as at the start, the flags laid over the file ``config``; without a file there is nothing
    to read again.
    """

    def __init__(
        self, settings: Settings, stop: threading.Event, read: Callable[[], Settings], config: Path | None, say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings, self._stop, self._read, self._config, self._say, self._clock = settings, stop, read, config, say, clock
        self._next: Settings | None = None
        self._ended = False

    def end(self) -> None:
        """Stop for good, whatever waits."""
        self._ended = True
        self._stop.set()

    def ask(self) -> None:
        """Take up the configuration as it is now, if it is sound."""
        if self._config is None:
            self._say("SIGHUP: there is no --config file to read again; going on")
            return
        try:
            check_config(self._config)
            self._next = self._read()
        except EdgeferError as error:
            self._say(f"{error}; going on with the configuration so far")
            return
        self._stop.set()

    def run(self, look: Look) -> int:
        """Until a run ends by itself or is stopped for good; its exit status.

        Raises `EdgeferError` as ``look`` does; under a configuration just taken up, the one before is tried again first.
        """
        before: Settings | None = None
        while True:
            begun_s = self._clock()
            try:
                status = look(self._settings, self._stop, self._say)
            except EdgeferError as error:
                if before is None or self._clock() - begun_s > TRIAL_S:
                    raise
                self._say(f"{error}; going back to the configuration before")
                self._settings, before = before, None
                continue
            if self._next is None:
                return status
            before, self._settings, self._next = self._settings, self._next, None
            self._stop.clear()
            if self._ended:
                return status
            self._say(f"{self._config}: read again")
