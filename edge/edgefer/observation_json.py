"""An observation as JSON: one encoding for every output."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgefer import types

Share = Annotated[float, Meta(ge=0, le=1)]


class Face(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A face and its expression."""

    track: Annotated[int, Meta(description="Number of the face in this run; it says which face, not who")]
    box: Annotated[tuple[int, int, int, int], Meta(description="Left, top, width, height in pixels of the source frame")]
    expression: Annotated[str, Meta(description="A class of the model, or uncertain")]
    score: Annotated[float, Meta(ge=0, le=1, description="Probability of the most likely class, smoothed over time")]
    scores: Annotated[dict[str, Share], Meta(description="Probability of each class")]


class Observation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was seen in one frame."""

    time: Annotated[float, Meta(description="When the frame was taken: seconds since 1970, or since the beginning of a file")]
    frame: Annotated[int, Meta(description="Index of the frame")]
    size: Annotated[tuple[int, int], Meta(description="Width, height in pixels")]
    faces: list[Face]
    timings_ms: Annotated[dict[str, float], Meta(description="Milliseconds spent in capture, gate, detect and classify")]
    dropped: Annotated[int, Meta(description="Frames of a camera that were skipped so far because newer ones came")]
    source: Annotated[str, Meta(description="File name, for pictures of a folder")] | UnsetType = UNSET


class CameraLine(msgspec.Struct, frozen=True):
    """A change of a camera's state; unlike an observation it has no ``faces``."""

    time: float
    camera: types.CameraHow
    for_s: float


def observation_fields(observation: types.Observation) -> Observation:
    """An observation with the fields and the precision of its JSON."""
    frame = observation.frame
    height, width = frame.luma.shape
    return Observation(
        time=round(frame.time_s, 3),
        frame=frame.index,
        size=(width, height),
        faces=[face_fields(face) for face in observation.faces],
        timings_ms={stage: round(spent, 3) for stage, spent in observation.timings_ms.items()},
        dropped=frame.dropped,
        source=UNSET if frame.name is None else frame.name,
    )


def face_fields(face: types.Face) -> Face:
    """A face with the fields and the precision of its JSON."""
    box = face.box
    scores = {label: round(score, 4) for label, score in face.scores.items()}
    return Face(face.track, (box.x, box.y, box.w, box.h), face.expression, round(face.score, 4), scores)


def to_json(observation: types.Observation) -> bytes:
    """One line of JSON without its newline."""
    return msgspec.json.encode(observation_fields(observation))


def camera_to_json(time_s: float, state: types.CameraState) -> bytes:
    """One line of JSON without its newline, for a change of a camera's state."""
    return msgspec.json.encode(CameraLine(round(time_s, 3), state.how, round(state.for_s, 1)))
