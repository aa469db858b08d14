"""The benchmark: edgefer's pipeline against the loops it replaces, on the same frames, in one run, on this machine."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from edgefer.detectors import open_detector
from edgefer.errors import SettingsError
from edgefer.machine import Machine, machine, peak_rss_mb, process_age_s
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import DetectorSettings, Settings
from edgefer.sources import open_source
from edgefer.types import Frame

WARM_UP_FRAMES = 30
INVOKES = 200
DEFAULT_SOURCE = "synthetic:?paced=false"
LITERT_TOOL = "ai_edge_litert.tools.benchmark_litert_model"
FLOAT_FILES = ("-float32.tflite", "-float16.tflite")
"""What a float file of the same model may be called, beside the int8 one."""


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


class Invoke(msgspec.Struct, frozen=True):
    """One classification, alone."""

    file: str
    threads: int
    wall: Spread


class Report(msgspec.Struct, frozen=True):
    """What ``edgefer bench`` found; temperatures in degrees Celsius, memory in 10^6 bytes."""

    version: str
    machine: Machine
    source: str
    model: str
    frames: int
    with_face: int
    start_up_s: float
    """From the start of the process to its first observation."""
    source_ms_per_frame: float
    """Reading (decoding, drawing) a frame: in none of the other figures, a camera needs none of it."""
    stages: dict[str, Spread]
    edgefer: Loop
    naive: Loop
    """The report's loop with the int8 file: full-frame Haar (1.3, 5), every face classified in every frame."""
    report: Loop | None
    """The report's own loop, Keras ``predict`` and its own network; None where TensorFlow or `train` is not here."""
    cpu_ratio: float
    """The naive loop's CPU time a frame over edgefer's."""
    report_cpu_ratio: float | None
    """The same of the report's own loop."""
    invokes: list[Invoke]
    peak_rss_mb: float
    """Of edgefer alone: before the other loops ran."""
    temperature_after_c: float | None
    throttled_after: tuple[str, ...]
    accelerated: bool
    litert_tool_ms: float | None = None
    """The median of LiteRT's own benchmark tool for the same file on one thread; None where the tool is not here."""


def bench(settings: Settings, frames: int, version: str) -> Report:
    """Run the loops over the first ``frames`` frames of the source, after a warm-up.

    Raises `SettingsError` when the source holds fewer than two frames.
    """
    if frames < 2:
        raise SettingsError(f"--frames {frames}: at least 2 are needed")
    before, text = machine(), settings.source or DEFAULT_SOURCE
    pipeline = open_pipeline(settings)
    stages: dict[str, list[float]] = {}
    found: list[bool] = []
    ready_s: list[float] = []

    def ours(frame: Frame) -> None:
        observation = pipeline.process(frame)
        found.append(bool(observation.faces))
        for stage in ("gate", "detect", "classify"):
            stages.setdefault(stage, []).append(observation.timings_ms[stage])
        if not ready_s:
            ready_s.append(process_age_s())

    edgefer, count, source_ms = measure(text, ours, frames, pipeline.restart)
    rss_mb = peak_rss_mb()
    naive, _, _ = measure(text, _naive(pipeline.classifier), frames)
    report = _reports_loop(text, frames)
    after = machine()
    return Report(
        version=version,
        machine=before,
        source=text,
        model=pipeline.classifier.card.name,
        frames=count,
        with_face=sum(found[-count:]),
        start_up_s=round(ready_s[0], 3),
        source_ms_per_frame=round(source_ms, 3),
        stages={stage: _spread(spent[-count:]) for stage, spent in stages.items()},
        edgefer=edgefer,
        naive=naive,
        report=report,
        cpu_ratio=naive.cpu_ms_per_frame / max(edgefer.cpu_ms_per_frame, 1e-6),
        report_cpu_ratio=report.cpu_ms_per_frame / max(edgefer.cpu_ms_per_frame, 1e-6) if report else None,
        invokes=_invokes(find_model(settings.model), before.cores),
        litert_tool_ms=_litert_tool_ms(find_model(settings.model)),
        peak_rss_mb=rss_mb,
        temperature_after_c=after.temperature_c,
        throttled_after=after.throttled,
        accelerated=pipeline.classifier.accelerated,
    )


def measure(
    text: str, process: Callable[[Frame], None], frames: int, begin: Callable[[bool], None] = lambda tracked: None
) -> tuple[Loop, int, float]:
    """Time ``process`` over a freshly opened source: wall and CPU of the processing alone, warm-up left out.

    Returns the figures, the number of frames measured and the milliseconds of CPU that reading one took.
    """
    source = open_source(text)
    begin(source.tracked)
    wall_s: list[float] = []
    cpu_s: list[float] = []
    read_s: list[float] = []
    try:
        asked = time.process_time()
        for index, frame in enumerate(source):
            wall, cpu = time.perf_counter(), time.process_time()
            read_s.append(cpu - asked)
            process(frame)
            asked = time.process_time()
            wall_s.append(time.perf_counter() - wall)
            cpu_s.append(asked - cpu)
            if index + 1 >= WARM_UP_FRAMES + frames:
                break
    finally:
        source.close()
    skip = min(WARM_UP_FRAMES, len(wall_s) // 2)
    wall_s, cpu_s = wall_s[skip:], cpu_s[skip:]
    if len(wall_s) < 2:
        raise SettingsError(f"{text}: too few frames to measure; give a longer clip or synthetic:")
    figures = Loop(len(wall_s) / sum(wall_s), 1000 * sum(cpu_s) / len(cpu_s), _spread([1000 * s for s in wall_s]))
    return figures, len(wall_s), 1000 * float(np.mean(read_s[skip:]))


def _naive(classifier: Classifier) -> Callable[[Frame], None]:
    detector, card = open_detector("haar", DetectorSettings(scale_factor=1.3, min_neighbors=5)), classifier.card

    def process(frame: Frame) -> None:
        for box in detector(frame.luma, 30):
            classifier(crop_face(frame.luma, box, card.crop_margin, card.input.height_px, card.input.width_px)[None])

    return process


def _reports_loop(text: str, frames: int) -> Loop | None:
    """The student report's loop, in a process of its own: only a checkout with TensorFlow has it."""
    if not importlib.util.find_spec("tensorflow") or not importlib.util.find_spec("train"):
        return None
    command = [sys.executable, "-m", "train.report_loop", text, str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode else msgspec.convert(json.loads(done.stdout), Loop)


def _invokes(model: Path, cores: int) -> list[Invoke]:
    """One classification at 1, 2, 4 threads as far as there are cores; of the float file too, where it lies beside."""
    stem = model.name.removesuffix("-int8.tflite")
    beside = [path for suffix in FLOAT_FILES if (path := model.with_name(stem + suffix)) != model and path.is_file()]
    crop = np.random.default_rng(0).integers(0, 256, (1, 48, 48), np.uint8)
    found = []
    for path in (model, *beside[:1]):
        for threads in (count for count in (1, 2, 4) if count <= max(1, cores)):
            classifier = Classifier(path, threads)
            size = classifier.card.input
            pixels = np.resize(crop, (1, size.height_px, size.width_px))
            spent_ms = []
            for turn in range(INVOKES + INVOKES // 10):
                begun = time.perf_counter()
                classifier(pixels)
                if turn >= INVOKES // 10:
                    spent_ms.append(1000 * (time.perf_counter() - begun))
            found.append(Invoke(path.name, threads, _spread(spent_ms)))
    return found


def _litert_tool_ms(model: Path) -> float | None:
    """A second opinion: the runtime's own benchmark, without our loop, crop or widening around it."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "result.json"
        flags = f"--model={model}", f"--num_runs={INVOKES}", "--num_threads=1", f"--result_json={kept}"
        try:
            subprocess.run([sys.executable, "-m", LITERT_TOOL, *flags], capture_output=True, check=True, timeout=60)
            return float(json.loads(kept.read_bytes())["latency"]["median_ms"])
        except (OSError, subprocess.SubprocessError, ValueError, KeyError):
            return None  # tflite-runtime has no such tool, and LiteRT's asks for a library that only training installs


def _spread(spent_ms: list[float]) -> Spread:
    return Spread(*(round(float(value), 3) for value in np.percentile(spent_ms, [50, 95, 99])))
