"""The values that pass between the stages: frozen, slotted, without behaviour beyond geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

UNCERTAIN = "uncertain"
"""The answer given when no class is likely enough. An answer, not a class."""
NO_FACE = "no_face"
"""What outputs that name one expression say where there is no face."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the source frame: left, top, width, height."""

    x: int
    y: int
    w: int
    h: int

    @property
    def area_px(self) -> int:
        """Width times height, in square pixels."""
        return self.w * self.h

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle, in pixels."""
        return self.x + self.w / 2, self.y + self.h / 2

    def iou(self, other: Box) -> float:
        """Intersection over union with another box, 0..1."""
        w = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        h = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        if w <= 0 or h <= 0:
            return 0.0
        return w * h / (self.area_px + other.area_px - w * h)

    def blend(self, other: Box, keep: float) -> Box:
        """Between this box and another, ``keep`` (0..1) of the way from the other."""
        pairs = ((self.x, other.x), (self.y, other.y), (self.w, other.w), (self.h, other.h))
        return Box(*(round(keep * a + (1 - keep) * b) for a, b in pairs))


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    ``luma`` is (H, W) uint8, all that detection and classification need. ``bgr`` is (H, W, 3) uint8 where the
    source has colour, for people to look at. ``time_s`` is the time of capture: seconds since 1970 for a live
    camera, seconds since its beginning for a file. ``name`` is the file name for sources of pictures.
    """

    index: int
    time_s: float
    luma: Pixels
    bgr: Pixels | None = None
    name: str | None = None
    dropped: int = 0
    """Frames of a live source thrown away so far because newer ones came first."""


@dataclass(frozen=True, slots=True)
class Track:
    """A face followed over time. ``id`` is never given to another face in the same run."""

    id: int
    box: Box
    first_s: float
    seen_s: float
    """Time of the last frame in which it was found, or in which nothing moved around it."""
    looked_s: float
    """Time of the last frame in which it was looked for."""
    shown: bool
    """Whether it was found often enough to be believed."""


@dataclass(frozen=True, slots=True)
class Face:
    """A tracked face with its expression: ``expression`` is a label of the model, or ``uncertain``."""

    track: int
    box: Box
    expression: str
    score: float
    """Probability of the most likely class, 0..1, smoothed over time."""
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Model:
    """Which model answered; ``labels`` are its classes in the order of its outputs."""

    name: str
    sha256: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen in one frame."""

    frame: Frame
    faces: tuple[Face, ...]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds spent in capture, gate, detect and classify."""
    model: Model | None = None
    """Whose answers these are: it may change while edgefer runs."""


CameraHow = Literal["live", "silent", "frozen", "blocked"]


@dataclass(frozen=True, slots=True)
class CameraState:
    """What a live camera is up to, as `edgefer.sources.camera_health` notices it."""

    how: CameraHow
    for_s: float
    """Seconds it has been so; where it is live again, seconds it was not."""

    def __str__(self) -> str:
        return {
            "live": f"back after {self.for_s:.0f} s",
            "silent": f"no frame for {self.for_s:.0f} s",
            "frozen": f"the same picture for {self.for_s:.0f} s",
            "blocked": f"nothing to be seen for {self.for_s:.0f} s: covered, or in the dark",
        }[self.how]
