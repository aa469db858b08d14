"""The stop flag of a run: a signal handler may set it at any time, also in the thread that waits for it."""

from __future__ import annotations

import os
import select
import threading
import weakref
from contextlib import suppress


class StopFlag(threading.Event):
    """A `threading.Event` without locks.

    A signal handler runs in the main thread between any two instructions. An `Event` that is set there, while the same thread is inside
    its `wait`, waits for ever for the event's own lock. This one is a variable and a pipe: the pipe is readable while the flag is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self._up = False
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
            # Not while Python exits: a late signal would write into whatever has the number then.
            weakref.finalize(self, os.close, end).atexit = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._up

    def set(self) -> None:
        """Set it and wake every thread that waits."""
        self._up = True
        with suppress(BlockingIOError):  # full, hence readable
            os.write(self._writer, b"\0")

    def clear(self) -> None:
        """Reset it."""
        self._up = False
        with suppress(BlockingIOError):  # empty
            while os.read(self._reader, 4096):
                pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most ``timeout`` seconds; whether it is set."""
        if not self._up and (timeout is None or timeout > 0):
            waiting = select.poll()
            waiting.register(self._reader, select.POLLIN)
            waiting.poll(None if timeout is None else timeout * 1000)
        return self._up
