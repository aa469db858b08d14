"""YuNet: small, turned and tilted faces, in parts of a frame and in photographs of any size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.detectors import Detector, Evidence
from edgefer.detectors.yunet_network import Detection as Scored
from edgefer.detectors.yunet_network import Network, distinct
from edgefer.errors import MissingLibrary, ModelError
from edgefer.files import ASSETS
from edgefer.luma import from_turned, turned_square
from edgefer.settings import DetectorSettings
from edgefer.spec import Spec
from edgefer.types import Box, Detection, Pixels, wrapped_deg

MODEL = ASSETS / "yunet.tflite"

_SCORES = {Evidence.LITTLE: 0.35, Evidence.ENOUGH: 0.56, Evidence.PLENTY: 0.75}
"""Scores, 0..1, from which a find counts. On 591 photographs precision is .953, .980 and .993, recall .952, .941 and .925."""
_DOUBT = 0.2
"""Score from which a find is checked: of faces turned by 60 degrees .95 reach it, of faces turned by 45 .95."""
_CHECK_PX, _CHECK_SHARE = 96, 2.2
"""A find is checked in a square of this many pixels and of this many sides of the face, in which every face has one size."""
_CHECK_ROLLS_DEG = (0, -40, 40)
_SAME_IOU = 0.3
_MEASURE_PX, _MEASURE_SHARE, _MEASURE_STEPS, _UNDER_READ, _READ_UPRIGHT_DEG = 160, 1.5, 3, 1.8, -1.6
"""The landmarks show about half of a head's roll, least in small faces, and -1.6 degrees of an upright one: it is measured in large
squares, step by step."""
_MEASURE_SHIFTS = (-0.06, 0.0, 0.06)
_LEAN_DEG = 15
"""A roll read, or a step of the measure, that may be noise."""
_TILE_PX, _FINE_PX, _OVERLAP_PX = 640, 2560, 160
"""A whole photograph shrunk to a tile has faces from 20 px on; tiles at four times that size, those from 20 to 160 px."""
_WIDER, _WIDER_PX = 1.5, 320
"""A picture in which nothing is found is searched again with a border: its longer side times this, at this size."""
_TURNS_DEG = (0, -40, 40, 90, -90, 180)


class YuNet(Detector):
    """YuNet: faces from some 20 pixels on, turned by up to 60 degrees.

    It searches (H, W) uint8 luma at the size it has: cost grows with the area. Deterministic. Boxes are square and as large as
    Haar's would be. A doubtful find is checked in a small square around it, upright and turned by 40 degrees.
    ``model`` is a file that ``make detector`` wrote.
    """

    forms = ("yunet", "blazeface")
    """``blazeface`` is the name in configuration files of 0.1; it means YuNet now."""
    searches_px = _TILE_PX

    def __init__(self, spec: Spec, settings: DetectorSettings, model: Path = MODEL) -> None:
        try:
            self._network = Network(model)
        except ModelError:
            raise MissingLibrary(f"{model}: the model file is missing or damaged; install edgefer again") from None
        self.maps = self._network.maps

    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Box]:
        """Boxes in pixels of ``luma``, largest first."""
        return [face.box for face in self.faces(luma, smallest_px, largest_px, evidence)]

    def faces(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Detection]:
        """The same with the roll of each head; confirmed are those with `Evidence.PLENTY`."""
        return _bounded(self._checked(luma, _SCORES[evidence]), smallest_px, largest_px)

    def photograph(self, luma: Pixels, smallest_px: int) -> list[Detection]:
        """Faces of a photograph of any size: whole, in tiles if it is large, and where nothing is found with a border and turned."""
        longer, least = max(luma.shape), _SCORES[Evidence.ENOUGH]
        scale = min(1.0, _TILE_PX / longer)
        found = [face.placed(0, 0, scale) for face in self._checked(_shrunk(luma, scale), least)]
        if scale < 1:
            scale = min(1.0, _FINE_PX / longer)
            fine = _shrunk(luma, scale)
            for tile in _tiles(*fine.shape):
                faces = self._checked(fine[tile.y : tile.y + tile.h, tile.x : tile.x + tile.w], least)
                found += [face.placed(tile.x / scale, tile.y / scale, scale) for face in faces if _whole(face.box, tile, fine.shape)]
        return [self.upright(luma, face) for face in _bounded(distinct(found) or self._bordered(luma), smallest_px, 0)]

    def detect(self, luma: Pixels, least_score: float = _SCORES[Evidence.ENOUGH]) -> list[Scored]:
        """Faces with at least that score, 0..1, highest score first, as the network sees them in one pass."""
        return self._network.detect(luma, least_score)

    def upright(self, luma: Pixels, face: Detection) -> Detection:
        """The face with its roll measured, and with the box that it has when it is turned upright: the mean of three views."""
        box, roll = face.box, face.roll_deg if abs(face.roll_deg) > _LEAN_DEG else 0.0
        for _ in range(_MEASURE_STEPS):
            seen = self._measure(luma, box, roll, 0.0)
            if not seen:
                return face
            step, box, roll = abs(wrapped_deg(seen.roll_deg - roll)), seen.box, seen.roll_deg
            if step <= _LEAN_DEG:
                break
        views = [view for shift in _MEASURE_SHIFTS if (view := self._measure(luma, box, roll, shift))]
        if not views:
            return face
        left, top, w, h = (
            round(sum(sides) / len(views)) for sides in zip(*((v.box.x, v.box.y, v.box.w, v.box.h) for v in views), strict=True)
        )
        roll += sum(wrapped_deg(view.roll_deg - roll) for view in views) / len(views)
        return Detection(Box(left, top, w, h), face.confirmed, wrapped_deg(roll))

    def _measure(self, luma: Pixels, box: Box, roll_deg: float, shift: float) -> _Face | None:
        """The face in ``box`` in a square that shows it large, shifted by a share of its side."""
        x, y = (at + shift * box.w for at in box.centre)
        seen = self._view(luma, (x, y), _MEASURE_SHARE * box.w, roll_deg, _MEASURE_PX)
        return max((face for face in seen if face.box.iou(box) >= _SAME_IOU), key=lambda face: face.score, default=None)

    def _checked(self, luma: Pixels, least_score: float) -> list[_Face]:
        """Faces with at least that score; a doubtful one by the score that it has in its own square."""
        found = []
        for face in map(_read, self.detect(luma, _DOUBT)):
            sure = face.score >= _SCORES[Evidence.ENOUGH]
            best = face if sure else self._check(luma, face.box)
            found += [best] if best and best.score >= least_score else []
        return distinct(found)

    def _check(self, luma: Pixels, box: Box) -> _Face | None:
        """The face in ``box`` as it is seen best in its own square, upright or turned."""
        best, side = None, _CHECK_SHARE * box.w
        for roll in _CHECK_ROLLS_DEG:
            for face in self._view(luma, box.centre, side, roll, _CHECK_PX):
                if face.box.iou(box) >= _SAME_IOU and (best is None or face.score > best.score):
                    best = face
            if best and best.score >= _SCORES[Evidence.PLENTY]:
                break
        return best

    def _view(self, luma: Pixels, centre: tuple[float, float], side: float, roll_deg: float, size_px: int) -> list[_Face]:
        """Faces in a square of a picture, turned upright, in pixels of the picture."""
        seen = map(_read, self.detect(turned_square(luma, centre, side, roll_deg, size_px), _DOUBT))
        return [
            _Face(from_turned(face.box, centre, side, roll_deg, size_px), face.score, wrapped_deg(roll_deg + face.roll_deg))
            for face in seen
        ]

    def _bordered(self, luma: Pixels) -> list[_Face]:
        """Faces of a picture with a border, as it is or turned: the first turn in which there are some."""
        height, width = luma.shape
        side = _WIDER * max(height, width)
        for roll in _TURNS_DEG:
            seen = self._view(luma, (width / 2, height / 2), side, roll, _WIDER_PX)
            if found := [face for face in seen if face.score >= _SCORES[Evidence.PLENTY if roll else Evidence.ENOUGH]]:
                return found
        return []


@dataclass(frozen=True, slots=True)
class _Face:
    box: Box
    score: float
    roll_deg: float

    def placed(self, left: float, top: float, scale: float) -> _Face:
        """The same face in a picture of which the searched one is the part at (left, top), ``scale`` times as large."""
        x, y, w, h = (side / scale for side in (self.box.x, self.box.y, self.box.w, self.box.h))
        return _Face(Box(round(left + x), round(top + y), round(w), round(h)), self.score, self.roll_deg)


def _read(face: Scored) -> _Face:
    return _Face(face.box, face.score, _UNDER_READ * (face.roll_deg - _READ_UPRIGHT_DEG))


def _bounded(faces: Iterable[_Face], smallest_px: int, largest_px: int) -> list[Detection]:
    """Faces with a side within bounds, largest first."""
    kept = [
        Detection(face.box, face.score >= _SCORES[Evidence.PLENTY], face.roll_deg)
        for face in faces
        if smallest_px <= face.box.w <= (largest_px or face.box.w)
    ]
    return sorted(kept, key=lambda face: (-face.box.area_px, face.box.x, face.box.y))


def _shrunk(luma: Pixels, scale: float) -> Pixels:
    return np.asarray(cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else luma


def _tiles(height: int, width: int) -> Iterator[Box]:
    """Squares of `_TILE_PX` that cover a picture and overlap by at least `_OVERLAP_PX`."""

    def starts(side: int) -> npt.NDArray[np.int64]:
        count = 1 + max(0, math.ceil((side - _TILE_PX) / (_TILE_PX - _OVERLAP_PX)))
        return np.linspace(0, max(0, side - _TILE_PX), count).astype(int)

    for y in starts(height):
        for x in starts(width):
            yield Box(int(x), int(y), min(_TILE_PX, width), min(_TILE_PX, height))


def _whole(box: Box, tile: Box, shape: tuple[int, ...]) -> bool:
    """Whether the box of a face in a tile does not reach over an edge of the tile that is inside the picture."""
    left, top = box.x > 0 or tile.x == 0, box.y > 0 or tile.y == 0
    right, bottom = box.x + box.w < tile.w or tile.x + tile.w == shape[1], box.y + box.h < tile.h or tile.y + tile.h == shape[0]
    return left and top and right and bottom
