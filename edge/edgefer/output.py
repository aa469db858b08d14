"""What every output is: the base class of sinks, what a run tells them, and the thread they work in."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgefer.errors import SinkError
from edgefer.log_once import LogOnce
from edgefer.plug import Plug
from edgefer.queues import Mailbox
from edgefer.regions import Regions
from edgefer.types import CameraState, Observation

_LOG = logging.getLogger(__name__)


class QuitRun(Exception):
    """Raised by a sink on the main thread when the user asks to stop."""


class PrivacyControl(Protocol):
    """What a page may show, changed during a run."""

    @property
    def level(self) -> str:
        """The level in use."""

    @property
    def allowed(self) -> Sequence[str]:
        """Levels that the configuration allows."""

    def set_level(self, level: str) -> bool:
        """Change the level; False, and no change, where the configuration forbids it."""


class Sink(Plug, ABC):
    """Takes observations. A subclass has `write` and `close`, and overrides of the rest what it needs.

    One that is named by specs is called with a checked `Spec`, and raises `SinkError` if it cannot be opened.
    """

    kind = "sink"
    fault = SinkError
    main_thread: bool = False
    """Works on the main thread, as windows must. Every other sink gets a thread of its own."""
    images_leave: bool = False
    """Images can be seen from another machine."""
    page_url: str = ""
    """Address of its web page for other machines, if it has one."""
    privacy_control: PrivacyControl | None = None
    """What its web page may show, if it has one."""

    def begin(self, about: About) -> str:
        """Called once before the first frame; returns a line for people, or nothing."""
        return ""

    @abstractmethod
    def write(self, observation: Observation) -> None:
        """Take one observation; may be slow. An error is logged and counted, and the next observation comes."""

    def camera(self, state: CameraState) -> None:
        """Called when a live camera's state changes: it is silent, frozen, blocked, or live again."""

    def idle(self) -> None:
        """Called a few times a second, on the main thread, while a source that may pause gives no frame."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left, and release; safe to call twice."""


@dataclass(frozen=True, slots=True)
class About:
    """The run that a sink is part of."""

    version: str
    source: str
    """The source's description of itself."""
    model: Callable[[], Mapping[str, Any]]
    """Facts about the model in use, as `edgefer.model.describe` gives them; it may change in a long run."""
    sinks: Sequence[Sink]
    """All sinks of the run, those in threads of their own as `Background`."""
    regions: Regions | None = None
    """The ignored regions; None: they cannot be changed."""
    paused: threading.Event = field(default_factory=threading.Event)
    """While it is set, no frame is processed."""
    updates: bool = False
    """Models are updated over the air."""


def bare_sinks(sinks: Sequence[Sink]) -> list[Sink]:
    """The sinks themselves, without their threads."""
    return [sink.sink if isinstance(sink, Background) else sink for sink in sinks]


def begin(sinks: Sequence[Sink], about: About) -> list[str]:
    """Tell every sink which run it is part of; returns their lines for people."""
    return [line for sink in sinks if (line := sink.begin(about))]


class Background(Sink):
    """A sink in a thread of its own behind a bounded mailbox: a slow one never holds up the frames.

    ``stop`` ends the run: it is set when the reader of a pipe goes away. ``lossless`` makes the frames wait, until then,
    instead of dropping observations: for files, which have no clock.
    """

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

    def begin(self, about: About) -> str:
        """The sink's own, on the caller's thread."""
        return self.sink.begin(about)

    def write(self, observation: Observation) -> None:
        """Hand over; returns at once unless lossless and full."""
        self._mailbox.put(observation, wait_until=self._stop if self._lossless else None)

    def camera(self, state: CameraState) -> None:
        """Hand over the camera's state."""
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
        """What went wrong, for the end of a run; empty if nothing did."""
        counts = ((self.failed, "could not be written"), (self.dropped, "dropped because it was slow"))
        lost = ", ".join(f"{count} observations {what}" for count, what in counts if count)
        return f"{self.name}: {lost}" if lost else ""

    def _work(self) -> None:
        while (item := self._mailbox.get()) is not None:
            if isinstance(item, CameraState):
                self._guard(self.sink.camera, item)
            else:
                self._guard(self.sink.write, item)
        # Here, so that no sink waits until another is closed.
        self._guard(self.sink.close)

    def _guard(self, call: Callable[..., None], *arguments: Observation | CameraState) -> None:
        """A failing output is logged once per kind of failure and counted; the frames go on."""
        try:
            call(*arguments)
        except BrokenPipeError:
            # The reader of a pipe went away ("| head"): nobody reads the rest.
            self._stop.set()
        except Exception as error:
            self.failed += 1
            self._log_once(logging.ERROR, f"{self.name}: {error}", kind=type(error).__name__)


def close_all(sinks: Sequence[Sink], within_s: float = 2.0) -> None:
    """Close every sink; those in threads of their own share one time limit."""
    deadline_s = time.monotonic() + within_s
    background = [sink for sink in sinks if isinstance(sink, Background)]
    for sink in background:
        sink.finish()
    for sink in background:
        sink.close(max(0.05, deadline_s - time.monotonic()))
    for other in sinks:
        if not isinstance(other, Background):
            other.close()
