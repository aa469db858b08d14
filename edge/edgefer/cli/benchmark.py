"""The benchmark: edgefer's pipeline and the loops it replaces, on the same frames, in one run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec
import numpy as np

from edgefer.cli.progress import Progress
from edgefer.detectors import open_detector
from edgefer.errors import SettingsError
from edgefer.machine import Machine, machine, peak_rss_mb, process_age_s
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.measure import WARM_UP_FRAMES, Loop, Spread, measure, spread
from edgefer.pipeline.stages import Pipeline, open_pipeline
from edgefer.settings import DetectorSettings, Settings
from edgefer.types import Frame

INVOKES = 200
DEFAULT_SOURCE = "synthetic:?paced=false"
LITERT_TOOL = "ai_edge_litert.tools.benchmark_litert_model"
FLOAT_FILES = ("-float32.tflite", "-float16.tflite")
"""Endings of a float file of the same model, in the folder of the int8 one."""


class Invoke(msgspec.Struct, frozen=True):
    """One classification, alone."""

    file: str
    threads: int
    wall: Spread


class Report(msgspec.Struct, frozen=True):
    """The figures of ``edgefer bench``: temperatures in degrees Celsius, memory in 10^6 bytes; None for what was not measured."""

    version: str
    machine: Machine
    source: str
    model: str
    frames: int
    with_face: int
    start_up_s: float
    """Seconds from the start of the process to its first observation."""
    source_ms_per_frame: float
    """CPU time of reading (decoding, drawing) one frame; in no other figure, because a camera does not need it."""
    stages: dict[str, Spread]
    edgefer: Loop
    naive: Loop | None
    """The report's loop with the int8 file: Haar on the whole frame (1.3, 5), every face classified in every frame."""
    report: Loop | None
    """The student report's own loop, with Keras ``predict`` and its own network; None without TensorFlow or `train`."""
    cpu_ratio: float | None
    """The naive loop's CPU time per frame, divided by edgefer's."""
    report_cpu_ratio: float | None
    """The same for the report's own loop."""
    invokes: list[Invoke]
    peak_rss_mb: float
    """Of edgefer's loop alone, before the others run."""
    temperature_after_c: float | None
    throttled_after: tuple[str, ...]
    accelerated: bool
    litert_tool_ms: float | None = None
    """The median of LiteRT's own benchmark tool for the same file on one thread; None without the tool."""


def benchmark(settings: Settings, frames: int, version: str, loops: Collection[str], progress: Progress) -> Report:
    """Measure edgefer's loop, and those of ``loops``, on the first ``frames`` frames of the source.

    Raises `SettingsError` if the source has fewer than two frames.
    """
    if frames < 2:
        raise SettingsError(f"--frames {frames}: at least 2 are needed")
    before, spec, total = machine(), settings.source or DEFAULT_SOURCE, frames + WARM_UP_FRAMES
    pipeline = open_pipeline(settings)
    model = find_model(settings.model)
    own = _Recorder(pipeline)
    with progress.step("edgefer's loop", total) as advance:
        measured = measure(spec, own, frames, pipeline.restart, advance)
    rss_mb = peak_rss_mb()
    naive = report = None
    if "naive" in loops:
        with progress.step("naive int8 loop", total) as advance:
            naive = measure(spec, _naive(pipeline.classifier), frames, progress=advance).loop
    if "report" in loops:
        with progress.step("the report's loop, with Keras (minutes on a slow machine)", total):
            report = _report_loop(spec, frames)
    with progress.step("one classification alone", 1):
        invokes, litert_tool_ms = _invokes(model, before.cores), _litert_tool_ms(model)
    after = machine()
    return Report(
        version=version,
        machine=before,
        source=spec,
        model=pipeline.classifier.card.name,
        frames=measured.frames,
        with_face=sum(own.with_face[-measured.frames :]),
        start_up_s=round(own.ready_s, 3),
        source_ms_per_frame=round(measured.read_ms, 3),
        stages={stage: spread(spent[-measured.frames :]) for stage, spent in own.stages_ms.items()},
        edgefer=measured.loop,
        naive=naive,
        report=report,
        cpu_ratio=_ratio(naive, measured.loop),
        report_cpu_ratio=_ratio(report, measured.loop),
        invokes=invokes,
        litert_tool_ms=litert_tool_ms,
        peak_rss_mb=rss_mb,
        temperature_after_c=after.temperature_c,
        throttled_after=after.throttled,
        accelerated=pipeline.classifier.accelerated,
    )


class _Recorder:
    """edgefer's own loop; keeps what each frame took."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.with_face: list[bool] = []
        self.stages_ms: dict[str, list[float]] = {"gate": [], "detect": [], "classify": []}
        self.ready_s = 0.0
        """Age of the process at its first observation."""

    def __call__(self, frame: Frame) -> None:
        observation = self._pipeline.process(frame)
        self.with_face.append(bool(observation.faces))
        for stage, spent_ms in self.stages_ms.items():
            spent_ms.append(observation.timings_ms[stage])
        self.ready_s = self.ready_s or process_age_s()


def _ratio(other: Loop | None, own: Loop) -> float | None:
    return other.cpu_ms_per_frame / max(own.cpu_ms_per_frame, 1e-6) if other else None


def _naive(classifier: Classifier) -> Callable[[Frame], None]:
    detector, card = open_detector("haar", DetectorSettings(scale_factor=1.3, min_neighbors=5)), classifier.card

    def process(frame: Frame) -> None:
        for box in detector(frame.luma, 30):
            classifier(crop_face(frame.luma, box, card.crop_margin, card.input.height_px, card.input.width_px)[None])

    return process


def _report_loop(spec: str, frames: int) -> Loop | None:
    """The student report's loop, in a process of its own; None without a checkout with TensorFlow."""
    if not importlib.util.find_spec("tensorflow") or not importlib.util.find_spec("train"):
        return None
    command = [sys.executable, "-m", "train.report_loop", spec, str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode else msgspec.convert(json.loads(done.stdout), Loop)


def _invokes(model: Path, cores: int) -> list[Invoke]:
    """One classification at 1, 2 and 4 threads, up to the number of cores; also with the float file if there is one."""
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
                started = time.perf_counter()
                classifier(pixels)
                if turn >= INVOKES // 10:
                    spent_ms.append(1000 * (time.perf_counter() - started))
            found.append(Invoke(path.name, threads, spread(spent_ms)))
    return found


def _litert_tool_ms(model: Path) -> float | None:
    """The runtime's own benchmark as a second opinion: without our loop, crop and widening."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "result.json"
        flags = f"--model={model}", f"--num_runs={INVOKES}", "--num_threads=1", f"--result_json={kept}"
        try:
            subprocess.run([sys.executable, "-m", LITERT_TOOL, *flags], capture_output=True, check=True, timeout=60)
            return float(json.loads(kept.read_bytes())["latency"]["median_ms"])
        except (OSError, subprocess.SubprocessError, ValueError, KeyError):
            return None  # tflite-runtime has no such tool, and LiteRT's needs a library that only training installs
