"""Keeps pictures of the largest face by class, and only those that differ from the ones it has."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.errors import SettingsError
from edgefer.files import atomic_path
from edgefer.pipeline.crop import crop_face, crop_square, cut_square
from edgefer.types import RESERVED, Face, Frame, Observation

MARGIN = 0.5
"""What is kept around a face's box, on every side, as a share of it: whoever trains can crop again."""
LARGEST_PX = 320
ALIKE = 0.95
"""Correlation of two faces from which the second shows nothing new."""
GAP_S = 0.2
"""Shortest time between two pictures, in the time of the source."""
_SIDE_PX = 20
Vector = npt.NDArray[np.float32]


class Collector:
    """Pictures of one class at a time, in ``folder/<class>/``, up to ``count`` of each class.

    ``countdown_s``: how long after `choose` the first picture is kept. Pictures of earlier calls count. Raises `SettingsError` where
    a class cannot be a folder, or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, classes: Sequence[str], count: int, countdown_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.count, self._countdown_s, self._clock = count, countdown_s, clock
        self._folders = {label: folder / label for label in map(_checked, classes)}
        self._kept: dict[str, list[Vector]] = {label: [] for label in self._folders}
        for label, of_class in self._folders.items():
            try:
                of_class.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SettingsError(f"{of_class}: cannot make this folder: {error.strerror}; choose another DIR") from None
            self._kept[label] = [vector for file in sorted(of_class.glob("*.jpg")) if (vector := _of_file(file)) is not None]
        self.current = ""
        """The class whose pictures are kept now; empty: none."""
        self._from_s = 0.0
        self._last_s = float("-inf")

    @property
    def counts(self) -> dict[str, int]:
        """Pictures of each class."""
        return {label: len(kept) for label, kept in self._kept.items()}

    @property
    def countdown_s(self) -> float:
        """Seconds until pictures of the chosen class are kept."""
        return max(0.0, self._from_s - self._clock()) if self.current else 0.0

    def full(self, label: str) -> bool:
        """Whether a class has all its pictures."""
        return len(self._kept[label]) >= self.count

    def choose(self, label: str) -> None:
        """Keep pictures of a class from the end of the countdown on; empty: of none. Raises `SettingsError` for an unknown class."""
        if label and label not in self._folders:
            raise SettingsError(f"no class {label[:40]!r}; there are {', '.join(self._folders)}")
        self._from_s, self.current = self._clock() + self._countdown_s, label

    def add(self, observation: Observation) -> Path | None:
        """Keep the largest face of a frame if it is wanted and shows something new; returns its file."""
        label, frame = self.current, observation.frame
        if not label or not observation.faces or self.countdown_s or self.full(label):
            return None
        if 0 <= frame.time_s - self._last_s < GAP_S:
            return None
        face = max(observation.faces, key=lambda one: one.box.area_px)
        vector = _vector(crop_face(frame.luma, face.box, 0.0, _SIDE_PX, _SIDE_PX))
        kept = self._kept[label]
        if kept and max(float(vector @ other) for other in kept) >= ALIKE:
            return None
        self._last_s = frame.time_s
        path = self._folders[label] / f"{time.strftime('%Y%m%d-%H%M%S')}-{len(kept):04d}.jpg"
        content = cv2.imencode(".jpg", _picture(frame, face), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        with atomic_path(path) as draft:
            draft.write_bytes(content.tobytes())
        kept.append(vector)
        return path


def _checked(label: str) -> str:
    """A class's name; raises `SettingsError` where it cannot be a label and a folder."""
    label = unicodedata.normalize("NFC", label).strip()
    if not label or label in RESERVED or not label.isprintable() or "/" in label or "\\" in label or label.startswith("."):
        raise SettingsError(f"--class {label[:40]!r}: a word such as wink is expected, not {RESERVED[0]!r} and no path")
    return label


def _picture(frame: Frame, face: Face) -> cv2.typing.MatLike:
    """The face with its surroundings; pixels outside the frame repeat its edge."""
    whole: cv2.typing.MatLike = frame.luma if frame.bgr is None else frame.bgr
    left, top, side = crop_square(face.box, MARGIN)
    size = max(1, round(side))
    cut = cut_square(whole, round(left), round(top), size)
    return cv2.resize(cut, (LARGEST_PX, LARGEST_PX), interpolation=cv2.INTER_AREA) if size > LARGEST_PX else cut


def _of_file(file: Path) -> Vector | None:
    """The face in a picture that an earlier call kept: its middle."""
    luma = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    if luma is None or min(luma.shape) < 4:  # no picture of ours
        return None
    rim = round(luma.shape[0] * MARGIN / (1 + 2 * MARGIN))
    return _vector(cv2.resize(luma[rim:-rim, rim:-rim], (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA))


def _vector(face: cv2.typing.MatLike) -> Vector:
    """A face as a vector of mean 0 and length 1: light does not count."""
    values = np.asarray(face, np.float32).ravel()
    values = values - values.mean()
    return np.asarray(values / (np.linalg.norm(values) + 1e-3), np.float32)
