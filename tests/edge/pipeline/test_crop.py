from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefer.pipeline.crop import crop_face, crop_square
from edgefer.types import Box


def ramp(height: int = 120, width: int = 160) -> np.ndarray:
    """A picture in which luma gives the position: x + y / 2, wrapped."""
    y, x = np.mgrid[0:height, 0:width]
    return ((x + y // 2) % 256).astype(np.uint8)


def test_a_picture_of_the_models_own_size_comes_back_bit_for_bit() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (48, 48), np.uint8)
    assert np.array_equal(crop_face(picture, Box(0, 0, 48, 48), 0.0, 48, 48), picture)


def test_a_box_inside_the_frame_is_cut_where_it_is() -> None:
    cut = crop_face(ramp(), Box(30, 20, 48, 48), 0.0, 48, 48)
    assert np.array_equal(cut, ramp()[20:68, 30:78])


def test_a_larger_face_is_averaged_over_all_its_pixels() -> None:
    stripes = np.zeros((192, 192), np.uint8)
    stripes[:, ::4] = 255
    assert np.abs(crop_face(stripes, Box(0, 0, 192, 192), 0.0, 48, 48).astype(int) - 64).max() <= 1


def test_twice_the_size_is_averaged_two_by_two() -> None:
    cut = crop_face(ramp(), Box(10, 10, 96, 96), 0.0, 48, 48)
    blocks = ramp()[10:106, 10:106].reshape(48, 2, 48, 2).astype(float).mean(axis=(1, 3))
    assert np.abs(cut - blocks).max() <= 0.5


@pytest.mark.parametrize(
    ("box", "margin", "square"),
    [
        (Box(10, 20, 40, 40), 0.0, (10, 20, 40)),
        (Box(10, 20, 40, 60), 0.0, (0, 20, 60)),
        (Box(10, 20, 40, 40), 0.25, (0, 10, 60)),
        (Box(10, 20, 40, 40), -0.1, (14, 24, 32)),
    ],
)
def test_the_square_is_the_longer_side_and_the_margin_around_the_middle(
    box: Box, margin: float, square: tuple[float, float, float]
) -> None:
    assert crop_square(box, margin) == pytest.approx(square)


def test_pixels_outside_the_frame_repeat_its_edge() -> None:
    picture = ramp()
    cut = crop_face(picture, Box(-24, -24, 48, 48), 0.0, 48, 48)
    assert np.array_equal(cut[24:, 24:], picture[:24, :24])
    assert (cut[:24, :24] == picture[0, 0]).all()
    assert np.array_equal(cut[:24, 24:], np.repeat(picture[:1, :24], 24, axis=0))


@pytest.mark.parametrize(
    "box", [Box(500, 500, 40, 40), Box(-90, -90, 40, 40), Box(5, 5, 0, 0), Box(0, 0, 1, 1), Box(-1500, -1500, 5000, 5000)]
)
def test_every_box_gives_a_crop_of_the_right_shape(box: Box) -> None:
    assert crop_face(ramp(), box, 0.1, 48, 48).shape == (48, 48)


def test_a_frame_that_is_not_contiguous_is_cut_the_same() -> None:
    padded = np.zeros((120, 200), np.uint8)
    padded[:, :160] = ramp()
    box = Box(20, 10, 77, 77)
    assert np.array_equal(crop_face(padded[:, :160], box, 0.05, 48, 48), crop_face(ramp(), box, 0.05, 48, 48))


def test_the_golden_crop_that_training_conversion_and_device_share() -> None:
    cut = crop_face(ramp(), Box(100, 70, 83, 83), 0.08, 48, 48)
    assert cut.shape == (48, 48)
    # Means over quarters, not a digest: OpenCV's resize may round one level otherwise on another processor.
    quarters = cut.reshape(2, 24, 2, 24).mean(axis=(1, 3))
    assert quarters == pytest.approx(np.array([[159.5, 198.75], [175.583, 214.3125]]), abs=0.5)


@pytest.mark.parametrize("degrees", [-60, 30, 90])
def test_a_head_that_leans_is_turned_upright_about_the_middle_of_its_box(degrees: int) -> None:
    blurred = cv2.GaussianBlur(np.random.default_rng(0).random((200, 200), np.float32), (0, 0), 4)
    picture = cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]
    box = Box(60, 60, 80, 80)
    matrix = cv2.getRotationMatrix2D((99.5, 99.5), -degrees, 1.0)  # clockwise
    leaning = np.asarray(cv2.warpAffine(picture, matrix, (200, 200)), np.uint8)
    upright = crop_face(picture, box, 0.0, 48, 48)
    assert np.abs(crop_face(leaning, box, 0.0, 48, 48, degrees).astype(int) - upright).mean() < 2
    assert np.abs(crop_face(leaning, box, 0.0, 48, 48).astype(int) - upright).mean() > 8


def test_scale_widens_the_square_about_its_middle() -> None:
    box, wider = Box(60, 40, 48, 48), Box(48, 28, 72, 72)
    assert np.array_equal(crop_face(ramp(), box, 0.0, 48, 48, scale=1.5), crop_face(ramp(), wider, 0.0, 48, 48))


@pytest.mark.parametrize("at", [5000, -5000, -60])
def test_a_box_outside_the_frame_gives_a_black_crop(at: int) -> None:
    cut = crop_face(ramp(), Box(at, at, 48, 48), 0.0, 48, 48)
    assert (cut.dtype, cut.shape, int(cut.max())) == (np.uint8, (48, 48), 0)


def test_a_small_face_is_enlarged_smoothly() -> None:
    step = np.repeat(np.array([[0, 200]], np.uint8), 16, axis=1).repeat(32, axis=0)
    cut = crop_face(step, Box(0, 0, 32, 32), 0.0, 64, 64)
    assert cut.dtype == np.uint8
    assert {0, 200} < set(np.unique(cut).tolist()), "grey levels between the two"
