"""Outputs, by the scheme of their spec; each runs in its own thread unless it says otherwise."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from edge.mailbox import Mailbox
from edge.plug import parse_spec, resolve
from edge.types import Observation

__all__ = ["SINKS", "Background", "QuitRun", "Sink", "open_sink"]

_LOG = logging.getLogger(__name__)

SINKS = {
    "jsonl": "edge.sinks.jsonl:JsonLines",
    "display": "edge.sinks.display:Display",
    "snapshots": "edge.sinks.snapshots:Snapshots",
    "status": "edge.sinks.status:Status",
}
"""Scheme -> "module:Class", imported on use. A class is called with the spec and raises `SinkError`."""


class QuitRun(Exception):
    """Raised by a sink on the main thread when the person in front of it asks to stop."""


class Sink(Protocol):
    """Takes observations; closing twice is safe and flushes."""

    main_thread: bool
    """Must be written from the main thread, as windows must."""

    def write(self, observation: Observation) -> None:
        """Take one observation; may be slow."""

    def close(self) -> None:
        """Flush and release."""


def open_sink(text: str) -> Sink:
    """Open the sink a spec names; raises `SettingsError` for a bad spec, `SinkError` where it cannot be opened."""
    spec = parse_spec(text)
    sink: Sink = resolve(SINKS, spec.scheme, "sink")(spec)
    return sink


class Background:
    """A sink in a thread of its own behind a bounded mailbox, so that a slow one never holds up the frames.

    ``lossless`` makes the frames wait instead of dropping observations: for files, which have no clock.
    """

    main_thread = False
    SLOTS = 64

    def __init__(self, sink: Sink, name: str, lossless: bool) -> None:
        self._sink, self._name, self._lossless = sink, name, lossless
        self._mailbox: Mailbox[Observation] = Mailbox(self.SLOTS)
        self._faults: dict[type[Exception], int] = {}
        self.failed = 0
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Observations this sink was too slow for."""
        return self._mailbox.dropped

    def write(self, observation: Observation) -> None:
        """Hand over; returns at once unless lossless and full."""
        self._mailbox.put(observation, wait=self._lossless)

    def close(self) -> None:
        """Write out what is queued, then close the sink; gives up after 3 seconds."""
        self._mailbox.close()
        self._thread.join(timeout=3)
        if self._thread.is_alive():
            _LOG.error("%s: did not finish writing within 3 s", self._name)
        else:
            self._guard(self._sink.close)

    def _work(self) -> None:
        while (observation := self._mailbox.get()) is not None:
            self._guard(self._sink.write, observation)

    def _guard(self, call: Callable[..., None], *arguments: Observation) -> None:
        """A failing output is logged once per kind of failure and counted; the frames go on."""
        try:
            call(*arguments)
        except Exception as error:
            self.failed += 1
            if type(error) not in self._faults:
                _LOG.error("%s: %s (said once; counted from here on)", self._name, error)
            self._faults[type(error)] = self._faults.get(type(error), 0) + 1
