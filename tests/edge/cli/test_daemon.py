from __future__ import annotations

import threading

import msgspec
import pytest

from edgefer.cli.daemon import run
from edgefer.errors import MemoryLimit
from edgefer.settings import Settings


def small(max_memory_mb: float) -> Settings:
    source = "synthetic:?size=160x120&seconds=0.2&paced=false"
    return msgspec.structs.replace(Settings(), source=source, sinks=["status:"], max_memory_mb=max_memory_mb)


def test_a_daemon_above_its_memory_limit_ends_with_an_error() -> None:
    with pytest.raises(MemoryLimit, match=r"MB of memory are in use, and max_memory_mb allows 20"):
        run(small(max_memory_mb=20), threading.Event(), lambda _: None)


def test_a_limit_of_0_means_no_limit() -> None:
    assert run(small(max_memory_mb=0), threading.Event(), lambda _: None) == 0
