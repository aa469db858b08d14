"""How the tests speak of commands and what they say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]
"""Arguments of a command -> the finished process with what it printed."""


def one_line(text: str) -> str:
    """The single line a failed command may say; fails on a traceback or on more."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
