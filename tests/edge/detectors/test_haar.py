from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefer.detectors import open_detector
from edgefer.detectors.haar import CASCADE
from edgefer.errors import MissingLibrary
from edgefer.luma import luma_of
from edgefer.settings import DetectorSettings
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box


@pytest.mark.parametrize(("options", "every"), [(SyntheticOptions(), 24), (SyntheticOptions(faces=3, seed=2), 48)])
def test_drawn_faces_are_found_in_at_least_95_percent_of_frames(options: SyntheticOptions, every: int) -> None:
    scene, detector = Scene(options), open_detector("haar", DetectorSettings())
    found = []
    for index in range(0, 30 * 25, every):
        boxes = detector(luma_of(scene.draw(index)), 30)
        found += [any(truth.box.iou(box) >= 0.5 for box in boxes) for truth in scene.truth(index)]
    assert np.mean(found) >= 0.95


def test_sizes_are_bounded_from_below_and_above() -> None:
    scene, detector = Scene(SyntheticOptions()), open_detector("haar", DetectorSettings())
    luma, side = luma_of(scene.draw(0)), scene.truth(0)[0].box.w
    assert detector(luma, round(0.7 * side), round(1.4 * side))
    assert detector(luma, round(1.5 * side)) == []
    assert detector(luma, 30, round(0.6 * side)) == []


def test_the_shipped_cascade_is_in_the_package_with_its_licence() -> None:
    assert CASCADE.is_file()
    assert "Redistribution" in CASCADE.with_suffix(".LICENSE.txt").read_text()


def test_an_opencv_without_cascades_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(MissingLibrary, match="opencv-python-headless<5"):
        open_detector("haar", DetectorSettings())


def test_iou_of_boxes_by_hand() -> None:
    assert Box(0, 0, 10, 10).iou(Box(5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert Box(0, 0, 10, 10).iou(Box(10, 0, 10, 10)) == 0
    assert Box(3, 4, 10, 10).iou(Box(3, 4, 10, 10)) == 1
