from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgefer.errors import SinkError
from edgefer.history.store import History
from edgefer.sinks import open_sink
from edgefer.sinks.history import HistorySink
from edgefer.types import Model, Observation

Seen = Callable[..., Observation]
NOON_S = 1_795_608_000
"""A whole minute."""


def open_history(spec: str) -> HistorySink:
    sink = open_sink(spec)
    assert isinstance(sink, HistorySink)
    return sink


def frames_in(path: Path) -> int:
    with suppress(SinkError), closing(History(path, "read")) as history:
        return sum(bucket.frames for bucket in history.buckets(0, 4e9, 86_400))
    return 0  # no file yet, or no tables yet


def test_a_killed_daemon_loses_at_most_its_last_batch(path: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    spec = f"history:{path}?every_s=0.3"
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?size=160x120", "--sink", spec, "--sink", "jsonl:-"]
    printed, deadline_s = 0, time.monotonic() + 120
    for run in (1, 2):
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            # Batches are written while the daemon runs, not at its end.
            while (before := frames_in(path)) < 15 * run:
                assert time.monotonic() < deadline_s
                assert process.stdout.readline()
                printed += 1
            process.send_signal(signal.SIGKILL)
            printed += len(process.stdout.read().splitlines())
        # Nothing written is lost, and every frame is counted once. A queue has up to 64 frames.
        assert before <= frames_in(path) <= printed + 64 * run
        assert not list(path.parent.glob("*.corrupt-*"))


@pytest.mark.parametrize("file", ["/proc/none/history.db", "/proc/history.db"])
def test_a_path_where_no_file_can_be_created_is_refused(file: str) -> None:
    with pytest.raises(SinkError, match="cannot be opened"):
        open_sink(f"history:{file}")


def test_the_labels_are_those_of_the_model_in_use_also_after_a_swap_and_in_a_new_file(path: Path, seen: Seen) -> None:
    sink = open_history(f"history:{path}")
    for labels in (("happy", "sad"), ("joy", "grief")):
        sink.write(replace(seen(NOON_S), model=Model(name="toy", sha256="abc", labels=labels)))
        sink.flush()
        assert sink.history.labels() == list(labels)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM labels")
    sink.close()
    assert History(path, "read").labels() == ["joy", "grief"]


def test_a_sink_that_cannot_write_keeps_its_batches_and_retries(path: Path, seen: Seen) -> None:
    sink = open_history(f"history:{path}?every_s=0.1")
    sink.write(seen(NOON_S))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE changes RENAME TO missing")
        with pytest.raises(SinkError, match="tried again"):
            sink.flush()
        other.execute("ALTER TABLE missing RENAME TO changes")
    sink.write(seen(NOON_S + 1))
    sink.close()
    sink.close()
    (bucket,) = History(path, "read").buckets(0, 2e9, 60)
    assert (bucket.frames, bucket.expressions_s) == (2, {"happy": 1.0})


def test_a_single_frame_is_not_written(path: Path, seen: Seen) -> None:
    sink = open_history(f"history:{path}?every_s=600")
    with closing(sqlite3.connect(path)) as other:

        def commits() -> int:
            return int(other.execute("PRAGMA data_version").fetchone()[0])

        before = commits()
        for n in range(100):
            sink.write(seen(NOON_S + n / 30, ("happy", "sad")[n % 2]))
        assert commits() == before
        sink.flush()
        assert commits() > before
    sink.close()


def test_a_second_daemon_is_told_which_process_writes_the_history(path: Path) -> None:
    first = open_history(f"history:{path}")
    with pytest.raises(SinkError, match=rf"history\.db: process {os.getpid()} "):
        open_sink(f"history:{path}")
    first.close()
    open_history(f"history:{path}").close()
