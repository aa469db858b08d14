from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest

from edgefer.model.classifier import Classifier
from edgefer.pipeline.answers import Answers
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import ClassifySettings, Settings, SmoothSettings
from edgefer.sources import open_source
from edgefer.types import Box, Frame, Track, TrackState


@cache
def frames() -> list[Frame]:
    """Four seconds of a drawn face."""
    return list(open_source("synthetic:?paced=false&seconds=4&size=320x240"))


def classified(classifier: Classifier, scores: list[list[float]] | None = None, **settings: float) -> int:
    """Crops classified in four seconds of a drawn face; ``scores``, in turn, replace those of the model."""
    batches: list[int] = []

    class Counted:
        card, labels, identity = classifier.card, classifier.labels, classifier.identity

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            batches.append(len(crops))
            return np.float32([scores[len(batches) % len(scores)]] * len(crops)) if scores else classifier(crops)

    changed = msgspec.structs.replace(Settings(), classify=ClassifySettings(**settings))
    pipeline = Pipeline(changed, Counted(), tracked=True)  # type: ignore[arg-type]
    for frame in frames():
        pipeline.process(frame)
    return sum(batches)


def test_a_face_that_hardly_changes_is_classified_twice_a_second(classifier: Classifier) -> None:
    assert classified(classifier, change=0.0) >= 30
    assert 7 <= classified(classifier, change=255.0) <= 11, "twice a second"


def test_a_face_with_clear_answers_that_agree_is_classified_less_often(classifier: Classifier) -> None:
    clear, other, balanced = [0.9, 0.1, 0, 0, 0, 0, 0], [0.1, 0.9, 0, 0, 0, 0, 0], [0.45, 0.4, 0.15, 0, 0, 0, 0]
    always = classified(classifier, calm_s=0.0)
    assert classified(classifier, [clear]) < 0.6 * always
    assert classified(classifier, [clear], calm_s=0.0) == always
    assert classified(classifier, [clear, other]) == always, "answers that differ"
    assert classified(classifier, [balanced]) > always, "answers near a tie"


def test_a_lost_face_keeps_its_last_answer(classifier: Classifier) -> None:
    pipeline = Pipeline(Settings(), classifier, tracked=True)
    for frame in frames()[:30]:
        seen = pipeline.process(frame)
    assert seen.faces
    # Only the face is covered: another picture would be a cut.
    wall, box = frame.luma.copy(), seen.faces[0].box
    wall[:, box.x - 15 : box.x + box.w + 15] = 120
    after = pipeline.process(Frame(frame.index + 1, frame.time_s + 0.1, wall))
    assert [(face.track, face.expression, face.scores) for face in after.faces] == [
        (face.track, face.expression, face.scores) for face in seen.faces
    ]
    assert pipeline.process(Frame(frame.index + 2, frame.time_s + 1.0, wall)).faces == ()


@pytest.mark.parametrize(
    ("state", "classified", "score"),
    [
        (TrackState.FOUND, 2, 1.0),
        (TrackState.STATIC, 1, 0.6),
        (TrackState.SKIPPED, 1, 0.6),
        (TrackState.LOST, 1, 0.6),
    ],
)
def test_only_a_found_face_is_classified_again(classifier: Classifier, state: TrackState, classified: int, score: float) -> None:
    batches: list[int] = []

    class Alternating:
        card, labels = classifier.card, classifier.labels

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            batches.append(len(crops))
            return np.float32([[0.6, 0.4, 0, 0, 0, 0, 0] if len(batches) == 1 else [1, 0, 0, 0, 0, 0, 0]])

    settings = Settings(classify=ClassifySettings(change=0), smooth=SmoothSettings(window_s=0))
    answers = Answers(Alternating(), settings, tracked=True)  # type: ignore[arg-type]
    luma, track = (
        np.random.default_rng(0).integers(0, 256, (240, 320), np.uint8),
        Track(7, Box(100, 50, 60, 60), 0.0, 0.0, 0.0, confirmed=True),
    )
    answers.update(Frame(0, 0.0, luma), [track])
    moved = replace(track, box=Box(110, 50, 60, 60), state=state)
    (face,) = answers.update(Frame(1, 0.1, luma), [moved])
    assert (face.track, face.box, face.score) == (7, moved.box, pytest.approx(score))
    assert len(batches) == classified


def test_a_skipped_face_is_smoothed_on_and_a_lost_one_is_not(classifier: Classifier) -> None:
    scores = iter(np.float32([[[0, 1, 0, 0, 0, 0, 0]], [[1, 0, 0, 0, 0, 0, 0]]]))

    class Two:
        card, labels = classifier.card, classifier.labels

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            return np.asarray(next(scores))

    answers = Answers(Two(), Settings(classify=ClassifySettings(change=0)), tracked=True)  # type: ignore[arg-type]
    luma, track = np.zeros((240, 320), np.uint8), Track(7, Box(100, 50, 60, 60), 0.0, 0.0, 0.0, confirmed=True)

    def first_class(time_s: float, state: TrackState) -> float:
        (face,) = answers.update(Frame(0, time_s, luma), [replace(track, state=state)])
        return face.scores[classifier.labels[0]]

    assert first_class(0.0, TrackState.FOUND) == 0
    after_change = first_class(0.1, TrackState.FOUND)
    assert 0 < after_change < first_class(0.2, TrackState.SKIPPED) < first_class(0.3, TrackState.STATIC) < 1
    assert first_class(0.4, TrackState.LOST) == first_class(0.5, TrackState.LOST) > after_change
