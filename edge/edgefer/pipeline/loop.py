"""The loop: source -> search (gate, detector) -> tracker -> crop -> classifier -> smoother -> observation -> sinks."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np

from edgefer.detectors import Detector, open_detector
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.output import QuitRun, Sink
from edgefer.pipeline.alignment import Template
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.roi import View
from edgefer.pipeline.search import Search, Sighting
from edgefer.pipeline.smoother import Smoother
from edgefer.pipeline.throttle import Pace
from edgefer.pipeline.tracker import Tracker
from edgefer.queues import Mailbox
from edgefer.settings import Settings
from edgefer.sources import Source
from edgefer.sources.camera_health import Watch
from edgefer.types import Box, CameraState, Face, Frame, Observation, Pixels, Scores, Track

_LOG = logging.getLogger(__name__)
Clock = Callable[[], float]

_CALM = 0.15
"""Two answers whose probabilities differ by less than this in sum are nearly the same."""
_RIM = 1 / 12
"""What share of a crop, on every side, is left out when it is compared with the one before: boxes jitter."""


@dataclass(slots=True)
class _Answer:
    """What the classifier last said of a face, and of which pixels."""

    template: Template
    scores: Scores
    time_s: float
    outlasts: float = 1.0
    """How many times the usual change it outlasts: where the answer before was nearly the same, the more the clearer it is."""


class Pipeline:
    """Turns frames into observations and keeps all state between them; one thread.

    ``tracked`` says whether frames follow each other; if not, each starts afresh, and its faces are numbered from 1.
    ``detector`` takes the place of those the settings name.
    """

    def __init__(
        self, settings: Settings, classifier: Classifier, tracked: bool, detector: Detector | None = None, clock: Clock = time.perf_counter
    ) -> None:
        self._settings, self._detector, self.classifier = settings, detector, classifier
        self._clock = clock
        self._detectors: dict[str, Detector] = {}
        self.restart(tracked)

    def restart(self, tracked: bool) -> None:
        """Forget every face, and say whether the frames to come follow each other."""
        self._tracked, settings = tracked, self._settings
        track = settings.track
        how = settings.detector
        finder, follower = map(self._opened, (how.name, how.follow_name) if tracked else (how.photo_name, how.photo_name))
        self._search = Search(finder, follower, how, settings.gate)
        self._tracker = Tracker(track.min_iou, track.lost_s, track.min_hits if tracked else 1, track.steady)
        self.swap(self.classifier)

    def swap(self, classifier: Classifier) -> None:
        """Ask another model from the next frame on; faces keep their numbers, their answers begin afresh."""
        self.classifier, self._model, smooth = classifier, classifier.identity, self._settings.smooth
        below = classifier.card.uncertain_below if smooth.uncertain_below == "model" else smooth.uncertain_below
        self._smoother = Smoother(classifier.labels, smooth.window_s, smooth.margin if self._tracked else 0, below)
        self._answers: dict[int, _Answer] = {}
        self._faces: dict[int, Face] = {}

    def _opened(self, name: str) -> Detector:
        """The detector given, else the one of that name, opened when it is first needed."""
        if self._detector:
            return self._detector
        if name not in self._detectors:
            self._detectors[name] = open_detector(name, self._settings.detector)
        return self._detectors[name]

    def process(self, frame: Frame, capture_ms: float = 0.0) -> Observation:
        """One frame through every stage."""
        begun = gated = self._clock()
        if self._tracked:
            moved = self._search.moved(frame.luma)
            gated = self._clock()
            seen = self._search.follow(frame.luma, moved, frame.time_s, self._tracker.expected(frame.time_s))
        else:
            self.restart(tracked=False)
            seen = self._search.whole(frame.luma, self._settings.detector.photo_max_side_px)
        tracks = self._tracker.update(seen.boxes, frame.time_s, seen.still, seen.passed, seen.certain)
        detected = self._clock()
        faces = self._classify(frame, tracks, seen)
        timings_ms = {
            "capture": capture_ms,
            "gate": 1000 * (gated - begun),
            "detect": 1000 * (detected - gated),
            "classify": 1000 * (self._clock() - detected),
        }
        return Observation(frame, faces, timings_ms, self._model)

    def _classify(self, frame: Frame, tracks: list[Track], seen: Sighting) -> tuple[Face, ...]:
        """Faces of the tracks; one that was not found in this frame keeps its last answer: its place is a guess."""
        found = [
            track for track in tracks if (track.id not in seen.still and track.seen_s == frame.time_s) or track.id not in self._answers
        ]
        self._ask(frame, found)
        for track in tracks:
            if track.seen_s == frame.time_s or track.id in seen.passed or track.id not in self._faces:
                label, steady = self._smoother.update(track.id, self._answers[track.id].scores, frame.time_s)
                named = dict(zip(self.classifier.labels, map(float, steady), strict=True))
                self._faces[track.id] = Face(track.id, track.box, label, float(steady.max()), named)
        here = {track.id for track in tracks}
        self._smoother.forget(here)
        self._answers = {id: answer for id, answer in self._answers.items() if id in here}
        self._faces = {track.id: replace(self._faces[track.id], box=track.box) for track in tracks}
        return tuple(self._faces.values())

    def _ask(self, frame: Frame, tracks: list[Track]) -> None:
        """Classify the faces whose pixels changed, or whose answer is old."""
        card = self.classifier.card
        changed: list[tuple[int, Pixels]] = []
        for track in tracks:
            crop = crop_face(frame.luma, track.box, card.crop_margin, card.input.height_px, card.input.width_px)
            last = self._answers.get(track.id)
            if last is None or not self._holds(last, crop, frame.time_s):
                changed.append((track.id, crop))
        if changed:
            for (id, crop), scores in zip(changed, self.classifier(np.stack([crop for _, crop in changed])), strict=True):
                last = self._answers.get(id)
                second, first = map(float, np.partition(scores, -2)[-2:])
                calm = last is not None and float(np.abs(scores - last.scores).sum()) < _CALM
                self._answers[id] = _Answer(Template(*_middle(crop)), scores, frame.time_s, 0.5 + 2 * (first - second) if calm else 1)

    def _holds(self, answer: _Answer, crop: Pixels, time_s: float) -> bool:
        """Whether an answer is young, and the face still looks as it did."""
        how, age_s = self._settings.classify, time_s - answer.time_s
        change = how.change * (answer.outlasts if age_s < how.calm_s else 1)
        if not (change and 0 <= age_s < how.every_s):
            return False
        match = answer.template.find(*_middle(crop))
        return match is not None and match.change < change


def _middle(crop: Pixels) -> tuple[View, Box]:
    """A crop (H, W), and the part of it that is compared."""
    height, width = crop.shape
    x, y = round(width * _RIM), round(height * _RIM)
    return View(crop, Box(0, 0, width, height)), Box(x, y, width - 2 * x, height - 2 * y)


def open_pipeline(settings: Settings, tracked: bool = True) -> Pipeline:
    """The pipeline the settings describe; raises `EdgeferError` where the model or the detector cannot be opened.

    >>> pipeline = open_pipeline(Settings())
    >>> for frame in open_source("opencv:0"):
    ...     print(pipeline.process(frame).faces)
    """
    classifier = Classifier(find_model(settings.model), settings.threads, settings.classify.prior)
    return Pipeline(settings, classifier, tracked)


@dataclass(slots=True)
class Summary:
    """What a run did."""

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
    pace: Pace | None = None,
    between: Callable[[int], None] | None = None,
) -> Summary:
    """Frames through the pipeline into the sinks until the source ends, ``stop`` is set, or someone quits.

    A frame on which a stage fails is logged once per kind of failure and counted, and the loop goes on.
    ``pace`` slows a live source down; ``between`` is called before each frame with the number of frames that failed so far.
    Raises `SourceError` when the source fails, or a live one is silent, or repeats itself, for ``timeout_s``.
    """
    pipeline.restart(source.tracked)
    summary, faults, begun_s = Summary(), set[str](), time.monotonic()
    watch = Watch(source.description, getattr(source, "repeats", False), lambda state: _tell(source, sinks, state), timeout_s)
    frames = _frames(source, stop, watch)
    try:
        for frame, capture_ms in frames:
            if between:
                between(summary.faults)
            try:
                observation = pipeline.process(frame, capture_ms)
            except Exception as error:  # the loop's edge: one bad frame must not end a year's run
                summary.faults += 1
                kind = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                if kind not in faults and len(faults) < 100:
                    faults.add(kind)
                    trace = _LOG.isEnabledFor(logging.DEBUG)
                    _LOG.error("frame %d failed: %s (said once; counted from here on)", frame.index, kind, exc_info=trace)
                continue
            if source.live:
                watch.saw(frame.luma)
            summary.add(observation)
            for sink in sinks:
                sink.write(observation)
            if pace and source.live:
                stop.wait(pace.pause_s())
    except QuitRun:
        pass
    finally:
        frames.close()
        summary.seconds = time.monotonic() - begun_s
    return summary


def _tell(source: Source, sinks: Sequence[Sink], state: CameraState) -> None:
    """Say what a camera is up to, in the log and to every output that wants to know."""
    _LOG.warning("%s: %s", source.description, state)
    for sink in sinks:
        if hasattr(sink, "camera"):
            sink.camera(state)


def _frames(source: Source, stop: threading.Event, watch: Watch) -> Generator[tuple[Frame, float], None, None]:
    """Each frame with the milliseconds spent waiting for it."""
    with closing(_newest(source, stop, watch) if source.live else _every(source)) as frames:
        while not stop.is_set():
            asked = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            yield frame, 1000 * (time.perf_counter() - asked)


def _every(source: Source) -> Generator[Frame, None, None]:
    yield from source


def _newest(source: Source, stop: threading.Event, watch: Watch) -> Generator[Frame, None, None]:
    """A live source read in a thread of its own: the newest frame wins, and what it pushed out is counted."""
    mailbox: Mailbox[Frame] = Mailbox(1)
    failure: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        try:
            for frame in source:
                mailbox.put(frame)
                if done.is_set():
                    break
        except Exception as error:  # handed to the main thread, which raises it
            failure.append(error)
        mailbox.close()

    reader = threading.Thread(target=read, name="camera", daemon=True)
    reader.start()
    try:
        while not stop.is_set():
            try:
                # A short wait at a time, so that a stop is heard while the camera hangs.
                frame = mailbox.get(timeout_s=0.25)
            except TimeoutError:
                watch.waits()
                continue
            if frame is None:
                if failure:
                    raise failure[0]
                return
            watch.came()
            yield replace(frame, dropped=mailbox.dropped)
    finally:
        # A thread inside a native call while Python shuts down aborts the process: wait for it, unless it hangs.
        done.set()
        reader.join(timeout=1)
