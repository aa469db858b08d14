from __future__ import annotations

import msgspec

from edgefer.model.classifier import Classifier
from edgefer.pipeline.ignored import Ignored
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import DetectorSettings, Settings
from edgefer.sources import open_source
from edgefer.types import Observation


def observe(pipeline: Pipeline, spec: str) -> list[Observation]:
    source = open_source(spec)
    return [pipeline.process(frame) for frame in source]


def settings(**detector: object) -> Settings:
    return msgspec.structs.replace(Settings(), detector=msgspec.convert(detector, DetectorSettings))


TWO_FACES = "synthetic:?paced=false&faces=2&seconds=2"


def test_faces_whose_centre_lies_in_an_ignored_region_are_not_reported(classifier: Classifier) -> None:
    left = (0.0, 0.0, 0.5, 1.0)
    seen = observe(Pipeline(settings(ignore=[left]), classifier, tracked=True), TWO_FACES)
    boxes = [face.box for observation in seen for face in observation.faces]
    assert len(boxes) > 40
    assert all(box.centre[0] >= 320 for box in boxes)


def test_photographs_have_ignored_regions_too(classifier: Classifier) -> None:
    frame = next(iter(open_source(TWO_FACES)))
    assert len(Pipeline(settings(), classifier, tracked=False).process(frame).faces) == 2
    assert len(Pipeline(settings(ignore=[(0.0, 0.0, 0.5, 1.0)]), classifier, tracked=False).process(frame).faces) == 1


def test_a_face_that_is_ignored_from_now_on_leaves_at_once_and_returns_when_the_region_goes(classifier: Classifier) -> None:
    pipeline = Pipeline(settings(), classifier, tracked=True)
    frames = list(open_source(TWO_FACES + "&still=true"))
    for frame in frames[:10]:
        seen = pipeline.process(frame)
    assert len(seen.faces) == 2
    pipeline.ignored = Ignored([(0.0, 0.0, 0.5, 1.0)])
    assert all(len(pipeline.process(frame).faces) == 1 for frame in frames[10:40])
    pipeline.ignored = Ignored([])
    source = open_source("synthetic:?paced=false&faces=2&seconds=8&still=true")
    assert any(len(pipeline.process(frame).faces) == 2 for frame in list(source)[40:])


def test_motion_in_an_ignored_region_starts_no_search() -> None:
    """A cell counts by its centre: the first 10 of 40 columns are a quarter of the frame."""
    cells = Ignored([(0.0, 0.0, 0.25, 1.0), (0.9, 0.9, 0.1, 0.1)]).cells
    assert cells[:, :10].all()
    assert not cells[:, 10:36].any()
    assert cells[27:, 36:].all()
    assert cells.sum() == 300 + 12
