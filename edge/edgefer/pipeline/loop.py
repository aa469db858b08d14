"""The loop: frames of a source through the pipeline into the sinks, and a summary of the run."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

from edgefer.log_once import LogOnce
from edgefer.output import QuitRun, Sink
from edgefer.pipeline.stages import Pipeline
from edgefer.pipeline.throttle import Throttle
from edgefer.plug import blame
from edgefer.queues import Mailbox
from edgefer.sources import Source
from edgefer.sources.camera_health import CameraHealth
from edgefer.types import CameraState, Frame, Observation

_LOG = logging.getLogger(__name__)

SUSPENDED_S = 3.0
"""A longer time between two waits for a frame, each of 0.25 s, is not the camera's."""


@dataclass(slots=True)
class Summary:
    """Counts of a run."""

    frames: int = 0
    with_face: int = 0
    faults: int = 0
    """Frames on which a stage failed."""
    dropped: int = 0
    seconds: float = 0.0
    expressions: Counter[str] = field(default_factory=Counter)

    def add(self, observation: Observation) -> None:
        """Count one observation."""
        self.frames += 1
        self.with_face += bool(observation.faces)
        self.dropped = observation.frame.dropped
        self.expressions.update(face.expression for face in observation.faces)

    def __str__(self) -> str:
        share = 100 * self.with_face / max(1, self.frames)
        seen = ", ".join(f"{name} {100 * n / self.expressions.total():.0f} %" for name, n in self.expressions.most_common(4))
        return (
            f"{self.frames} frames in {self.seconds:.1f} s ({self.frames / max(self.seconds, 1e-9):.1f} a second), "
            f"a face in {self.with_face} ({share:.1f} %)" + (f": {seen}" if seen else "")
            + (f"; {self.dropped} dropped to stay live" if self.dropped else "")
            + (f"; {self.faults} frames failed" if self.faults else "")
        )  # fmt: skip


def run(
    source: Source,
    pipeline: Pipeline,
    sinks: Sequence[Sink],
    stop: threading.Event,
    timeout_s: float,
    throttle: Throttle | None = None,
    between: Callable[[int], None] | None = None,
) -> Summary:
    """Frames through the pipeline into the sinks until the source ends, ``stop`` is set, or a sink raises `QuitRun`.

    A frame on which a stage fails is logged once per kind of failure and counted, and the loop goes on. ``throttle`` slows a
    live source down. ``between`` is called before each frame with the number of failed frames so far.
    Raises `SourceError` when the source fails, or when a live source that may not pause gives no frame, or the same one, for
    ``timeout_s``.
    """
    pipeline.restart(source.tracked)
    summary, log_once, begun_s = Summary(), LogOnce(_LOG), time.monotonic()
    health = _health(source, sinks, timeout_s)
    frames = _frames(source, stop, health.received, partial(_idle, sinks) if source.pauses else health.waiting)
    try:
        for frame, capture_ms in frames:
            if between:
                between(summary.faults)
            try:
                observation = pipeline.process(frame, capture_ms)
            except Exception as error:  # the loop's edge: one bad frame must not end a run of months
                summary.faults += 1
                kind = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                log_once(logging.ERROR, f"frame {frame.index} failed: {kind}", kind, exc_info=_LOG.isEnabledFor(logging.DEBUG))
                continue
            if source.live:
                health.check(frame.luma)
            summary.add(observation)
            for sink in sinks:
                sink.write(observation)
            if throttle and source.live:
                stop.wait(throttle.pause_s())
    except QuitRun:
        pass
    finally:
        frames.close()
        summary.seconds = time.monotonic() - begun_s
    return summary


def _report(source: Source, sinks: Sequence[Sink], state: CameraState) -> None:
    """Report the state of a camera in the log and to every sink that takes it."""
    _LOG.warning("%s: %s", source.description, state)
    for sink in sinks:
        sink.camera(state)


def _idle(sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        sink.idle()


def _frames(
    source: Source, stop: threading.Event, came: Callable[[], None], waits: Callable[[], None]
) -> Generator[tuple[Frame, float], None, None]:
    """Each frame with the milliseconds spent waiting for it; see `_threaded` for the calls."""
    threaded = source.live or source.pauses
    with closing(_threaded(source, stop, came, waits) if threaded else _every(source)) as frames:
        while not stop.is_set():
            requested_s = time.perf_counter()
            with blame(type(source)):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame, 1000 * (time.perf_counter() - requested_s)


def _every(source: Source) -> Generator[Frame, None, None]:
    yield from source


def _threaded(source: Source, stop: threading.Event, came: Callable[[], None], waits: Callable[[], None]) -> Generator[Frame, None, None]:
    """A source read in a thread of its own, so that a stop is noticed while it waits.

    Of a live one the newest frame wins, and the frames it pushed out are counted; any other waits until its frame is taken. ``came`` is
    called for each frame, ``waits`` a few times a second while there is none.
    """
    mailbox: Mailbox[Frame] = Mailbox(1)
    failure: list[Exception] = []
    done = threading.Event()
    reader = threading.Thread(target=_read, args=(source, mailbox, failure, done), name="camera", daemon=True)
    reader.start()
    last_s = time.monotonic()
    try:
        while not stop.is_set():
            before_s, last_s = last_s, time.monotonic()
            try:
                # Short waits, so that a stop takes effect while the camera hangs.
                frame = mailbox.get(timeout_s=0.25)
            except TimeoutError:
                # After a long gap this process itself was stopped, or the machine slept: no sign of a camera that hangs.
                (came if time.monotonic() - before_s > SUSPENDED_S else waits)()
                continue
            if frame is None:
                if failure:
                    raise failure[0]
                return
            came()
            yield replace(frame, dropped=mailbox.dropped)
    finally:
        # A thread inside a native call while Python shuts down aborts the process: wait for it, unless it hangs.
        done.set()
        if source.pauses:
            source.close()
        reader.join(timeout=1)


def observe(source: Source, pipeline: Pipeline, timeout_s: float) -> Generator[Observation, None, None]:
    """The observations of a source, one for each frame; the same loop as `run`, for programs that have no sinks.

    Raises `SourceError` as `run` does, and whatever a stage raises.
    """
    pipeline.restart(source.tracked)
    health = _health(source, (), timeout_s)
    with closing(_frames(source, threading.Event(), health.received, (lambda: None) if source.pauses else health.waiting)) as frames:
        for frame, capture_ms in frames:
            observation = pipeline.process(frame, capture_ms)
            if source.live:
                health.check(frame.luma)
            yield observation


def _health(source: Source, sinks: Sequence[Sink], timeout_s: float) -> CameraHealth:
    # After a pause the same picture may come again.
    return CameraHealth(source.description, source.repeats or source.pauses, lambda state: _report(source, sinks, state), timeout_s)


def _read(source: Source, mailbox: Mailbox[Frame], failure: list[Exception], done: threading.Event) -> None:
    """Put every frame into the mailbox, until ``done``."""
    try:
        for frame in source:
            mailbox.put(frame, wait_until=None if source.live else done)
            if done.is_set():
                break
    except Exception as error:  # the main thread raises it
        failure.append(error)
    mailbox.close()
