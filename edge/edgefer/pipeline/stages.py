"""The stages: one frame through gate, search, tracker, crop, classifier and smoother to an observation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgefer.detectors import Detector, open_detector
from edgefer.model.classifier import Classifier
from edgefer.pipeline.alignment import Template
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.roi import View
from edgefer.pipeline.search import Search, Sighting
from edgefer.pipeline.smoother import Smoother
from edgefer.pipeline.tracker import Tracker
from edgefer.settings import Settings
from edgefer.types import Box, Face, Frame, Observation, Pixels, Scores, Track

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


def open_pipeline(settings: Settings | None = None, tracked: bool = True) -> Pipeline:
    """The pipeline that the settings describe; raises `EdgeferError` if the model or the detector cannot be opened.

    ``tracked``: frames follow each other, as those of a camera do; False for single photographs.

    >>> pipeline = open_pipeline()
    >>> for frame in open_source("opencv:0"):
    ...     print(pipeline.process(frame).faces)
    """
    settings = settings or Settings()
    return Pipeline(settings, Classifier(settings.model, settings.threads), tracked)
