"""Template alignment: a known face found again by a small patch of it, moved, scaled and rotated until it fits the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.pipeline.roi import Roi
from edgefer.types import Box

SIDE_PX = 32
"""Side of a patch; an ROI in which the face has the same side suits it best."""
_MAX_ITERATIONS, _CONVERGED_PX = 5, 0.1
"""The alignment ends after this many iterations, or when one moves the patch by less than this."""
_MIN_CORRELATION = 0.9
"""Correlation, -1..1, from which on the face found is the same one."""
_GRID = 4
"""A patch is compared in 4 x 4 parts: an expression changes a mouth or a brow, not the whole face."""

_MIDDLE_PX = (SIDE_PX - 1) / 2
_CENTRED = np.arange(SIDE_PX, dtype=np.float32) - np.float32(_MIDDLE_PX)
_Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Match:
    """Where a face is now, and ``change``: the mean difference, in levels of 0..255, of the part (1/16) that changed most."""

    box: Box
    change: float


class Template:
    """The face in ``box`` of a frame, as the ROI shows it, to be found in later frames.

    Lucas-Kanade alignment in its inverse compositional form (Baker and Matthews, "Lucas-Kanade 20 Years On", 2004) over
    position, size and rotation. Brightness and contrast do not count.
    """

    def __init__(self, roi: Roi, box: Box) -> None:
        values = _Warp(roi, box).patch()
        self._values, self._contrast = _normalized(values)
        dx, dy = (cv2.Sobel(values, cv2.CV_32F, *order, ksize=1, scale=1 / 2) for order in ((1, 0), (0, 1)))
        x, y = _CENTRED, _CENTRED[:, None]
        steepest = np.stack([dx, dy, dx * x + dy * y, dy * x - dx * y]).reshape(4, -1)
        # Differences that brightness and contrast explain must not move the patch.
        steepest -= steepest.mean(axis=1, keepdims=True)
        steepest -= np.outer(steepest @ self._values, self._values)
        # The identity matrix keeps noise from moving a patch without contrast.
        self._solver = np.linalg.inv(steepest @ steepest.T + np.eye(len(steepest), dtype=np.float32)) @ steepest

    def find(self, roi: Roi, predicted: Box) -> Match | None:
        """The face near where it is predicted; None where nothing there matches."""
        warp = _Warp(roi, predicted)
        for _ in range(_MAX_ITERATIONS):
            patch = warp.patch()
            x, y, growth, rotation = map(float, self._solver @ patch.ravel())
            step_px = max(abs(x), abs(y), abs(growth) * _MIDDLE_PX, abs(rotation) * _MIDDLE_PX)
            if step_px > _MIDDLE_PX:
                return None
            warp.compose(-x, -y, -growth, -rotation)
            if step_px < _CONVERGED_PX:
                break
        values, _ = _normalized(patch)
        if float(values @ self._values) < _MIN_CORRELATION:
            return None
        change = np.abs(values - self._values).reshape(SIDE_PX, SIDE_PX)
        return Match(warp.box(), self._contrast * float(cv2.resize(change, (_GRID, _GRID), interpolation=cv2.INTER_AREA).max()))


class _Warp:
    """The similarity transform from a patch to an ROI, to a fraction of a pixel."""

    def __init__(self, roi: Roi, box: Box) -> None:
        self._roi = roi
        (x, y), area = box.centre, roi.area
        self._x, self._y = (x - area.x) * roi.scale_x, (y - area.y) * roi.scale_y
        self._step_x, self._step_y = box.w * roi.scale_x / SIDE_PX, box.h * roi.scale_y / SIDE_PX
        self._angle = 0.0

    def patch(self) -> _Values:
        """The pixels there, (32, 32)."""
        cos, sin = math.cos(self._angle), math.sin(self._angle)
        rows = ((self._step_x * cos, -self._step_x * sin, self._x), (self._step_y * sin, self._step_y * cos, self._y))
        matrix = np.array([(a, b, c - 0.5 - _MIDDLE_PX * (a + b)) for a, b, c in rows])
        method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(self._roi.pixels, matrix, (SIDE_PX, SIDE_PX), flags=method, borderMode=cv2.BORDER_REPLICATE)
        return patch.astype(np.float32)

    def compose(self, x: float, y: float, growth: float, rotation: float) -> None:
        """Move by ``x`` and ``y`` pixels of the patch, enlarge by the share ``growth``, rotate by ``rotation`` radians."""
        cos, sin = math.cos(self._angle), math.sin(self._angle)
        self._x += self._step_x * (cos * x - sin * y)
        self._y += self._step_y * (sin * x + cos * y)
        self._step_x *= 1 + growth
        self._step_y *= 1 + growth
        self._angle += rotation

    def box(self) -> Box:
        """The patch in pixels of the frame."""
        w, h = SIDE_PX * self._step_x, SIDE_PX * self._step_y
        return self._roi.to_frame(self._x - w / 2, self._y - h / 2, w, h)


def _normalized(patch: _Values) -> tuple[_Values, float]:
    """A patch as a vector of mean 0 and length 1, and the number that it was divided by."""
    values = patch.ravel()
    values = values - values.mean()
    contrast = float(np.sqrt(values @ values)) + 1.0
    return values / np.float32(contrast), contrast
