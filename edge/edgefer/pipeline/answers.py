"""The classifier's answers, one per track: when a face is classified again, and the expression it has meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgefer.model.classifier import Classifier
from edgefer.pipeline.alignment import Template
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.roi import Roi
from edgefer.pipeline.smoother import Smoother
from edgefer.settings import Settings
from edgefer.types import Box, Face, Frame, Pixels, Scores, Track, TrackState

_LEAN_DEG, _PHOTO_LEAN_DEG = 20, 5
"""A head that leans more, in a clip and in a photograph, is turned upright. In a clip the roll of a small face is noisy."""
_OTHER_VIEWS = ((-6.0, 1.0), (6.0, 1.0), (0.0, 0.93), (0.0, 1.07))
"""Turn in degrees and scale of four more crops. In a photograph, and of a head that leans, the mean of all five probabilities is the
answer, because the measured roll and box are some degrees and percent off. 98 of 100 photographed heads that are turned by 30 and 45
degrees then keep the label of the upright head; with one crop it was 90."""
_AGREE = 0.15
"""Two answers agree when their probabilities differ by less than this in sum."""
_RIM = 1 / 12
"""Share of a crop, on every side, that is not compared with the crop before: boxes jitter."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The last answer about a face, and a template of the crop that was classified."""

    template: Template
    scores: Scores
    time_s: float
    tolerance: float
    """While the answer is young, the change threshold is multiplied by this."""


class Answers:
    """Classifies the faces that changed, and smooths the answers of each; ``tracked``: frames follow each other."""

    def __init__(self, classifier: Classifier, settings: Settings, tracked: bool) -> None:
        self._classifier, self._settings, smooth = classifier, settings.classify, settings.smooth
        self._tracked = tracked
        below = classifier.card.uncertain_below if smooth.uncertain_below == "model" else smooth.uncertain_below
        self._smoother = Smoother(classifier.labels, smooth.window_s, smooth.margin if tracked else 0, below)
        self._answers: dict[int, _Answer] = {}
        self._faces: dict[int, Face] = {}

    def update(self, frame: Frame, tracks: Sequence[Track]) -> tuple[Face, ...]:
        """The faces of a frame. One that was not found keeps its last expression: its box is a guess."""
        self._classify(frame, [track for track in tracks if track.state is TrackState.FOUND or track.id not in self._answers])
        self._faces = {track.id: self._face(track, frame.time_s) for track in tracks}
        self._answers = {id: answer for id, answer in self._answers.items() if id in self._faces}
        self._smoother.keep(self._faces.keys())
        return tuple(self._faces.values())

    def _face(self, track: Track, time_s: float) -> Face:
        if (track.state is TrackState.LOST or track.missed) and track.id in self._faces:
            return replace(self._faces[track.id], box=track.box)
        label, scores = self._smoother.update(track.id, self._answers[track.id].scores, time_s)
        named = dict(zip(self._classifier.labels, map(float, scores), strict=True))
        return Face(track.id, track.box, label, float(scores.max()), named)

    def _classify(self, frame: Frame, tracks: Sequence[Track]) -> None:
        """Classify the faces without an answer that still holds."""
        for track in tracks:
            leans = abs(track.roll_deg) > (_LEAN_DEG if self._tracked else _PHOTO_LEAN_DEG)
            roll_deg, others = track.roll_deg if leans else 0.0, _OTHER_VIEWS if leans or not self._tracked else ()
            crop, last = self._crop(frame.luma, track.box, roll_deg), self._answers.get(track.id)
            if last is not None and self._holds(last, crop, frame.time_s):
                continue
            crops = [crop, *(self._crop(frame.luma, track.box, roll_deg + turn, scale) for turn, scale in others)]
            scores = self._classifier(np.stack(crops)).mean(axis=0)
            self._answers[track.id] = _Answer(Template(*_compared(crop)), scores, frame.time_s, _tolerance(last, scores))

    def _crop(self, luma: Pixels, box: Box, roll_deg: float, scale: float = 1.0) -> Pixels:
        card = self._classifier.card
        return crop_face(luma, box, card.crop_margin, card.input.height_px, card.input.width_px, roll_deg, scale)

    def _holds(self, answer: _Answer, crop: Pixels, time_s: float) -> bool:
        """Whether an answer is young and the face has not changed since."""
        settings, age_s = self._settings, time_s - answer.time_s
        threshold = settings.change * (answer.tolerance if age_s < settings.calm_s else 1)
        if not (threshold and 0 <= age_s < settings.every_s):
            return False
        match = answer.template.find(*_compared(crop))
        return match is not None and match.change < threshold


def _tolerance(last: _Answer | None, scores: Scores) -> float:
    """While the last two answers agree: 0.5..2.5, by the lead of the likeliest class over the second; else 1."""
    if last is None or float(np.abs(scores - last.scores).sum()) >= _AGREE:
        return 1.0
    second, first = map(float, np.partition(scores, -2)[-2:])
    return 0.5 + 2 * (first - second)


def _compared(crop: Pixels) -> tuple[Roi, Box]:
    """A crop (H, W) as an ROI, and the part of it that is compared."""
    height, width = crop.shape
    x, y = round(width * _RIM), round(height * _RIM)
    return Roi(crop, Box(0, 0, width, height)), Box(x, y, width - 2 * x, height - 2 * y)
