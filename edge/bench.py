"""The benchmark: edgefer's pipeline against the naive loop, on the same frames, in one run, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import numpy as np

from edge.classify import Classifier
from edge.crop import crop_face
from edge.detectors import open_detector
from edge.errors import SettingsError
from edge.pipeline import open_pipeline
from edge.settings import DetectorSettings, Settings
from edge.sources import open_source
from edge.system import Machine, machine, peak_rss_mb
from edge.types import Frame

WARM_UP_FRAMES = 30
DEFAULT_SOURCE = "synthetic:?paced=false"


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds: the median and the slow end."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Loop(msgspec.Struct, frozen=True):
    """One loop over the frames; reading or drawing the frames is not counted."""

    frames_per_s: float
    cpu_ms_per_frame: float
    wall: Spread


class Report(msgspec.Struct, frozen=True):
    """What ``edgefer bench`` found; temperatures in degrees Celsius, memory in 10^6 bytes."""

    machine: Machine
    source: str
    model: str
    frames: int
    with_face: int
    start_up_s: float
    stages: dict[str, Spread]
    edgefer: Loop
    naive: Loop
    cpu_ratio: float
    """The naive loop's CPU time a frame over edgefer's."""
    peak_rss_mb: float
    temperature_after_c: float | None
    accelerated: bool

    def table(self) -> str:
        """The figures for people."""
        box = self.machine
        lines = [
            f"{box.board}, {box.cores} cores, governor {box.governor or 'not known'}",
            f"temperature {_degrees(box.temperature_c)} before, {_degrees(self.temperature_after_c)} after"
            + (f"; {', '.join(box.throttled)}" if box.throttled else ""),
            f"{self.model} on {self.source}, {self.frames} frames, a face in {self.with_face}"
            + ("" if self.accelerated else "; WITHOUT XNNPACK"),
            "",
            f"{'':22}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'frames/s':>10}",
        ]
        for name, spread in self.stages.items():
            lines.append(f"  {name:20}{spread.p50_ms:9.2f}{spread.p95_ms:9.2f}{spread.p99_ms:9.2f}")
        for name, loop in (("edgefer", self.edgefer), ("naive int8 loop", self.naive)):
            wall = loop.wall
            lines.append(
                f"{name:22}{wall.p50_ms:9.2f}{wall.p95_ms:9.2f}{wall.p99_ms:9.2f}{loop.cpu_ms_per_frame:9.2f}{loop.frames_per_s:10.1f}"
            )
        lines += [
            "",
            f"CPU a frame: the naive loop takes {self.cpu_ratio:.2f} times edgefer's",
            "(naive: full-frame Haar 1.3/5, every face classified every frame)",
            f"peak memory {self.peak_rss_mb:.0f} MB; ready {self.start_up_s:.2f} s after the start of the benchmark",
        ]
        return "\n".join(lines)


def bench(settings: Settings, frames: int) -> Report:
    """Run both loops over the first ``frames`` frames of the source, after a warm-up.

    Raises `SettingsError` when the source holds fewer than two frames.
    """
    if frames < 2:
        raise SettingsError(f"--frames {frames}: at least 2 are needed")
    before, begun_s = machine(), time.perf_counter()
    text = settings.source or DEFAULT_SOURCE
    pipeline = open_pipeline(settings)
    classifier = pipeline.classifier
    stages: dict[str, list[float]] = {}
    found: list[bool] = []
    start_up_s = time.perf_counter() - begun_s

    def ours(frame: Frame) -> None:
        observation = pipeline.process(frame)
        found.append(bool(observation.faces))
        for stage in ("gate", "detect", "classify"):
            stages.setdefault(stage, []).append(observation.timings_ms[stage])

    edgefer, count = _loop(text, ours, frames, pipeline.restart)
    naive, _ = _loop(text, _naive(classifier), frames)
    return Report(
        machine=before,
        source=text,
        model=classifier.card.name,
        frames=count,
        with_face=sum(found[-count:]),
        start_up_s=start_up_s,
        stages={stage: _spread(spent[-count:]) for stage, spent in stages.items()},
        edgefer=edgefer,
        naive=naive,
        cpu_ratio=naive.cpu_ms_per_frame / max(edgefer.cpu_ms_per_frame, 1e-6),
        peak_rss_mb=peak_rss_mb(),
        temperature_after_c=machine().temperature_c,
        accelerated=classifier.accelerated,
    )


def _naive(classifier: Classifier) -> Callable[[Frame], None]:
    """The report's loop with a TFLite model: Haar on the full frame (1.3, 5), every face classified every frame."""
    detector = open_detector(DetectorSettings(scale_factor=1.3, min_neighbors=5))
    card = classifier.card

    def process(frame: Frame) -> None:
        for box in detector(frame.luma, 0):
            classifier(crop_face(frame.luma, box, card.crop_margin, card.input.height_px, card.input.width_px)[None])

    return process


def _loop(
    text: str, process: Callable[[Frame], None], frames: int, begin: Callable[[bool], None] = lambda tracked: None
) -> tuple[Loop, int]:
    """Time ``process`` over a freshly opened source: wall and CPU of the processing alone, warm-up left out."""
    source = open_source(text)
    begin(source.tracked)
    wall_s: list[float] = []
    cpu_s: list[float] = []
    try:
        for index, frame in enumerate(source):
            wall, cpu = time.perf_counter(), time.process_time()
            process(frame)
            wall_s.append(time.perf_counter() - wall)
            cpu_s.append(time.process_time() - cpu)
            if index + 1 >= WARM_UP_FRAMES + frames:
                break
    finally:
        source.close()
    skip = min(WARM_UP_FRAMES, len(wall_s) // 2)
    wall_s, cpu_s = wall_s[skip:], cpu_s[skip:]
    if len(wall_s) < 2:
        raise SettingsError(f"{text}: too few frames to measure; give a longer clip or synthetic:")
    return Loop(len(wall_s) / sum(wall_s), 1000 * sum(cpu_s) / len(cpu_s), _spread([1000 * s for s in wall_s])), len(wall_s)


def _spread(spent_ms: list[float]) -> Spread:
    return Spread(*(round(float(value), 3) for value in np.percentile(spent_ms, [50, 95, 99])))


def _degrees(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0f} °C"
