from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefer.detectors import Detector, open_detector
from edgefer.detectors.blazeface import MODEL
from edgefer.errors import MissingLibrary
from edgefer.luma import luma_of
from edgefer.settings import DetectorSettings
from edgefer.sources.synthetic import Scene, SyntheticOptions


@pytest.fixture(scope="module")
def detector() -> Detector:
    return open_detector("blazeface", DetectorSettings())


@pytest.mark.parametrize("size", ["640x480", "320x240", "480x640", "1280x720"])
def test_a_drawn_face_is_boxed_as_haar_would_box_it(detector: Detector, size: str) -> None:
    scene = Scene(SyntheticOptions(size=size))
    overlaps = [
        max((scene.truth(index)[0].box.iou(box) for box in detector(luma_of(scene.draw(index)), 30)), default=0.0)
        for index in range(0, 700, 50)
    ]
    assert np.median(overlaps) > 0.6
    assert np.mean(np.array(overlaps) > 0.4) > 0.9


def test_a_turned_picture_still_has_its_face(detector: Detector) -> None:
    import cv2

    scene = Scene(SyntheticOptions())
    luma, truth = luma_of(scene.draw(0)), scene.truth(0)[0].box
    matrix = cv2.getRotationMatrix2D(truth.centre, 30, 1.0)
    turned = np.asarray(cv2.warpAffine(luma, matrix, luma.shape[::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)
    assert max((truth.iou(box) for box in detector(turned, 30)), default=0) > 0.5
    assert not any(truth.iou(box) > 0.4 for box in open_detector("haar", DetectorSettings())(turned, 30)), "Haar wants upright faces"


def test_sizes_are_bounded_and_boxes_come_largest_first(detector: Detector) -> None:
    scene = Scene(SyntheticOptions(faces=3))
    luma = luma_of(scene.draw(10))
    boxes = detector(luma, 30)
    assert len(boxes) == 3
    assert [box.area_px for box in boxes] == sorted((box.area_px for box in boxes), reverse=True)
    assert detector(luma, boxes[0].w + 1) == []
    assert detector(luma, 1, boxes[-1].w - 1) == []


@pytest.mark.parametrize("content", [None, b"", MODEL.read_bytes()[:5000]])
def test_a_model_file_that_is_not_whole_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "blazeface.tflite"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("edgefer.detectors.blazeface.MODEL", path)
    with pytest.raises(MissingLibrary, match="missing or damaged; install edgefer again"):
        open_detector("blazeface", DetectorSettings())


def test_the_shipped_model_is_in_the_package_with_its_licence() -> None:
    assert MODEL.is_file()
    assert "MediaPipe Authors" in MODEL.with_suffix(".LICENSE.txt").read_text()
