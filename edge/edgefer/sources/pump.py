"""Copies a pipe, or what a server sends, into a pipe that FFmpeg reads: its end can be closed while FFmpeg waits."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_CHUNK = 65_536
_POLL_MS = 250


class Pump:
    """A thread that copies ``chunks`` into a pipe; `close` ends both."""

    PROTOCOL = "pipe"
    """The only protocol that FFmpeg needs for it."""

    def __init__(self, chunks: Iterator[bytes], stop: Callable[[], None] = lambda: None) -> None:
        self._chunks, self._stop = chunks, stop
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._closed = threading.Event()
        self.failure: Exception | None = None
        """Why there are no more bytes; None where they ended by themselves."""
        threading.Thread(target=self._copy, name="pump", daemon=True).start()

    @property
    def address(self) -> str:
        """What FFmpeg opens."""
        return f"{self.PROTOCOL}:{self._read_end}"

    def _copy(self) -> None:
        try:
            for chunk in self._chunks:
                if not self._write(chunk):
                    break
        except Exception as error:  # of many types; the reader of the pipe reports it
            self.failure = error
        os.close(self._write_end)

    def _write(self, chunk: bytes) -> bool:
        """Whether all of it was written; not if the pipe was closed."""
        ready = select.poll()
        ready.register(self._write_end, select.POLLOUT)
        left = memoryview(chunk)
        while left and not self._closed.is_set():
            if ready.poll(_POLL_MS):
                try:
                    left = left[os.write(self._write_end, left) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    return False
        return not self._closed.is_set()

    def close(self) -> None:
        """End the copy; a reader gets the end of the file. Safe to call twice."""
        if not self._closed.is_set():
            self._closed.set()
            self._stop()

    def release(self) -> None:
        """Close the reader's end as well, once nobody reads it."""
        self.close()
        end, self._read_end = self._read_end, -1
        if end >= 0:
            with suppress(OSError):  # closed by an FFmpeg that owns what it opens
                os.close(end)


def chunks_of(path: Path, closed: threading.Event) -> Iterator[bytes]:
    """The bytes of a FIFO or of a pipe, until the writer closes it or ``closed`` is set. Raises `OSError`."""
    # Non-blocking: opening a FIFO would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return _chunks(descriptor, closed)


def _chunks(descriptor: int, closed: threading.Event) -> Iterator[bytes]:
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    try:
        while not closed.is_set():
            if not ready.poll(_POLL_MS):
                continue
            with suppress(BlockingIOError):
                if not (chunk := os.read(descriptor, _CHUNK)):
                    return
                yield chunk
    finally:
        os.close(descriptor)
