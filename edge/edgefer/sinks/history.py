"""Observations, aggregated into the history: a batch every few seconds."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from edgefer.errors import SinkError
from edgefer.history.access import WriterLock
from edgefer.history.aggregate import MINUTE_S, Aggregator, Batch
from edgefer.history.location import default_path
from edgefer.history.store import History
from edgefer.history.wall_clock import EARLIEST_S
from edgefer.output import About, Sink
from edgefer.settings import Table
from edgefer.spec import Spec
from edgefer.types import Observation


class HistoryOptions(Table, frozen=True):
    """How often a batch is written, and how much is kept."""

    every_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    """Seconds from one batch to the next, which a power cut can lose."""
    keep_days: Annotated[float, Meta(gt=0)] = 365.0
    """Days after which minutes, visits and changes are deleted."""
    max_mb: Annotated[float, Meta(ge=1)] = 200.0
    """The file's size, in megabytes of 10^6 bytes, above which the oldest rows are deleted."""
    free_mb: Annotated[float, Meta(ge=0)] = 500.0
    """Megabytes free on the disk below which the file no longer grows: new rows replace the oldest."""


class HistorySink(Sink):
    """The history, an SQLite file; without a path in systemd's state directory, else in the user's own."""

    forms = ("history:[PATH]",)
    options = HistoryOptions
    PENDING = 5000
    """Changes kept while the disk refuses them; then the oldest batch is lost."""

    def __init__(self, spec: Spec) -> None:
        self._options = spec.read(HistoryOptions)
        self.path = Path(spec.path) if spec.path else default_path()
        self._writer = WriterLock(self.path)
        try:
            self.history = History(self.path)
        except SinkError:
            self._writer.close()
            raise
        self._aggregator, self._unwritten = Aggregator(), list[Batch]()
        self._labels: list[str] = []
        self._written_s, self._purged_s, self._closed = time.monotonic(), float("-inf"), False
        self._clock_offset_s, self._unset = _clock_offset_s(), time.time() < EARLIEST_S

    def begin(self, about: About) -> str:
        """The path of the history."""
        return f"history: {self.path.resolve()}"

    def write(self, observation: Observation) -> None:
        """Aggregate it, and write every ``every_s``. Raises `SinkError` if that fails; the next batch retries it."""
        self._aggregator.add(observation)
        if observation.model:
            self._labels = list(observation.model.labels)
        if time.monotonic() - self._written_s >= self._options.every_s:
            self.flush()

    def flush(self) -> None:
        """Write the batch."""
        self._written_s = time.monotonic()
        self._unwritten.append(self._aggregator.take())
        while sum(len(batch.changes) + len(batch.minutes) for batch in self._unwritten) > self.PENDING:
            self._unwritten.pop(0)
        try:
            while self._unwritten:
                self.history.add(self._unwritten[0])
                self._unwritten.pop(0)
            if self._unset and time.time() >= EARLIEST_S:
                self._unset = False
                self.history.redate(_clock_offset_s() - self._clock_offset_s)
            # The file knows its labels: the model may have been swapped, or the file set aside.
            if self._labels and self._labels != self.history.labels():
                self.history.keep_labels(self._labels)
            if self._written_s - self._purged_s >= MINUTE_S:
                self._purged_s = self._written_s
                self.history.make_room(self._options.keep_days, self._options.max_mb, self._options.free_mb)
        except (sqlite3.Error, OSError) as error:
            raise SinkError(f"{self.path}: the history cannot be written: {error}; it is tried again") from None

    def close(self) -> None:
        """Write the last batch and close the file."""
        if not self._closed:
            self._closed = True
            try:
                self.flush()
            finally:
                self.history.close()
                self._writer.close()


def _clock_offset_s() -> float:
    """The time of day less a clock that nobody sets: it changes when the time of day is set."""
    return time.time() - time.monotonic()
