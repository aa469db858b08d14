"""What the checks look at, and what a check returns."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from edgefer.errors import EdgeferError
from edgefer.machine import board
from edgefer.settings import CONFIG, Settings, load_settings

State = Literal["pass", "warn", "fail"]


class Finding(NamedTuple):
    """The result of one check; ``fix`` is the command that repairs it, empty if nothing is wrong."""

    state: State
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The installation to check: model, configuration, and a machine whose files are below ``root``."""

    model: str = ""
    """A name or a path; empty: the one of the configuration."""
    config: Path | None = None
    """None: `CONFIG` if it exists."""
    folder: Path = Path()
    """The folder that sinks would write to."""
    root: Path = Path("/")
    machine: str = platform.machine()
    bits: int = 64 if sys.maxsize > 2**32 else 32

    @property
    def is_pi(self) -> bool:
        """Whether the board is a Raspberry Pi."""
        return board(self.root).startswith("Raspberry Pi")

    def read(self, path: str) -> str:
        """The text of a file below the root; empty if it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def os_release(self) -> dict[str, str]:
        """``/etc/os-release`` as key and value."""
        lines = (line.split("=", 1) for line in self.read("etc/os-release").splitlines() if "=" in line)
        return {key: value.strip('"') for key, value in lines}

    def model_name(self) -> str:
        """Name or path of the model to check."""
        if self.model:
            return self.model
        try:
            return load_settings(self.config or (CONFIG if CONFIG.exists() else None)).model
        except EdgeferError:
            return Settings().model  # the check "config" reports the error in the file


def pip(arguments: str) -> str:
    """The command that installs with pip into this Python."""
    return f"{sys.executable} -m pip install {arguments}"
