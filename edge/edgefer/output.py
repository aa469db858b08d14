"""What every output is: the protocol of a sink, what a run tells it, and the thread it works in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgefer.log_once import LogOnce
from edgefer.queues import Mailbox
from edgefer.types import CameraState, Observation

_LOG = logging.getLogger(__name__)


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

    # Where a sink has them: ``begin(about)``, see `begin`; ``camera(state)``, called when a live camera's state changes;
    # the static ``check(spec)``, which raises without opening anything.


@dataclass(frozen=True, slots=True)
class About:
    """What a sink may want to say of the run it is part of."""

    version: str
    source: str
    """The source's description of itself."""
    model: Callable[[], Mapping[str, Any]]
    """What `edgefer.model.describe` says of the model in use, which may change in a long run."""
    sinks: Sequence[Sink]
    """All sinks of the run, those in threads of their own as `Background`."""


def begin(sinks: Sequence[Sink], about: About) -> list[str]:
    """Tell every sink that asks (has a method ``begin(about)``) what it is part of; returns what they want people to know."""
    bare = (sink.sink if isinstance(sink, Background) else sink for sink in sinks)
    return [said for sink in bare if hasattr(sink, "begin") and (said := sink.begin(about))]


class Background:
    """A sink in a thread of its own behind a bounded mailbox, so that a slow one never holds up the frames.

    ``stop`` ends the run: it is set when the reader of a pipe goes away. ``lossless`` makes the frames wait, until then,
    instead of dropping observations: for files, which have no clock.
    """

    main_thread = False
    SLOTS = 64

    def __init__(self, sink: Sink, name: str, stop: threading.Event, lossless: bool) -> None:
        self.sink, self.name, self._stop, self._lossless = sink, name, stop, lossless
        self._mailbox: Mailbox[Observation | CameraState] = Mailbox(self.SLOTS)
        self._log_once = LogOnce(_LOG)
        self.failed = 0
        """Observations that could not be written."""
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Observations this sink was too slow for."""
        return self._mailbox.dropped

    def write(self, observation: Observation) -> None:
        """Hand over; returns at once unless lossless and full."""
        self._mailbox.put(observation, wait_until=self._stop if self._lossless else None)

    def camera(self, state: CameraState) -> None:
        """Hand over what the camera is up to, where the sink wants to know."""
        if hasattr(self.sink, "camera"):
            self._mailbox.put(state)

    def finish(self) -> None:
        """No more observations; what is queued is still written, then the sink is closed. Returns at once."""
        self._mailbox.close()

    def close(self, within_s: float = 2.0) -> None:
        """Wait until what is queued is written and the sink closed; gives up after ``within_s`` seconds."""
        self.finish()
        self._thread.join(timeout=within_s)
        if self._thread.is_alive():
            _LOG.error("%s: did not finish writing in time", self.name)

    def complaint(self) -> str:
        """What went wrong, for the end of a run; empty when all is well."""
        counts = ((self.failed, "could not be written"), (self.dropped, "dropped because it was slow"))
        said = ", ".join(f"{count} observations {what}" for count, what in counts if count)
        return f"{self.name}: {said}" if said else ""

    def _work(self) -> None:
        while (item := self._mailbox.get()) is not None:
            self._guard(self.sink.camera if isinstance(item, CameraState) else self.sink.write, item)  # type: ignore[attr-defined]
        # Here, so that no sink waits for another's closing.
        self._guard(self.sink.close)

    def _guard(self, call: Callable[..., None], *arguments: Observation | CameraState) -> None:
        """A failing output is logged once per kind of failure and counted; the frames go on."""
        try:
            call(*arguments)
        except BrokenPipeError:
            # The reader of a pipe went away ("| head"): nobody wants the rest.
            self._stop.set()
        except Exception as error:
            self.failed += 1
            self._log_once(logging.ERROR, f"{self.name}: {error}", kind=type(error).__name__)


def close_all(sinks: Sequence[Sink], within_s: float = 2.0) -> None:
    """Close every sink; all those in threads of their own share the one time limit."""
    deadline_s = time.monotonic() + within_s
    background = [sink for sink in sinks if isinstance(sink, Background)]
    for sink in background:
        sink.finish()
    for sink in background:
        sink.close(max(0.05, deadline_s - time.monotonic()))
    for other in sinks:
        if not isinstance(other, Background):
            other.close()
