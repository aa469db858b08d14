"""How a run is doing: frames, rates, CPU, memory, heat, and what was lost; for the web page and for metrics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from edgefer.machine import resident_bytes, temperature_c, throttled
from edgefer.output import Background, Sink
from edgefer.types import CameraHow, Observation

SILENT_S = 2.0
"""Seconds without a frame after which a camera is called silent."""
RATE_S = 2.0
"""Seconds over which frames a second are counted."""
LOOK_S = 1.5
"""Seconds between looks at CPU and memory: whoever asks in between gets the last answer."""
FIRMWARE_S = 10.0
"""Seconds between questions to the Pi's firmware, each of which starts a process."""


class Lost(msgspec.Struct, frozen=True):
    """Observations an output did not get out."""

    dropped: int
    """It was too slow for them."""
    failed: int
    """It could not write them."""


class Vitals(msgspec.Struct, frozen=True):
    """One look; None where the machine does not say."""

    camera: Literal["waiting", CameraHow]
    silent_s: float
    """Seconds since the last frame."""
    uptime_s: float
    frames: int
    frames_per_s: float
    dropped: int
    """Frames of a camera that newer ones pushed out."""
    sinks: dict[str, Lost]
    cpu_percent: float
    """Of the whole process, in per cent of one core."""
    memory_mb: float
    """Resident, in 10^6 bytes."""
    temperature_c: float | None
    throttled: tuple[str, ...]
    """What the Pi's firmware says of power and heat now."""


class Health:
    """Counts observations in one thread; any other may look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, cpu_clock: Callable[[], float] = time.process_time) -> None:
        self._clock, self._cpu_clock, self._lock = clock, cpu_clock, threading.Lock()
        self._begun_s = clock()
        self.frames = self.with_face = self.dropped = self.faces = 0
        self.last_time_s = 0.0
        """When the last frame came, seconds since 1970."""
        self.camera: CameraHow = "live"
        """What `edgefer.sources.camera_health` says of the camera."""
        self.stages_s: dict[str, float] = {}
        """Seconds spent in each stage so far."""
        self._came_s: deque[float] = deque(maxlen=512)
        self._looked_s, self._asked_s = self._begun_s, float("-inf")
        self._cpu_s, self._cpu_percent = cpu_clock(), 0.0
        self._firmware: tuple[str, ...] = ()

    def add(self, observation: Observation) -> None:
        """Count one observation."""
        self._came_s.append(self._clock())
        self.last_time_s = time.time()
        self.frames += 1
        self.faces = len(observation.faces)
        self.with_face += bool(observation.faces)
        self.dropped = observation.frame.dropped
        for stage, spent_ms in observation.timings_ms.items():
            self.stages_s[stage] = self.stages_s.get(stage, 0.0) + spent_ms / 1000

    @property
    def silent_s(self) -> float:
        """Seconds since the last frame; since the beginning while there was none."""
        return self._clock() - (self._came_s[-1] if self._came_s else self._begun_s)

    def look(self, sinks: Sequence[Sink] = ()) -> Vitals:
        """How things are now; cheap to ask often."""
        now_s = self._clock()
        with self._lock:
            if now_s - self._looked_s >= LOOK_S:
                cpu_s = self._cpu_clock()
                self._cpu_percent = 100 * (cpu_s - self._cpu_s) / (now_s - self._looked_s)
                self._looked_s, self._cpu_s = now_s, cpu_s
            if now_s - self._asked_s >= FIRMWARE_S:
                self._asked_s, self._firmware = now_s, throttled(now_only=True)
        came = list(self._came_s)
        recent = [at for at in came if now_s - at <= RATE_S]
        silent_s = self.silent_s
        return Vitals(
            camera="waiting" if not came else "silent" if silent_s > SILENT_S else "live" if self.camera == "silent" else self.camera,
            silent_s=round(silent_s, 1),
            uptime_s=round(now_s - self._begun_s, 1),
            frames=self.frames,
            # The first of them opens the first interval; it does not fill one.
            frames_per_s=round((len(recent) - 1) / max(now_s - recent[0], 1e-3), 1) if len(recent) > 1 else 0.0,
            dropped=self.dropped,
            sinks=_lost(sinks),
            cpu_percent=round(self._cpu_percent, 1),
            memory_mb=round(resident_bytes() / 1e6, 1),
            temperature_c=temperature_c(),
            throttled=self._firmware,
        )


def _lost(sinks: Sequence[Sink]) -> dict[str, Lost]:
    """By kind and last part of the place: where files lie is nobody's business who only looks on."""
    found: dict[str, Lost] = {}
    for sink in sinks:
        if isinstance(sink, Background):
            kind, colon, place = sink.name.partition("?")[0].partition(":")
            name = kind + colon + place.rstrip("/").rpartition("/")[2]
            before = found.get(name, Lost(0, 0))
            found[name] = Lost(before.dropped + sink.dropped, before.failed + sink.failed)
    return found
