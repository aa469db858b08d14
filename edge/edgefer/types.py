"""The values that pass between the stages: frozen, without behaviour beyond geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

UNCERTAIN = "uncertain"
"""The label when no class is likely enough; it is not a class of the model."""
NO_FACE = "no_face"
"""The label for a frame without a face, in outputs that name one expression."""

RESERVED = (UNCERTAIN, NO_FACE, "any", "face_appeared", "face_left")
"""Names that no class may have: outputs, events and actions use them."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the source frame."""

    x: int
    """Left edge."""
    y: int
    """Top edge."""
    w: int
    """Width."""
    h: int
    """Height."""

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
    """One picture from a source."""

    index: int
    """Its number, from 0."""
    time_s: float
    """Time of capture: seconds since 1970 for a live camera, seconds since its start for a file."""
    luma: Pixels
    """Brightness, (H, W) uint8: detection and classification need nothing else."""
    bgr: Pixels | None = None
    """Colour for people to look at, (H, W, 3) uint8 blue, green, red; None if the source has none."""
    name: str | None = None
    """File name, for sources of pictures."""
    dropped: int = 0
    """Frames of a live source dropped so far because newer ones came first."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A face that a detector found in a frame; ``confirmed``: with so much evidence that it counts twice."""

    box: Box
    confirmed: bool = False
    roll_deg: float = 0.0
    """Roll of the head, -180..180 degrees, clockwise in the picture."""


class TrackState(Enum):
    """How a track got its box in a frame."""

    FOUND = "found"
    """Found in this frame."""
    STATIC = "static"
    """Not searched, because nothing moved around it."""
    SKIPPED = "skipped"
    """Not searched, because the last search was a moment ago; its box is predicted."""
    LOST = "lost"
    """Searched and not found; its box is predicted."""


@dataclass(frozen=True, slots=True)
class Track:
    """A face followed over time. ``id`` is never given to another face in the same run."""

    id: int
    box: Box
    first_s: float
    seen_s: float
    """Time of the last frame in which it was found or static."""
    searched_s: float
    """Time of the last frame in which it was searched or static."""
    confirmed: bool
    """Found often enough to be a face; before that it is a candidate."""
    hits: int = 1
    state: TrackState = TrackState.FOUND
    velocity_px_s: tuple[float, float] = (0.0, 0.0)
    hidden: bool = False
    """It was lost behind another face."""
    roll_deg: float = 0.0
    """Roll of the head, -180..180 degrees, clockwise in the picture."""

    @property
    def missed(self) -> bool:
        """Whether the last search for it failed; it may have been skipped since."""
        return self.searched_s > self.seen_s


@dataclass(frozen=True, slots=True)
class Face:
    """A face with its expression."""

    track: int
    """Number of the face; it keeps it from frame to frame."""
    box: Box
    """Where it is in the frame."""
    expression: str
    """A label of the model, or ``uncertain``."""
    score: float
    """Probability of the likeliest class, 0..1, smoothed over time."""
    scores: Mapping[str, float]
    """Probability of every class, 0..1."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model that classified; ``labels`` are its classes in the order of its outputs."""

    name: str
    sha256: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """The faces of one frame."""

    frame: Frame
    """The frame."""
    faces: tuple[Face, ...]
    """The faces in it, in the order in which they appeared."""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds spent in capture, gate, detect and classify."""
    model: Model | None = None
    """The model that classified the faces: an update may change it during a run."""


def wrapped_deg(angle: float) -> float:
    """The same angle within -180..180 degrees."""
    return (angle + 180) % 360 - 180


CameraHow = Literal["live", "silent", "frozen", "blocked", "missing"]


@dataclass(frozen=True, slots=True)
class CameraState:
    """The state of a live camera, as `edgefer.sources.camera_health` detects it."""

    how: CameraHow
    for_s: float
    """Seconds in this state; when live again, seconds of the interruption."""

    def __str__(self) -> str:
        return {
            "live": f"back after {self.for_s:.0f} s",
            "silent": f"no frame for {self.for_s:.0f} s",
            "frozen": f"the same picture for {self.for_s:.0f} s",
            "missing": f"no camera for {self.for_s:.0f} s",
            "blocked": f"nothing to be seen for {self.for_s:.0f} s: covered, or in the dark",
        }[self.how]
