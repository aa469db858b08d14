from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest

from edgefer.model.golden import golden_pictures
from edgefer.pipeline.alignment import Template
from edgefer.pipeline.roi import View
from edgefer.types import Box, Pixels

WHOLE = Box(0, 0, 320, 240)
FACE = Box(110, 70, 96, 96)


def scene(x: float = 0, y: float = 0, size: float = 1, tilt: float = 0, gain: float = 1, bias: float = 0, which: int = 4) -> Pixels:
    """A face on a plain wall, moved from `FACE` by pixels, larger by a factor, tilted by radians, in another light."""
    picture = np.full((240, 320), 90, np.uint8)
    picture[40:200, 80:240] = golden_pictures(160, 160)[which]
    cx, cy = FACE.centre
    cos, sin = size * math.cos(tilt), size * math.sin(tilt)
    moved = np.array([[cos, -sin, cx + x - cos * cx + sin * cy], [sin, cos, cy + y - sin * cx - cos * cy]])
    warped = cv2.warpAffine(picture, moved, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(gain * warped.astype(np.float64) + bias), 0, 255).astype(np.uint8)


def view(luma: Pixels) -> View:
    return View(luma, WHOLE, 32 / 96)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template(view(scene()), FACE)


@pytest.mark.parametrize(
    "x, y, size, tilt", [(0, 0, 1, 0), (4, -3, 1, 0), (-9, 6, 1, 0), (0, 0, 1.08, 0), (3, 3, 0.93, 0), (5, -4, 1.04, 0.1)]
)
def test_a_face_that_moved_grew_and_tilted_is_found_to_a_pixel(template: Template, x: float, y: float, size: float, tilt: float) -> None:
    match = template.find(view(scene(x, y, size, tilt)), FACE)
    assert match
    (cx, cy), (fx, fy) = match.box.centre, FACE.centre
    assert abs(cx - fx - x) <= 1
    assert abs(cy - fy - y) <= 1
    assert abs(match.box.w - size * FACE.w) <= 2
    assert match.change < 6, "it looks as it did"


def test_a_face_stays_where_it_is_when_the_light_changes(template: Template) -> None:
    match = template.find(view(scene(gain=0.7, bias=20)), FACE)
    assert match
    assert match.box == FACE
    assert match.change < 2


def test_another_face_is_not_the_same(template: Template) -> None:
    assert template.find(view(scene(which=0)), FACE) is None


def test_a_change_in_one_part_of_a_face_is_seen(template: Template) -> None:
    changed = scene()
    mouth = changed[136:150, 144:172]
    mouth[:] = mouth // 4 * 3
    match = template.find(view(changed), FACE)
    assert match
    assert match.change > 8, "more than moving, growing and tilting make of it"
    assert abs(match.box.centre[0] - FACE.centre[0]) <= 1


def test_a_wall_is_not_followed_and_not_found() -> None:
    wall = np.full((240, 320), 128, np.uint8)
    flat = Template(view(wall), FACE)
    assert flat.find(view(wall), FACE) is None
    assert flat.find(view(scene()), FACE) is None
    assert Template(view(scene()), FACE).find(view(wall), FACE) is None


def test_a_face_that_jumped_is_not_followed_to_something_else(template: Template) -> None:
    assert template.find(view(scene(x=70)), FACE) is None


def test_noise_leads_nowhere() -> None:
    random = np.random.default_rng(3)
    for contrast in (2, 20, 128):
        noise = [np.clip(128 + contrast * random.standard_normal((240, 320)), 0, 255).astype(np.uint8) for _ in range(40)]
        assert all(Template(view(one), FACE).find(view(other), FACE) is None for one, other in itertools.pairwise(noise))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 700)])
def test_no_size_is_trouble(shape: tuple[int, int]) -> None:
    height, width = shape
    whole, tiny = Box(0, 0, width, height), View(np.full(shape, 7, np.uint8), Box(0, 0, width, height))
    assert Template(tiny, whole).find(tiny, whole) is None
