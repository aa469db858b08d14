"""JSON lines: one observation a line, to a file or to standard output."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO, cast

from edgefer.errors import SinkError
from edgefer.observation_json import camera_to_json, to_json
from edgefer.output import Sink
from edgefer.spec import Spec
from edgefer.types import CameraState, Observation


class JsonLines(Sink):
    """JSON, one observation a line: appended to a file, or with - on standard output.

    Every line is whole and flushed.
    """

    forms = ("jsonl:PATH", "jsonl:-")

    def __init__(self, spec: Spec) -> None:
        self._own, self._cut = spec.path != "-", False
        if not self._own and sys.stdout is None:
            raise SinkError(f"{spec}: standard output is closed; write jsonl:PATH")
        try:
            self._file = _append(spec.path) if self._own else sys.stdout.buffer
        except OSError as error:
            raise SinkError(f"{spec}: cannot write there: {error.strerror}") from None

    def write(self, observation: Observation) -> None:
        """One line, flushed at once so that a reader sees it now."""
        self._line(to_json(observation))

    def camera(self, state: CameraState) -> None:
        """A line without faces, so that a reader can tell an empty room from a camera that hangs."""
        self._line(camera_to_json(time.time(), state))

    def _line(self, content: bytes) -> None:
        # A line that a full disk cut off is ended by a newline before the next one: one line is lost, not two.
        line = b"\n" * self._cut + content + b"\n"
        written = self._file.write(line)
        self._cut = written < len(line)
        if self._cut:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._file.flush()

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._own:
            self._file.close()


def _torn(path: Path) -> bool:
    """Whether a regular file ends within a line: the power failed, or the disk was full."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _append(path: str) -> BinaryIO:
    """Open for appending; a named pipe without a reader is an error at once, instead of blocking for ever."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
    os.set_blocking(number, True)
    if _torn(Path(path)):
        os.write(number, b"\n")
    # Unbuffered: a line that a full disk refuses is lost and counted, not kept in a buffer that damages the next.
    return cast(BinaryIO, os.fdopen(number, "ab", buffering=0))
