"""What every output is: the base class of sinks, what a run tells them, and the thread they work in."""

from __future__ import annotations

import logging
import re
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
from edgefer.spec import Spec
from edgefer.types import CameraState, Observation

_LOG = logging.getLogger(__name__)


class QuitRun(Exception):
    """Raised by a sink on the main thread when the user asks to stop."""


_REQUIRED = re.compile(r"([?&])required=(true|false)(?:&|$)")


def split_required(text: str) -> tuple[str, bool]:
    """A sink's spec without the option ``required``, and its value: whether the run ends where the sink cannot be opened."""
    found = _REQUIRED.search(text)
    if not found:
        return text, False
    return (text[: found.start()] + found[1] + text[found.end() :]).rstrip("?&"), found[2] == "true"


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
    open: bool = True
    """Whether it could be opened."""
    page_url: str = ""
    """Address of its web page for other machines, if it has one."""
    privacy_control: PrivacyControl | None = None
    """What its web page may show, if it has one."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """A spec in its parts; ``required`` is an option of every sink, and read by `split_required`."""
        return super().parse(split_required(text)[0])

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


def begin(sinks: Sequence[Sink], about: About) -> list[str]:
    """Tell every sink which run it is part of; returns their lines for people."""
    return [line for sink in sinks if (line := sink.begin(about))]


class Retried(Sink):
    """A sink that could not be opened: it is tried again with growing pauses, and takes observations as soon as it is open.

    Until then each `write` raises `SinkError`, so that the lost observations are counted. Opening may be slow: use it in a `Background`.
    """

    PAUSES_S = (5.0, 300.0)
    """The first and the longest pause; each is twice the one before."""

    def __init__(self, name: str, opener: Callable[[], Sink], why: SinkError, clock: Callable[[], float] = time.monotonic) -> None:
        self.sink: Sink | None = None
        self._name, self._opener, self._why, self._clock = name, opener, why, clock
        self._pause_s, self._longest_s = self.PAUSES_S
        self._next_s = clock() + self._pause_s
        self._about: About | None = None

    @property
    def open(self) -> bool:  # type: ignore[override]
        """Whether it is open now."""
        return self.sink is not None

    def begin(self, about: About) -> str:
        """Keeps what to tell it when it is open."""
        self._about = about
        return ""

    def write(self, observation: Observation) -> None:
        """Open it where that is due, and write."""
        if self.sink is None:
            self.idle()
        if self.sink is None:
            raise self._why
        self.sink.write(observation)

    def idle(self) -> None:
        """Open it where that is due; also without frames."""
        if self.sink:
            self.sink.idle()
        elif self._clock() >= self._next_s:
            self._try()

    def _try(self) -> None:
        try:
            sink = self._opener()
        except SinkError as error:
            self._why, self._pause_s = error, min(2 * self._pause_s, self._longest_s)
            self._next_s = self._clock() + self._pause_s
            return
        line = sink.begin(self._about) if self._about else ""
        self.sink = sink
        _LOG.warning("%s: opened%s%s", self._name, f"; {line}" if line else "", "; images leave this machine" * sink.images_leave)

    def camera(self, state: CameraState) -> None:
        """The camera's state, where it is open."""
        if self.sink:
            self.sink.camera(state)

    def close(self) -> None:
        """Close it, where it is open."""
        if self.sink:
            self.sink.close()


def bare(sink: Sink) -> Sink:
    """The sink itself, without its thread and without its retries."""
    while isinstance(sink, Background | Retried) and sink.sink:
        sink = sink.sink
    return sink


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
    def open(self) -> bool:  # type: ignore[override]
        """Whether the sink is open."""
        return self.sink.open

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
