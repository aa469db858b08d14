"""MediaPipe's BlazeFace (Bazarevsky et al. 2019), the "full range" file: finds turned, tilted and dim faces that Haar misses."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.detectors import Detector, Evidence
from edgefer.errors import MissingLibrary, ModelError
from edgefer.files import ASSETS
from edgefer.model.runtime import open_interpreter
from edgefer.settings import DetectorSettings
from edgefer.spec import Spec
from edgefer.types import Box, Pixels

MODEL = ASSETS / "blazeface.tflite"

_SIZE_PX, _CELLS = 192, 48
"""The side of the network's picture, and the cells on a side, whose middles are the anchors."""
_SQUARE = 1.15
"""Above this aspect ratio a picture longer than two of the network's is searched as two square tiles, one at each end."""
_SCORES = {Evidence.LITTLE: 0.25, Evidence.ENOUGH: 0.4, Evidence.PLENTY: 0.7}
"""Scores, 0..1, from which a find counts."""
_SAME_IOU = 0.3
_GROW, _RAISE = 1.073, 0.061
"""From BlazeFace's box to Haar's, which the classifiers are trained on: medians over 737 faces that both found."""


class BlazeFace(Detector):
    """MediaPipe's BlazeFace: faces turned by up to some 45 degrees.

    It finds most faces from an eighth of the picture's shorter side on; deterministic. Boxes are square and as large as Haar's would
    be. A search costs the same for a picture of any size, and twice that for a long one.
    """

    forms = ("blazeface",)
    resizes = True

    def __init__(self, spec: Spec, settings: DetectorSettings) -> None:
        try:
            self._interpreter = open_interpreter(MODEL.read_bytes(), 1, MODEL)
        except (OSError, ModelError):
            raise MissingLibrary(f"{MODEL}: the model file is missing or damaged; install edgefer again") from None
        outputs = {int(output["shape"][-1]): int(output["index"]) for output in self._interpreter.get_output_details()}
        self._input, self._boxes, self._scores = int(self._interpreter.get_input_details()[0]["index"]), outputs[16], outputs[1]
        middles = (np.arange(_CELLS, dtype=np.float32) + 0.5) / _CELLS
        self._anchors = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
        self._canvas = np.zeros((1, _SIZE_PX, _SIZE_PX, 3), np.float32)

    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Box]:
        """Boxes in pixels of ``luma``, largest first."""
        parts = [self._faces(luma[y : y + height, x : x + width], x, y, _SCORES[evidence]) for x, y, width, height in _squares(*luma.shape)]
        boxes, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        found = [_as_haar(*row) for row in _merged(boxes, scores)]
        kept = [box for box in found if smallest_px <= box.w <= (largest_px or box.w) and _within(box, luma)]
        return sorted(kept, key=lambda box: (-box.area_px, box.x, box.y))

    def _faces(self, part: Pixels, left: int, top: int, least: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Every find in a part that begins at ``left``, ``top``: (n, 4) x and y of the middle, width, height; (n,) scores."""
        scale = self._show(part)
        self._interpreter.set_tensor(self._input, self._canvas)
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._scores)[0, :, 0]
        scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        likely = scores >= least
        raw = self._interpreter.get_tensor(self._boxes)[0, likely, :4]
        # Offsets from the anchor, then width and height, in pixels of the canvas.
        centres = (raw[:, :2] + _SIZE_PX * self._anchors[likely]) / scale + (left, top)
        return np.hstack([centres, raw[:, 2:] / scale]), scores[likely]

    def _show(self, luma: Pixels) -> float:
        """Put the picture into the upper left of the canvas, -1..1 in each of three channels; returns the scale."""
        height, width = luma.shape
        scale = float(_SIZE_PX / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        self._canvas[:] = -1
        self._canvas[0, : size[1], : size[0]] = (small.astype(np.float32) / 127.5 - 1)[:, :, None]
        return scale


def _within(box: Box, luma: Pixels) -> bool:
    """Whether the middle of a box lies in the picture, and not in the margin that makes it square."""
    x, y = box.centre
    return bool(0 <= x < luma.shape[1] and 0 <= y < luma.shape[0])


def _squares(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """The tiles of a picture as x, y, width and height: the whole picture, or two at the ends of a long one: squares, or its halves."""
    long, short = max(height, width), min(height, width)
    if long <= max(_SQUARE * short, 2 * _SIZE_PX):
        return [(0, 0, width, height)]
    side = max(short, -(-long // 2))
    starts = (0, long - side)
    return [(start, 0, side, height) for start in starts] if width > height else [(0, start, width, side) for start in starts]


def _merged(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Overlapping (n, 4) boxes (x and y of the middle, width, height) as one each: their mean, weighted by score."""
    corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
    areas = np.prod(np.maximum(boxes[:, 2:], 0), axis=1)
    left, found = scores.copy(), []
    while left.any():
        best = int(left.argmax())
        overlap = np.minimum(corners[:, 2:], corners[best, 2:]) - np.maximum(corners[:, :2], corners[best, :2])
        shared = np.prod(np.maximum(overlap, 0), axis=1)
        same = (left > 0) & (shared >= _SAME_IOU * (areas + areas[best] - shared))
        same[best] = True
        found.append(np.average(boxes[same], axis=0, weights=scores[same]))
        left[same] = 0
    return found


def _as_haar(x: float, y: float, width: float, height: float) -> Box:
    """The square that Haar would draw around the face in BlazeFace's box."""
    side = _GROW * (width + height) / 2
    return Box(round(x - side / 2), round(y - _RAISE * height - side / 2), round(side), round(side))
