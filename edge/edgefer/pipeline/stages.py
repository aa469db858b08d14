"""The stages: one frame through gate, searches, tracker and classification to an observation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from edgefer.detectors import Detector, open_detector
from edgefer.model.classifier import Classifier
from edgefer.pipeline.answers import Answers
from edgefer.pipeline.ignored import Ignored
from edgefer.pipeline.known_faces import KnownFaceSearch
from edgefer.pipeline.motion import Gate, Motion
from edgefer.pipeline.new_faces import NewFaceSearch, distinct
from edgefer.pipeline.tracker import Tracker
from edgefer.settings import Settings
from edgefer.types import Detection, Frame, Observation, Track

Clock = Callable[[], float]
Found = TypeVar("Found", Detection, Track)


class Pipeline:
    """Turns frames into observations and keeps all state between them; one thread.

    ``tracked``: frames follow each other. If not, every frame starts afresh, and its faces are numbered from 1.
    ``detector`` replaces the detectors that the settings name. ``ignored`` may be replaced between two frames, from any thread.
    """

    def __init__(
        self, settings: Settings, classifier: Classifier, tracked: bool, detector: Detector | None = None, clock: Clock = time.perf_counter
    ) -> None:
        self._settings, self._detector, self.classifier = settings, detector, classifier
        self.ignored, self._clock = Ignored(settings.detector.ignore), clock
        self._detectors: dict[str, Detector] = {}
        self.restart(tracked)

    def restart(self, tracked: bool) -> None:
        """Forget every face; ``tracked``: the next frames follow each other."""
        self._tracked, detector, track = tracked, self._settings.detector, self._settings.track
        new = self._open_detector(detector.name if tracked else detector.photo_name)
        known = self._open_detector(detector.follow_name) if tracked else new
        self._gate = Gate(self._settings.gate.threshold)
        self._known_faces = KnownFaceSearch(known, new)
        self._new_faces = NewFaceSearch(new, known, detector, self._settings.gate.refresh_s)
        self._tracker = Tracker(track.min_iou, track.lost_s, track.min_hits if tracked else 1, track.steady)
        self.swap(self.classifier)

    def swap(self, classifier: Classifier) -> None:
        """Classify with another model from the next frame on; faces keep their ids, their answers start afresh."""
        self.classifier, self._model = classifier, classifier.identity
        self._answers = Answers(classifier, self._settings, self._tracked)

    def _open_detector(self, name: str) -> Detector:
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
            motion = self._gate.compare(frame.luma)
            gated = self._clock()
            tracks = self._track(frame, motion)
        else:
            self.restart(tracked=False)
            tracks = self._tracker.update(self._kept(self._new_faces.photograph(frame.luma), frame), frame.time_s)
        detected = self._clock()
        faces = self._answers.update(frame, tracks)
        timings_ms = {
            "capture": capture_ms,
            "gate": 1000 * (gated - begun),
            "detect": 1000 * (detected - gated),
            "classify": 1000 * (self._clock() - detected),
        }
        return Observation(frame, faces, timings_ms, self._model)

    def _track(self, frame: Frame, motion: Motion) -> list[Track]:
        """The faces of a frame that follows others: known ones, then new ones, then joined to tracks."""
        if motion.cut:
            self._tracker.cut()
        motion = replace(motion, moved=motion.moved & ~self.ignored.cells)
        known = self._known_faces.search(frame.luma, motion, frame.time_s, self._kept(self._tracker.predict(frame.time_s), frame))
        new = self._new_faces.search(frame.luma, motion, frame.time_s, known)
        self._gate.update_reference(known.searched | new.searched)
        detections = self._kept(distinct([*known.detections, *new.detections]), frame)
        return self._kept(self._tracker.update(detections, frame.time_s, known.tracks), frame)

    def _kept(self, found: Sequence[Found], frame: Frame) -> list[Found]:
        """What was found outside the ignored regions."""
        return [one for one in found if not self.ignored.holds(one.box, frame.luma)]


def open_pipeline(settings: Settings | None = None, tracked: bool = True) -> Pipeline:
    """The pipeline that the settings describe; raises `EdgeferError` if the model or the detector cannot be opened.

    ``tracked``: frames follow each other, as those of a camera do; False for single photographs.

    >>> pipeline = open_pipeline()
    >>> for frame in open_source("opencv:0"):
    ...     print(pipeline.process(frame).faces)
    """
    settings = settings or Settings()
    return Pipeline(settings, Classifier(settings.model, settings.threads, settings.classify.prior), tracked)
