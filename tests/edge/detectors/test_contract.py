"""What every detector of the table does; one that is added is tested here at once."""

from __future__ import annotations

import numpy as np
import pytest

from edgefer.detectors import DETECTORS, Detector, Evidence, open_detector
from edgefer.luma import luma_of
from edgefer.settings import DetectorSettings
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box, Pixels


@pytest.fixture(scope="module", params=list(DETECTORS))
def detector(request: pytest.FixtureRequest) -> Detector:
    return open_detector(request.param, DetectorSettings())


def picture(index: int = 10, **options: object) -> Pixels:
    luma = luma_of(Scene(SyntheticOptions(**options)).draw(index))
    luma.flags.writeable = False
    return luma


def test_a_drawn_face_is_found_and_its_box_is_a_square_as_large_as_haar_draws_it(detector: Detector) -> None:
    scene = Scene(SyntheticOptions())
    overlaps = []
    for index in range(0, 700, 70):
        boxes = detector(luma_of(scene.draw(index)), 30)
        overlaps.append(max((scene.truth(index)[0].box.iou(box) for box in boxes), default=0.0))
        assert all(box.w == box.h for box in boxes)
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.8


def test_boxes_come_largest_first_within_the_sizes_that_are_asked_for(detector: Detector) -> None:
    luma = picture(faces=3)
    boxes = detector(luma, 30)
    assert len(boxes) == 3
    assert all(isinstance(box, Box) for box in boxes)
    assert [box.area_px for box in boxes] == sorted((box.area_px for box in boxes), reverse=True)
    assert detector(luma, 2 * boxes[0].w) == []
    limit = boxes[-1].w // 2
    assert all(20 <= box.w <= limit for box in detector(luma, 20, limit))
    side = boxes[0].w
    assert detector(luma, round(0.7 * side), round(1.4 * side))


def test_a_picture_without_faces_has_no_boxes(detector: Detector) -> None:
    for luma in (picture(faces=0), np.full((480, 640), 128, np.uint8), np.zeros((480, 640), np.uint8)):
        assert detector(luma, 30) == []


def test_the_same_picture_gives_the_same_boxes_whatever_came_before_and_stays_as_it_is(detector: Detector) -> None:
    tall, wide = picture(size="240x480"), picture(size="640x240")
    before = tall.copy()
    first = detector(tall, 30)
    detector(wide, 30)
    assert detector(tall, 30) == first
    assert np.array_equal(tall, before)


def test_more_evidence_never_finds_more(detector: Detector) -> None:
    luma = picture(faces=6)
    little, enough, plenty = (len(detector(luma, 20, 0, evidence)) for evidence in (Evidence.LITTLE, Evidence.ENOUGH, Evidence.PLENTY))
    assert little >= enough >= plenty
    assert enough >= 5


@pytest.mark.parametrize("size", [(1, 1), (10, 500), (24, 24), (3000, 40)])
def test_pictures_of_any_size_are_searched_without_trouble(detector: Detector, size: tuple[int, int]) -> None:
    assert all(isinstance(box, Box) for box in detector(np.zeros(size, np.uint8), 30))


def test_a_part_of_a_larger_array_is_searched_as_its_copy_is(detector: Detector) -> None:
    luma = picture()
    part = luma[20:460, 40:600]
    assert detector(part, 30) == detector(part.copy(), 30)
