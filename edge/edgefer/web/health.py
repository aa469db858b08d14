"""How a run is doing: frames, rates, CPU, memory, temperature and losses, for the web page and for the metrics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgefer.machine import resident_bytes, temperature_c, throttled
from edgefer.output import Background, Sink
from edgefer.types import CameraHow, Observation

SILENT_S = 2.0
"""A camera without a frame for this many seconds is silent."""
RATE_S = 2.0
"""Seconds over which the frame rate is measured."""
SAMPLE_S = 1.5
"""Shortest time between two measurements of the CPU; requests in between get the last value."""
FIRMWARE_S = 10.0
"""Shortest time between two queries to the Pi's firmware; each starts a process."""


class Losses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Observations that a sink did not write."""

    dropped: Annotated[int, Meta(description="Dropped because the sink was too slow")]
    failed: Annotated[int, Meta(description="Failed with an error")]
    open: Annotated[bool, Meta(description="False while the sink cannot be opened; it is tried again, and the log has the reason")] = True


class Vitals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the run is doing now."""

    camera: Literal["waiting", CameraHow]
    silent_s: Annotated[float, Meta(description="Seconds since the last frame")]
    uptime_s: float
    frames: int
    frames_per_s: float
    dropped: Annotated[int, Meta(description="Frames of a camera that were skipped because newer ones came")]
    sinks: Annotated[dict[str, Losses], Meta(description="Observations that each sink was too slow for, or could not write")]
    cpu_percent: Annotated[float, Meta(description="Of the whole process, in per cent of one core")]
    memory_mb: Annotated[float, Meta(description="Resident, in 10^6 bytes")]
    temperature_c: Annotated[float | None, Meta(description="The hottest thermal zone; null where there is none")]
    throttled: Annotated[tuple[str, ...], Meta(description="Power and heat problems that a Pi's firmware reports now")]


class Health:
    """Counts observations in one thread; any thread may read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, cpu_clock: Callable[[], float] = time.process_time) -> None:
        self._clock, self._cpu_clock, self._lock = clock, cpu_clock, threading.Lock()
        self._start_s = clock()
        self.frames = self.with_face = self.dropped = self.faces = 0
        self.last_time_s = 0.0
        """When the last frame came, seconds since 1970."""
        self.camera: CameraHow = "live"
        """The state of the camera, from `edgefer.sources.camera_health`."""
        self.stages_s: dict[str, float] = {}
        """Seconds spent in each stage so far."""
        self._arrivals_s: deque[float] = deque(maxlen=512)
        self._sampled_s, self._queried_s = self._start_s, float("-inf")
        self._cpu_s, self._cpu_percent = cpu_clock(), 0.0
        self._firmware: tuple[str, ...] = ()

    def add(self, observation: Observation) -> None:
        """Count one observation."""
        self._arrivals_s.append(self._clock())
        self.last_time_s = time.time()
        self.frames += 1
        self.faces = len(observation.faces)
        self.with_face += bool(observation.faces)
        self.dropped = observation.frame.dropped
        for stage, spent_ms in observation.timings_ms.items():
            self.stages_s[stage] = self.stages_s.get(stage, 0.0) + spent_ms / 1000

    @property
    def silent_s(self) -> float:
        """Seconds since the last frame; since the start while there was none."""
        return self._clock() - (self._arrivals_s[-1] if self._arrivals_s else self._start_s)

    def vitals(self, sinks: Sequence[Sink] = ()) -> Vitals:
        """How the run is doing now; cheap to call often."""
        now_s = self._clock()
        self._sample(now_s)
        arrivals = list(self._arrivals_s)
        recent = [arrived_s for arrived_s in arrivals if now_s - arrived_s <= RATE_S]
        silent_s = self.silent_s
        camera = "silent" if silent_s > SILENT_S else "live" if self.camera == "silent" else self.camera
        return Vitals(
            camera=camera if arrivals else "waiting",
            silent_s=round(silent_s, 1),
            uptime_s=round(now_s - self._start_s, 1),
            frames=self.frames,
            # n frames have n - 1 intervals.
            frames_per_s=round((len(recent) - 1) / max(now_s - recent[0], 1e-3), 1) if len(recent) > 1 else 0.0,
            dropped=self.dropped,
            sinks=_losses(sinks),
            cpu_percent=round(self._cpu_percent, 1),
            memory_mb=round(resident_bytes() / 1e6, 1),
            temperature_c=temperature_c(),
            throttled=self._firmware,
        )

    def _sample(self, now_s: float) -> None:
        """Measure the CPU and query the firmware, where the last values are old enough."""
        with self._lock:
            if now_s - self._sampled_s >= SAMPLE_S:
                cpu_s = self._cpu_clock()
                self._cpu_percent = 100 * (cpu_s - self._cpu_s) / (now_s - self._sampled_s)
                self._sampled_s, self._cpu_s = now_s, cpu_s
            if now_s - self._queried_s >= FIRMWARE_S:
                self._queried_s, self._firmware = now_s, throttled(now_only=True)


def _losses(sinks: Sequence[Sink]) -> dict[str, Losses]:
    """By scheme and last part of the path: readers of the page need not know the folders of this machine."""
    found: dict[str, Losses] = {}
    for sink in sinks:
        if isinstance(sink, Background):
            scheme, colon, path = sink.name.partition("?")[0].partition(":")
            name = scheme + colon + path.rstrip("/").rpartition("/")[2]
            before = found.get(name, Losses(0, 0))
            found[name] = Losses(before.dropped + sink.dropped, before.failed + sink.failed, before.open and sink.open)
    return found
