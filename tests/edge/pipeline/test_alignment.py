from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest

from edgefer.model.golden import golden_pictures
from edgefer.pipeline.alignment import Template
from edgefer.pipeline.roi import Roi
from edgefer.types import Box, Pixels

WHOLE = Box(0, 0, 320, 240)
FACE = Box(110, 70, 96, 96)


def scene(x: float = 0, y: float = 0, size: float = 1, angle: float = 0, gain: float = 1, bias: float = 0, which: int = 4) -> Pixels:
    """A face on a plain wall, moved from `FACE` by pixels, scaled by a factor, rotated by radians, in another light."""
    picture = np.full((240, 320), 90, np.uint8)
    picture[40:200, 80:240] = golden_pictures(160, 160)[which]
    cx, cy = FACE.centre
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    moved = np.array([[cos, -sin, cx + x - cos * cx + sin * cy], [sin, cos, cy + y - sin * cx - cos * cy]])
    warped = cv2.warpAffine(picture, moved, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(gain * warped.astype(np.float64) + bias), 0, 255).astype(np.uint8)


def roi(luma: Pixels) -> Roi:
    return Roi(luma, WHOLE, 32 / 96)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template(roi(scene()), FACE)


@pytest.mark.parametrize(
    "x, y, size, angle", [(0, 0, 1, 0), (4, -3, 1, 0), (-9, 6, 1, 0), (0, 0, 1.08, 0), (3, 3, 0.93, 0), (5, -4, 1.04, 0.1)]
)
def test_a_face_that_moved_grew_and_rotated_is_found_to_a_pixel(template: Template, x: float, y: float, size: float, angle: float) -> None:
    match = template.find(roi(scene(x, y, size, angle)), FACE)
    assert match
    (cx, cy), (fx, fy) = match.box.centre, FACE.centre
    assert abs(cx - fx - x) <= 1
    assert abs(cy - fy - y) <= 1
    assert abs(match.box.w - size * FACE.w) <= 2
    assert match.change < 6, "its pixels did not change"


def test_a_face_stays_where_it_is_when_the_light_changes(template: Template) -> None:
    match = template.find(roi(scene(gain=0.7, bias=20)), FACE)
    assert match
    assert match.box == FACE
    assert match.change < 2


def test_another_face_does_not_match(template: Template) -> None:
    assert template.find(roi(scene(which=0)), FACE) is None


def test_a_change_in_one_part_of_a_face_is_measured(template: Template) -> None:
    changed = scene()
    mouth = changed[136:150, 144:172]
    mouth[:] = mouth // 4 * 3
    match = template.find(roi(changed), FACE)
    assert match
    assert match.change > 8, "more than from motion, growth and rotation"
    assert abs(match.box.centre[0] - FACE.centre[0]) <= 1


def test_a_wall_never_matches() -> None:
    wall = np.full((240, 320), 128, np.uint8)
    flat = Template(roi(wall), FACE)
    assert flat.find(roi(wall), FACE) is None
    assert flat.find(roi(scene()), FACE) is None
    assert Template(roi(scene()), FACE).find(roi(wall), FACE) is None


def test_a_face_that_jumped_away_matches_nothing_else(template: Template) -> None:
    assert template.find(roi(scene(x=70)), FACE) is None


def test_noise_never_matches_other_noise() -> None:
    random = np.random.default_rng(3)
    for contrast in (2, 20, 128):
        noise = [np.clip(128 + contrast * random.standard_normal((240, 320)), 0, 255).astype(np.uint8) for _ in range(40)]
        assert all(Template(roi(one), FACE).find(roi(other), FACE) is None for one, other in itertools.pairwise(noise))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 700)])
def test_every_frame_size_is_accepted(shape: tuple[int, int]) -> None:
    height, width = shape
    whole, tiny = Box(0, 0, width, height), Roi(np.full(shape, 7, np.uint8), Box(0, 0, width, height))
    assert Template(tiny, whole).find(tiny, whole) is None
