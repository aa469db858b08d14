"""Histories of made-up minutes, and the command line in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command import Run, in_process

from edgefer.cli.main import main
from edgefer.history.aggregate import Batch, Change, Visit
from edgefer.types import Box, Face, Frame, Observation

NOON_S = 1_795_608_000
"""A whole minute."""

MakeBatch = Callable[..., Batch]
Seen = Callable[..., Observation]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture(scope="session")
def batch() -> MakeBatch:
    """Makes a batch of one minute, one visit and one change."""

    def make(start_s: int = NOON_S, seconds: float = 30.0, expression: str = "happy", track: int = 1) -> Batch:
        made = Batch()
        minute = made.minutes[start_s]
        minute.frames, minute.watched_s = 100, 60.0
        minute.expressions_s[expression] = seconds
        made.visits[track] = Visit(start_s, start_s + seconds)
        made.changes.append(Change(track, start_s, expression, 0.9))
        return made

    return make


@pytest.fixture(scope="session")
def seen() -> Seen:
    """Makes an observation of one face."""

    def make(time_s: float, expression: str = "happy") -> Observation:
        face = Face(1, Box(0, 0, 9, 9), expression, 0.9, {expression: 0.9})
        return Observation(Frame(0, time_s, np.zeros((8, 8), np.uint8)), (face,))

    return make


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For processes that import edgefer."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return partial(in_process, main)
