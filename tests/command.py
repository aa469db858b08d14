"""How the tests run commands, and what commands print."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

Run = Callable[..., "subprocess.CompletedProcess[str]"]
"""Arguments of a command -> the finished process with its output."""


def in_process(main: Callable[[list[str]], int | None], *arguments: object) -> subprocess.CompletedProcess[str]:
    """The output and exit status of a command, without a new process that has to load TensorFlow."""
    words, out, err = [str(argument) for argument in arguments], io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(words) or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                err.write(end.code)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def one_line(text: str) -> str:
    """The only line of a failed command's output; fails on a traceback or on more lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
