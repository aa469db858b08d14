"""Progress of a long verb on standard error: a bar on a terminal, one line for each step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_REDRAW_S = 0.1
_BAR = 24


class Progress:
    """Steps of a verb; silent without a ``stream``."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._bar = bool(stream and stream.isatty())
        self._drawn_s = 0.0

    @contextmanager
    def step(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """One step of ``total`` units; yields a function to call with the units done."""
        self._write(f"{name} …\n" if not self._bar else "")
        if self._bar:
            self._draw(name, 0, total)
        try:
            yield lambda done: self._advance(name, done, total)
        finally:
            self._write("\r\x1b[K" if self._bar else "")

    def _advance(self, name: str, done: int, total: int) -> None:
        if self._bar and time.monotonic() - self._drawn_s > _REDRAW_S:
            self._draw(name, done, total)

    def _draw(self, name: str, done: int, total: int) -> None:
        self._drawn_s = time.monotonic()
        filled = _BAR * done // max(1, total)
        self._write(f"\r{name} [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total}\x1b[K")

    def _write(self, text: str) -> None:
        if self._stream and text:
            self._stream.write(text)
            self._stream.flush()
