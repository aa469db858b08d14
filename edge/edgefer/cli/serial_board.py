"""A microcontroller with the firmware of ``examples/micro`` on a serial line; ``serve.c`` there describes the requests."""

from __future__ import annotations

import os
import select
import struct
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from edgefer.errors import SourceError
from edgefer.types import Pixels

BEGINNING_S = 8.0
"""A board may start again when its line is opened, and asks the same question until it answers."""
AGAIN_S = 2.0
"""Seconds of reading before the question is asked again."""
ANSWER_S = 60.0
"""The longest wait for a face's scores, and until the board takes them all; an emulated board is slow."""
TRIES = 3
"""A face whose checksum the board found wrong is sent again."""


@dataclass(frozen=True, slots=True)
class Firmware:
    """What a board says of itself."""

    model: str
    height_px: int
    width_px: int
    classes: int
    sha256: str
    board: str


class SerialBoard:
    """An open serial line to a board; raises `SourceError` where it cannot be opened or does not answer.

    >>> with SerialBoard("/dev/ttyACM0") as board:
    ...     scores, took_us = board.scores(crop)
    """

    def __init__(self, port: str) -> None:
        self._port = port
        try:
            self._line = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except FileNotFoundError:
            raise SourceError(f"--port {port}: no such device; plug the board in, and list the lines: ls /dev/tty[AU]*") from None
        except OSError as error:
            hint = "; add yourself to its group (dialout), then log in again" if isinstance(error, PermissionError) else ""
            raise SourceError(f"--port {port}: cannot open the serial line: {error.strerror}{hint}") from None
        try:
            tty.setraw(self._line)
            settings = termios.tcgetattr(self._line)
            settings[4] = settings[5] = termios.B115200
            termios.tcsetattr(self._line, termios.TCSANOW, settings)
            self.firmware = self._ask()
        except termios.error:
            os.close(self._line)
            raise SourceError(f"--port {port}: not a serial line; give a device such as /dev/ttyACM0") from None
        except BaseException:
            os.close(self._line)
            raise

    def scores(self, crop: Pixels) -> tuple[bytes, int]:
        """The board's scores (K bytes, in 256ths) of a crop (H, W) uint8, and the microseconds it took; 0 where it has no clock."""
        pixels = crop.tobytes()
        for _ in range(TRIES):
            self._write(b"F" + pixels + struct.pack("<H", fletcher16(pixels)))
            if self._read(1) == b"S":
                answer = self._read(self.firmware.classes + 6)
                took_us, checksum = struct.unpack("<IH", answer[-6:])
                if fletcher16(answer[:-2]) == checksum:
                    return answer[:-6], took_us
            self._drain()
        raise SourceError(f"--port {self._port}: the line changes bytes: {TRIES} checksums in a row were wrong; try another cable or port")

    def close(self) -> None:
        """Close the line; safe to call twice."""
        if self._line >= 0:
            os.close(self._line)
        self._line = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _ask(self) -> Firmware:
        """The board's answer to "?". From the second time on after zeros: they end a request that another program left unfinished."""
        deadline, sent, zeros = time.monotonic() + BEGINNING_S, b"", b""
        while time.monotonic() < deadline:
            self._write(zeros + b"?")
            zeros, again = bytes(2**14), min(deadline, time.monotonic() + AGAIN_S)
            # All lines are read before it is asked again: a board that sends others must not fill both directions.
            while line := self._read_line(again - time.monotonic()):
                sent = (sent + line)[-40:]
                words = line.partition(b"edgefer 1 ")[2].decode(errors="replace").split(maxsplit=5)
                with suppress(ValueError):
                    model, height, width, classes, sha256, board = words
                    self._drain()
                    return Firmware(model, int(height), int(width), int(classes), sha256, board.strip())
        found = f"it sends {sent!r}" if sent else "it sends nothing"
        raise SourceError(f"--port {self._port}: this is not edgefer's firmware: {found}; flash examples/micro as docs/micro.md says")

    def _write(self, content: bytes) -> None:
        deadline = time.monotonic() + ANSWER_S
        while content:
            if not select.select([], [self._line], [], max(0, deadline - time.monotonic()))[1]:
                raise SourceError(f"--port {self._port}: the board takes no bytes; reset it")
            with suppress(BlockingIOError), self._line_kept():
                content = content[os.write(self._line, content) :]

    def _read(self, count: int) -> bytes:
        deadline, got = time.monotonic() + ANSWER_S, b""
        while len(got) < count:
            part = self._read_some(count - len(got), deadline - time.monotonic())
            if not part:
                raise SourceError(f"--port {self._port}: no answer within {ANSWER_S:g} s; reset the board")
            got += part
        return got

    def _read_line(self, timeout_s: float) -> bytes:
        """Bytes up to the end of a line, or those that came until the timeout."""
        deadline, got = time.monotonic() + timeout_s, b""
        while not got.endswith(b"\n") and (part := self._read_some(1, deadline - time.monotonic())):
            got += part
        return got

    def _drain(self) -> None:
        """Drop what is still on its way, such as the answer to an earlier request."""
        while self._read_some(4096, 0.3):
            pass

    def _read_some(self, most: int, timeout_s: float) -> bytes:
        """At least one byte, or none after the timeout."""
        if not select.select([self._line], [], [], max(0, timeout_s))[0]:
            return b""
        with self._line_kept():
            part = os.read(self._line, most)
        if not part:
            raise SourceError(f"--port {self._port}: the other end has closed the line; plug the board in again")
        return part

    @contextmanager
    def _line_kept(self) -> Iterator[None]:
        """Turns the loss of the line into a `SourceError`."""
        try:
            yield
        except BlockingIOError:
            raise
        except OSError as error:
            raise SourceError(f"--port {self._port}: the line was lost: {error.strerror}; plug the board in again") from None


def fletcher16(content: bytes) -> int:
    """The checksum of both directions."""
    low = np.cumsum(np.frombuffer(content, np.uint8), dtype=np.int64)
    return int(low.sum() % 255) << 8 | int(low[-1] % 255) if content else 0
