"""YuNet (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector"): faces from some 20 px on, with five landmarks."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edgefer.detectors import Detector, Evidence
from edgefer.errors import MissingLibrary, ModelError
from edgefer.files import ASSETS
from edgefer.model.runtime import Interpreter, open_interpreter
from edgefer.settings import DetectorSettings
from edgefer.spec import Spec
from edgefer.types import Box, Pixels

Array = npt.NDArray[np.float32]

MODEL, CARD = ASSETS / "yunet.tflite", "card.json"

STRIDES = (8, 16, 32)
STEP_PX = STRIDES[-1]
"""The sides of the network's input are multiples of this."""
_SIZES_KEPT = 4
"""Input sizes that stay allocated: a new one costs a third of a search."""
_SCORES = {Evidence.LITTLE: 0.35, Evidence.ENOUGH: 0.56, Evidence.PLENTY: 0.75}
"""Scores, 0..1, from which a find counts. On 591 photographs precision is .953, .980 and .993, recall .952, .941 and .925."""
_SAME_IOU = 0.3
_TILE_PX, _FINE_PX, _OVERLAP_PX = 640, 2560, 160
"""A whole photograph shrunk to a tile has faces from 20 px on; tiles at four times that size, those from 20 to 160 px."""
_SIDE, _RAISE = 1.08, 0.025
"""From YuNet's box to Haar's square, which the classifiers are trained on: medians over 278 faces that both found."""


class DetectorCard(msgspec.Struct, frozen=True):
    """The contract of a detector file: ``card.json`` in a zip appended to it."""

    name: str
    gains: list[list[float]]
    """Gain of each output channel (3 strides, 16 channels): dequantized outputs are divided by it."""
    provenance: dict[str, str] = {}
    metrics: dict[str, float] = {}
    model_sha256: str = ""
    """Digest of the bytes before the card."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A face: its square box, score 0..1, and (x, y) in pixels of right eye, left eye, nose tip, right and left mouth corner.

    Right and left are the person's own: the right eye of an upright face is on the left of the picture.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...]

    @property
    def roll_deg(self) -> float:
        """Roll of the head, -180..180 degrees: the angle of the line from eye to eye, clockwise in the picture."""
        (x0, y0), (x1, y1) = self.landmarks[:2]
        return math.degrees(math.atan2(y1 - y0, x1 - x0))

    def placed(self, left: float, top: float, scale: float) -> Detection:
        """The same face in a picture of which the searched one is the part at (left, top), ``scale`` times as large."""
        x, y, w, h = (side / scale for side in (self.box.x, self.box.y, self.box.w, self.box.h))
        landmarks = tuple((left + x / scale, top + y / scale) for x, y in self.landmarks)
        return Detection(Box(round(left + x), round(top + y), round(w), round(h)), self.score, landmarks)


class YuNet(Detector):
    """YuNet: small, turned and tilted faces, and five landmarks each.

    It finds faces in (H, W) uint8 luma, upright to some 30 degrees, 16 to 400 px wide; deterministic.
    It searches a picture at the size it has: cost grows with the area. Boxes are square and as large as Haar's would be.
    ``model`` is a file that ``make detector`` wrote.
    """

    forms = ("yunet",)

    def __init__(self, spec: Spec, settings: DetectorSettings, model: Path = MODEL) -> None:
        self._path = model
        try:
            self._model, card = read_detector(model)
            self._gains = np.array(card.gains, np.float32)
            self._sized: OrderedDict[tuple[int, int], _Sized] = OrderedDict()
            self.maps(np.zeros((STEP_PX, STEP_PX), np.uint8))
        except ModelError:
            raise MissingLibrary(f"{model}: the model file is missing or damaged; install edgefer again") from None

    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Box]:
        """Boxes in pixels of ``luma``, largest first."""
        found = [face.box for face in self.detect(luma, _SCORES[evidence])]
        kept = [box for box in found if smallest_px <= box.w <= (largest_px or box.w)]
        return sorted(kept, key=lambda box: (-box.area_px, box.x, box.y))

    def detect(self, luma: Pixels, least_score: float = _SCORES[Evidence.ENOUGH]) -> list[Detection]:
        """Faces with at least that score, 0..1, highest score first."""
        return detections(self.maps(luma), least_score)

    def photograph(self, luma: Pixels, least_score: float = _SCORES[Evidence.ENOUGH]) -> list[Detection]:
        """Faces in a photograph of any size: at `_TILE_PX` the whole of it, and a larger one in tiles at up to `_FINE_PX` as well."""
        longer = max(luma.shape)
        scale = min(1.0, _TILE_PX / longer)
        found = [face.placed(0, 0, scale) for face in self.detect(_shrunk(luma, scale), least_score)]
        if scale < 1:
            scale = min(1.0, _FINE_PX / longer)
            fine = _shrunk(luma, scale)
            for tile in _tiles(*fine.shape):
                faces = self.detect(fine[tile.y : tile.y + tile.h, tile.x : tile.x + tile.w], least_score)
                found += [face.placed(tile.x / scale, tile.y / scale, scale) for face in faces if _whole(face.box, tile, fine.shape)]
        return distinct(found)

    def maps(self, luma: Pixels) -> list[Array]:
        """The network's output (h, w, 16) for each stride."""
        canvas = canvas_of(luma)
        size = canvas.shape[1], canvas.shape[2]
        if size not in self._sized:
            self._sized[size] = _Sized(open_interpreter(self._model, 1, self._path), size)
            if len(self._sized) > _SIZES_KEPT:
                self._sized.popitem(last=False)
        self._sized.move_to_end(size)
        return [output / gain for output, gain in zip(self._sized[size](canvas), self._gains, strict=True)]


class _Sized:
    """The network for one input size."""

    def __init__(self, interpreter: Interpreter, size: tuple[int, int]) -> None:
        self._interpreter, self._input = interpreter, int(interpreter.get_input_details()[0]["index"])
        interpreter.resize_tensor_input(self._input, (1, *size, 1))
        interpreter.allocate_tensors()
        # The finest stride first.
        details = sorted(interpreter.get_output_details(), key=lambda output: -int(output["shape"][1]))
        self._outputs = [(int(output["index"]), *output["quantization"]) for output in details]

    def __call__(self, canvas: Pixels) -> list[Array]:
        """Dequantized outputs: (q - zero point) * scale."""
        self._interpreter.set_tensor(self._input, canvas)
        self._interpreter.invoke()
        return [
            (self._interpreter.get_tensor(index)[0].astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
            for index, scale, zero_point in self._outputs
        ]


def read_detector(path: Path) -> tuple[bytes, DetectorCard]:
    """The flatbuffer of a detector file and its card; raises `ModelError` where it is missing, truncated or changed."""
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            card = msgspec.json.decode(archive.read(CARD), type=DetectorCard)
            model = content[: min(entry.header_offset for entry in archive.infolist())]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path}: not a detector file: {error}") from None
    if hashlib.sha256(model).hexdigest() != card.model_sha256:
        raise ModelError(f"{path}: changed after its card was written (sha256 differs)")
    return model, card


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


def canvas_of(luma: Pixels) -> Pixels:
    """The network's input (1, H + 1, W + 1, 1) for luma (h, w): H and W are the next multiples of 32, what is added is black.

    The first row and the first column are the padding of the first convolution.
    """
    height, width = (-(-side // STEP_PX) * STEP_PX for side in luma.shape)
    canvas = np.zeros((1, height + 1, width + 1, 1), np.uint8)
    canvas[0, 1 : luma.shape[0] + 1, 1 : luma.shape[1] + 1, 0] = luma
    return canvas


def detections(maps: Sequence[Array], least_score: float) -> list[Detection]:
    """Faces from the network's outputs (h, w, 16) for each stride, highest score first, each face once."""
    rows = [row for cells, stride in zip(maps, STRIDES, strict=True) for row in _decoded(cells, stride, least_score).tolist()]
    return distinct(_detection(*row) for row in rows)


def scores(cells: Array) -> Array:
    """The score 0..1 of each cell: the geometric mean of the probabilities of a face and of an object's middle."""
    face, middle = (1 / (1 + np.exp(-np.clip(cells[..., channel], -50, 50))) for channel in (0, 1))
    return np.asarray(np.sqrt(face * middle), np.float32)


def distinct(faces: Iterable[Detection]) -> list[Detection]:
    """Non-maximum suppression: of overlapping boxes the one with the highest score; highest score first."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(face.box.iou(other.box) < _SAME_IOU for other in kept):
            kept.append(face)
    return kept


def _decoded(cells: Array, stride: int, least_score: float) -> Array:
    """(n, 15) of score, x and y of the middle, width, height, and x and y of five landmarks, in pixels, of the n cells with that score.

    A cell's channels 2 to 15 are in strides: x and y of the middle from the cell's upper left corner, the natural logarithms of width
    and height, and x and y of each landmark from the same corner.
    """
    score = scores(cells)
    row, column = np.nonzero(score >= least_score)
    likely, corner = cells[row, column], np.stack([column, row], axis=1).astype(np.float32)
    middle = likely[:, 2:4] + corner
    size = np.exp(likely[:, 4:6])
    landmarks = likely[:, 6:] + np.tile(corner, 5)
    return np.hstack([score[row, column, None], stride * np.hstack([middle, size, landmarks])])


def _detection(score: float, x: float, y: float, width: float, height: float, *landmarks: float) -> Detection:
    side = _SIDE * math.sqrt(width * height)
    box = Box(round(x - side / 2), round(y - _RAISE * height - side / 2), round(side), round(side))
    return Detection(box, score, tuple(zip(landmarks[::2], landmarks[1::2], strict=True)))
