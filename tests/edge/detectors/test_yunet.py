from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefer.detectors import Evidence, open_detector
from edgefer.detectors.yunet import MODEL, Detection, YuNet, detections, distinct, read_detector
from edgefer.errors import MissingLibrary
from edgefer.luma import luma_of
from edgefer.settings import DetectorSettings
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.spec import parse_spec
from edgefer.types import Box, Pixels


@pytest.fixture(scope="module")
def detector() -> YuNet:
    return YuNet(parse_spec("yunet:"), DetectorSettings())


def turned(degrees: float) -> tuple[Pixels, Box]:
    """A drawn face turned clockwise about its middle, and the square around it."""
    scene = Scene(SyntheticOptions())
    luma, truth = luma_of(scene.draw(0)), scene.truth(0)[0].box
    matrix = cv2.getRotationMatrix2D(truth.centre, -degrees, 1.0)
    return np.asarray(cv2.warpAffine(luma, matrix, luma.shape[::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8), truth


def best(faces: list[Detection], truth: Box) -> float:
    return max((truth.iou(face.box) for face in faces), default=0.0)


def test_the_table_names_it() -> None:
    assert isinstance(open_detector("yunet", DetectorSettings()), YuNet)


@pytest.mark.parametrize("size", ["640x480", "320x240", "480x640", "160x120"])
def test_a_drawn_face_is_boxed_as_haar_would_box_it(detector: YuNet, size: str) -> None:
    scene = Scene(SyntheticOptions(size=size))
    overlaps = []
    for index in range(0, 700, 50):
        boxes = detector(luma_of(scene.draw(index)), 20)
        overlaps.append(max((scene.truth(index)[0].box.iou(box) for box in boxes), default=0.0))
        assert all(box.w == box.h for box in boxes)
    assert np.median(overlaps) > 0.6
    assert min(overlaps) > 0.4


def test_a_face_28_pixels_wide_is_found(detector: YuNet) -> None:
    scene = Scene(SyntheticOptions())
    truth = scene.truth(0)[0].box
    scale = 28 / truth.w
    small = np.asarray(cv2.resize(luma_of(scene.draw(0)), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    frame = np.full((480, 640), 110, np.uint8)
    frame[200 : 200 + small.shape[0], 300 : 300 + small.shape[1]] = small
    there = Box(300 + round(scale * truth.x), 200 + round(scale * truth.y), 28, 28)
    assert best(detector.detect(frame), there) > 0.5


@pytest.mark.parametrize("degrees", [-20, 0, 20])
def test_landmarks_say_how_far_a_head_leans(detector: YuNet, degrees: int) -> None:
    luma, truth = turned(degrees)
    face = max(detector.detect(luma), key=lambda face: truth.iou(face.box))
    assert truth.iou(face.box) > 0.5
    assert face.roll_deg == pytest.approx(degrees, abs=8)


def test_landmarks_are_eyes_nose_and_mouth_from_left_to_right(detector: YuNet) -> None:
    luma, truth = turned(0)
    right_eye, left_eye, nose, right_mouth, left_mouth = detector.detect(luma)[0].landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert all(truth.x < x < truth.x + truth.w and truth.y < y < truth.y + truth.h for x, y in (right_eye, left_eye, nose))


def test_roll_is_the_angle_between_the_eyes() -> None:
    face = Detection(Box(0, 0, 10, 10), 0.9, ((1, 1), (4, 4), (0, 0), (0, 0), (0, 0)))
    assert face.roll_deg == pytest.approx(45)


def test_a_picture_without_faces_has_no_boxes(detector: YuNet) -> None:
    for picture in (luma_of(Scene(SyntheticOptions(faces=0)).draw(0)), np.full((480, 640), 128, np.uint8), np.zeros((480, 640), np.uint8)):
        assert detector(picture, 20) == []


def test_sizes_are_bounded_and_boxes_come_largest_first(detector: YuNet) -> None:
    luma = luma_of(Scene(SyntheticOptions(faces=3)).draw(10))
    boxes = detector(luma, 20)
    assert len(boxes) == 3
    assert [box.area_px for box in boxes] == sorted((box.area_px for box in boxes), reverse=True)
    assert detector(luma, boxes[0].w + 1) == []
    assert detector(luma, 1, boxes[-1].w - 1) == []


def test_more_evidence_means_fewer_finds(detector: YuNet) -> None:
    luma, _ = turned(50)
    little, enough, plenty = (detector(luma, 10, evidence=evidence) for evidence in (Evidence.LITTLE, Evidence.ENOUGH, Evidence.PLENTY))
    assert set(plenty) <= set(enough) <= set(little)
    assert all(face.score >= 0.6 for face in detector.detect(luma, 0.6))


def test_the_same_picture_gives_the_same_faces_whatever_came_before(detector: YuNet) -> None:
    tall = luma_of(Scene(SyntheticOptions(size="240x480")).draw(0))
    first = detector.detect(tall)
    for side in range(64, 400, 32):  # more sizes than stay allocated
        detector.detect(np.zeros((side, side), np.uint8))
    assert detector.detect(tall) == first
    assert YuNet(parse_spec("yunet:"), DetectorSettings()).detect(tall) == first


@pytest.mark.parametrize("size", [(1, 1), (10, 500), (24, 24), (3000, 40)])
def test_pictures_of_any_size_are_searched_without_trouble(detector: YuNet, size: tuple[int, int]) -> None:
    for picture in (np.zeros(size, np.uint8), np.full(size, 255, np.uint8)):
        assert detector(picture, 20) == []
        assert detector.photograph(picture) == []


def test_a_large_photograph_is_searched_whole_and_in_tiles(detector: YuNet) -> None:
    photograph = np.full((2400, 3200), 110, np.uint8)
    scene = Scene(SyntheticOptions())
    luma, box = luma_of(scene.draw(0)), scene.truth(0)[0].box
    truths = []
    for width, x, y in ((70, 100, 100), (70, 2950, 2200), (70, 1590, 700), (900, 200, 800)):
        scale = width / box.w
        part = luma[box.y - box.h // 3 : box.y + 4 * box.h // 3, box.x - box.w // 3 : box.x + 4 * box.w // 3]
        small = np.asarray(
            cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
        )
        photograph[y : y + small.shape[0], x : x + small.shape[1]] = small
        truths.append(Box(round(x + scale * (box.w // 3)), round(y + scale * (box.h // 3)), width, width))
    faces = detector.photograph(photograph)
    assert [best(faces, truth) > 0.5 for truth in truths] == [True] * 4
    assert len(faces) == 4
    for face in faces:
        assert all(face.box.x < x < face.box.x + face.box.w for x, _ in face.landmarks)


def test_a_detection_in_a_part_of_a_picture_is_placed_in_the_picture() -> None:
    face = Detection(Box(10, 20, 30, 30), 0.9, tuple((float(10 + i), 20.0) for i in range(5)))
    placed = face.placed(100, 200, 0.5)
    assert placed.box == Box(120, 240, 60, 60)
    assert placed.landmarks[1] == (122, 240)
    assert placed.score == 0.9


def test_of_overlapping_detections_the_surest_stays() -> None:
    marks = ((0.0, 0.0),) * 5
    faces = [Detection(Box(x, 0, 100, 100), score, marks) for x, score in ((0, 0.6), (10, 0.9), (200, 0.5), (40, 0.7))]
    assert [(face.box.x, face.score) for face in distinct(faces)] == [(10, 0.9), (200, 0.5)]


def test_outputs_are_decoded_by_hand() -> None:
    maps = [np.full((60 // stride + 1, 60 // stride + 1, 16), -20, np.float32) for stride in (8, 16, 32)]
    maps[1][2, 1] = [0, 0, 0.25, 0.5, math.log(2), math.log(3), *[0.5, -0.5] * 5]
    (face,) = detections(maps, 0.4)
    assert face.score == pytest.approx(0.5)
    assert face.landmarks == ((24.0, 24.0),) * 5
    side = 1.08 * math.sqrt(32 * 48)
    assert face.box.w == face.box.h == round(side)
    assert face.box.x == round(20 - side / 2)
    assert face.box.y == round(40 - 0.025 * 48 - side / 2)


@pytest.mark.parametrize("content", [None, b"", MODEL.read_bytes()[:5000], MODEL.read_bytes()[:5000] + b"x" + MODEL.read_bytes()[5001:]])
def test_a_model_file_that_is_not_whole_is_one_line_that_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "yunet.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MissingLibrary, match=r"yunet\.tflite.*missing or damaged; install edgefer again"):
        YuNet(parse_spec("yunet:"), DetectorSettings(), path)


def test_the_shipped_model_is_in_the_package_with_its_licence_and_origin() -> None:
    _, card = read_detector(MODEL)
    assert card.provenance["source"].endswith(".onnx")
    assert card.provenance["source_sha256"] in MODEL.with_suffix(".LICENSE.txt").read_text()
    assert "Apache License" in MODEL.with_suffix(".LICENSE.txt").read_text()
    assert card.metrics["float_recall"] - card.metrics["int8_recall"] < 0.01
