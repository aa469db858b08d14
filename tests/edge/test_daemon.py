from __future__ import annotations

import threading

import msgspec
import pytest

from edge.daemon import look
from edge.errors import MemoryLimit
from edge.settings import Settings


def test_a_daemon_that_grows_beyond_its_limit_ends_and_says_so() -> None:
    settings = msgspec.structs.replace(
        Settings(), source="synthetic:?size=160x120&seconds=5&paced=false", sinks=["status:"], max_memory_mb=20
    )
    with pytest.raises(MemoryLimit, match=r"MB of memory are in use, and max_memory_mb allows 20"):
        look(settings, threading.Event(), lambda _: None)


def test_no_limit_is_no_limit() -> None:
    settings = msgspec.structs.replace(
        Settings(), source="synthetic:?size=160x120&seconds=0.2&paced=false", sinks=["status:"], max_memory_mb=0
    )
    assert look(settings, threading.Event(), lambda _: None) == 0
