"""How long a loop takes for each frame: wall and CPU time of the processing alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import msgspec
import numpy as np

from edgefer.errors import SettingsError
from edgefer.redact import redact_url
from edgefer.sources import open_source
from edgefer.types import Frame

WARM_UP_FRAMES = 30


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds: the median and the slow end."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Loop(msgspec.Struct, frozen=True):
    """The figures of one loop; reading or drawing the frames is not counted."""

    frames_per_s: float
    cpu_ms_per_frame: float
    wall: Spread


@dataclass(frozen=True, slots=True)
class Measurement:
    """A loop's figures, the number of frames measured, and the CPU time of reading one frame in milliseconds."""

    loop: Loop
    frames: int
    read_ms: float


def measure(
    spec: str,
    process: Callable[[Frame], None],
    frames: int,
    begin: Callable[[bool], None] = lambda tracked: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Measurement:
    """Time ``process`` on the first ``frames`` frames of a source, after a warm-up.

    ``begin`` is called with whether the frames follow each other, ``progress`` with the number of frames processed, warm-up
    included. Raises `SettingsError` if the source has fewer than two frames.
    """
    wall_s: list[float] = []
    cpu_s: list[float] = []
    read_s: list[float] = []
    with closing(open_source(spec)) as source:
        begin(source.tracked)
        read_from = time.process_time()
        for frame in source:
            wall, cpu = time.perf_counter(), time.process_time()
            read_s.append(cpu - read_from)
            process(frame)
            wall_s.append(time.perf_counter() - wall)
            cpu_s.append(time.process_time() - cpu)
            progress(len(wall_s))
            if len(wall_s) >= WARM_UP_FRAMES + frames:
                break
            read_from = time.process_time()
    skip = min(WARM_UP_FRAMES, len(wall_s) // 2)
    wall_s, cpu_s = wall_s[skip:], cpu_s[skip:]
    if len(wall_s) < 2:
        raise SettingsError(f"{redact_url(spec)}: too few frames to measure; give a longer clip or synthetic:")
    loop = Loop(len(wall_s) / sum(wall_s), 1000 * sum(cpu_s) / len(cpu_s), spread([1000 * s for s in wall_s]))
    return Measurement(loop, len(wall_s), 1000 * float(np.mean(read_s[skip:])))


def spread(spent_ms: list[float]) -> Spread:
    """Percentiles of milliseconds, rounded to microseconds."""
    return Spread(*(round(float(value), 3) for value in np.percentile(spent_ms, [50, 95, 99])))
