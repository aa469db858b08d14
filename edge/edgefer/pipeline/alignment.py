"""A known face found again by how it looked: a small patch of it, moved and scaled until it fits the next frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.pipeline.roi import View
from edgefer.types import Box

SIDE_PX = 32
"""Side of a patch; a view in which a face is as large is the best to look at."""
_ROUNDS, _ENOUGH_PX = 5, 0.1
"""A patch is moved so many times, or until a round moves it by less than that."""
_ALIKE = 0.9
"""Correlation, -1..1, from which what was found is the same face."""
_PARTS = 4
"""A patch is compared in so many rows and columns of parts: an expression changes a mouth or a brow, not the whole face."""

_MIDDLE_PX = (SIDE_PX - 1) / 2
_CENTRED = np.arange(SIDE_PX, dtype=np.float32) - np.float32(_MIDDLE_PX)
_Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Match:
    """Where a face is now, and how much it changed: mean difference, in levels of 0..255, of its most changed sixteenth."""

    box: Box
    change: float


class Template:
    """The face in ``box`` of a frame, as ``view`` shows it, to be found in the frames that follow.

    Lucas and Kanade's alignment in its inverse compositional form (Baker and Matthews, "Lucas-Kanade 20 Years On", 2004) for
    place, size and tilt; brightness and contrast are left out of account.
    """

    def __init__(self, view: View, box: Box) -> None:
        values = _Place(view, box).patch()
        self._values, self._contrast = _normal(values)
        across, down = (cv2.Sobel(values, cv2.CV_32F, *order, ksize=1, scale=1 / 2) for order in ((1, 0), (0, 1)))
        x, y = _CENTRED, _CENTRED[:, None]
        steepest = np.stack([across, down, across * x + down * y, down * x - across * y]).reshape(4, -1)
        # What brightness and contrast would explain moves nothing.
        steepest -= steepest.mean(axis=1, keepdims=True)
        steepest -= np.outer(steepest @ self._values, self._values)
        # With the unit matrix a patch in which nothing stands out is not moved by noise.
        self._moves = np.linalg.inv(steepest @ steepest.T + np.eye(len(steepest), dtype=np.float32)) @ steepest

    def find(self, view: View, near: Box) -> Match | None:
        """The face near where it should be; None where nothing looks like it."""
        place = _Place(view, near)
        for _ in range(_ROUNDS):
            patch = place.patch()
            x, y, grow, turn = map(float, self._moves @ patch.ravel())
            step_px = max(abs(x), abs(y), abs(grow) * _MIDDLE_PX, abs(turn) * _MIDDLE_PX)
            if step_px > _MIDDLE_PX:
                return None
            place.move(-x, -y, -grow, -turn)
            if step_px < _ENOUGH_PX:
                break
        values, _ = _normal(patch)
        if float(values @ self._values) < _ALIKE:
            return None
        change = np.abs(values - self._values).reshape(SIDE_PX, SIDE_PX)
        return Match(place.box(), self._contrast * float(cv2.resize(change, (_PARTS, _PARTS), interpolation=cv2.INTER_AREA).max()))


class _Place:
    """Where in a view a face is taken to be, to a fraction of a pixel."""

    def __init__(self, view: View, box: Box) -> None:
        self._view = view
        (x, y), area = box.centre, view.area
        self._x, self._y = (x - area.x) * view.across, (y - area.y) * view.down
        self._step_x, self._step_y = box.w * view.across / SIDE_PX, box.h * view.down / SIDE_PX
        self._tilt = 0.0

    def patch(self) -> _Values:
        """What is there, (32, 32)."""
        cos, sin = math.cos(self._tilt), math.sin(self._tilt)
        rows = ((self._step_x * cos, -self._step_x * sin, self._x), (self._step_y * sin, self._step_y * cos, self._y))
        matrix = np.array([(a, b, c - 0.5 - _MIDDLE_PX * (a + b)) for a, b, c in rows])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(self._view.picture, matrix, (SIDE_PX, SIDE_PX), flags=how, borderMode=cv2.BORDER_REPLICATE)
        return patch.astype(np.float32)

    def move(self, x: float, y: float, grow: float, turn: float) -> None:
        """Take the face to be ``x`` and ``y`` pixels of the patch farther, larger by the share ``grow`` and turned by ``turn`` radians."""
        cos, sin = math.cos(self._tilt), math.sin(self._tilt)
        self._x += self._step_x * (cos * x - sin * y)
        self._y += self._step_y * (sin * x + cos * y)
        self._step_x *= 1 + grow
        self._step_y *= 1 + grow
        self._tilt += turn

    def box(self) -> Box:
        """The same in pixels of the frame."""
        w, h = SIDE_PX * self._step_x, SIDE_PX * self._step_y
        return self._view.box(self._x - w / 2, self._y - h / 2, w, h)


def _normal(patch: _Values) -> tuple[_Values, float]:
    """A patch as a vector of length 1 around 0, and by what it was divided."""
    values = patch.ravel()
    values = values - values.mean()
    contrast = float(np.sqrt(values @ values)) + 1.0
    return values / np.float32(contrast), contrast
