"""Silences native libraries, which write to standard error without Python."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDERR = 2


class _Silence:
    """The one owner of descriptor 2: calls may be nested, and those of several threads may overlap."""

    def __init__(self) -> None:
        self._lock, self._users, self._saved = threading.Lock(), 0, -1

    def begin(self) -> None:
        """The first user discards what is written."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            try:
                self._saved = os.dup(STDERR)
            except OSError:  # closed already
                self._saved = -1
                return
            if sys.stderr is not None:
                sys.stderr.flush()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, STDERR)
            os.close(null)

    def end(self) -> None:
        """The last user restores the descriptor."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._saved >= 0:
                os.dup2(self._saved, STDERR)
                os.close(self._saved)


_silence = _Silence()


@contextmanager
def silence_native_stderr() -> Iterator[None]:
    """Inside, the process's standard error is discarded; Python still raises its errors.

    TFLite and TensorFlow print banners there, and have no option against it. `separate_stderr` keeps the log out of this.
    """
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


def separate_stderr() -> None:
    """Give Python's standard error a descriptor of its own, so that messages appear while native libraries are silenced.

    A stream that hangs is opened for seconds: the reason why a run ends must not be lost meanwhile. For the start of a program.
    """
    present = sys.stderr
    if present is not sys.__stderr__ or present is None:
        return
    with suppress(OSError):  # closed already
        sys.stderr = os.fdopen(os.dup(STDERR), "w", buffering=1, encoding=present.encoding, errors=present.errors)
