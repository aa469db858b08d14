from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import numpy as np
import pytest

from edgefer.detectors import Detector, open_detector
from edgefer.model.classifier import Classifier
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import Settings, SmoothSettings
from edgefer.sources import open_source
from edgefer.sources.synthetic import Synthetic
from edgefer.types import Box, Frame, Observation


def observe(classifier: Classifier, spec: str, **settings: object) -> list[Observation]:
    """The observations of a source, by a clock that advances a millisecond at every reading."""
    source, ticks = open_source(spec), itertools.count()
    changed = msgspec.structs.replace(Settings(), **settings)
    pipeline = Pipeline(changed, classifier, source.tracked, clock=lambda: next(ticks) / 1000)
    return [pipeline.process(frame) for frame in source]


def test_a_drawn_face_is_seen_in_nearly_every_frame_under_one_id(classifier: Classifier) -> None:
    seen = observe(classifier, "synthetic:?paced=false&seconds=4&size=320x240")
    assert len(seen) == 120
    assert sum(len(observation.faces) == 1 for observation in seen) / len(seen) >= 0.95
    assert {face.track for observation in seen for face in observation.faces} == {1}


def test_boxes_lie_on_the_drawn_faces(classifier: Classifier) -> None:
    source = open_source("synthetic:?paced=false&seconds=3&faces=2")
    assert isinstance(source, Synthetic)
    seen = observe(classifier, "synthetic:?paced=false&seconds=3&faces=2")
    overlaps = [
        max((face.box.iou(truth.box) for face in observation.faces), default=0.0)
        for observation in seen[3:]
        for truth in source.scene.truth(observation.frame.index)
    ]
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.98


def test_every_face_has_a_label_and_scores_of_the_models_classes(classifier: Classifier) -> None:
    faces = [face for seen in observe(classifier, "synthetic:?paced=false&seconds=1&size=320x240") for face in seen.faces]
    for face in faces:
        assert face.expression in (*classifier.labels, "uncertain")
        assert tuple(face.scores) == classifier.labels
        assert face.score == pytest.approx(max(face.scores.values()))
        assert sum(face.scores.values()) == pytest.approx(1, abs=0.03)


def test_labels_change_with_the_expressions_drawn(classifier: Classifier) -> None:
    seen = observe(classifier, "synthetic:?paced=false&seconds=25.2&fps=6")
    assert len(Counter(face.expression for observation in seen for face in observation.faces)) >= 3


def test_a_replay_gives_the_same_observations_to_the_last_digit(classifier: Classifier) -> None:
    first, again = (observe(classifier, "synthetic:?paced=false&seconds=1&size=320x240") for _ in range(2))
    assert [(one.faces, one.timings_ms) for one in first] == [(one.faces, one.timings_ms) for one in again]


def test_a_static_scene_is_rarely_searched_and_its_face_stays(classifier: Classifier) -> None:
    calls: list[int] = []
    settings = Settings()
    detector = open_detector("haar", settings.detector)

    class Counting(Detector):
        def __call__(self, luma: np.ndarray, *args: object) -> list[Box]:
            calls.append(1)
            return detector(luma, *args)

    pipeline = Pipeline(settings, classifier, True, Counting())
    source = open_source("synthetic:?paced=false&seconds=3&size=320x240&still=true")
    seen = [pipeline.process(frame) for frame in source]
    assert all(len(observation.faces) == 1 for observation in seen[2:])
    assert len(calls) <= 3


def test_pictures_of_a_folder_are_not_tracked_from_one_to_the_next(classifier: Classifier, pictures: object) -> None:
    seen = observe(classifier, f"images:{pictures}")
    assert [(observation.frame.name, len(observation.faces)) for observation in seen] == [
        ("face0.png", 1), ("face1.png", 1), ("face2.png", 1), ("wall.png", 0)
    ]  # fmt: skip
    assert {face.track for observation in seen for face in observation.faces} == {1}


def test_a_picture_gets_the_same_label_alone_as_after_others(classifier: Classifier, pictures: object) -> None:
    smooth = SmoothSettings(window_s=100.0)
    together = observe(classifier, f"images:{pictures}", smooth=smooth)
    alone = observe(classifier, f"images:{pictures}/face2.png", smooth=smooth)
    assert together[2].faces == alone[0].faces


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (48, 4000), (240, 320)])
def test_every_frame_size_is_accepted(classifier: Classifier, shape: tuple[int, int]) -> None:
    assert Pipeline(Settings(), classifier, tracked=True).process(Frame(0, 0.0, np.zeros(shape, np.uint8))).faces == ()
