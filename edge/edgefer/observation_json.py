"""An observation as JSON: one encoding for every output."""

from __future__ import annotations

import msgspec

from edgefer.types import CameraState, Face, Observation


def to_json(observation: Observation) -> bytes:
    """One line of JSON without its newline. Boxes are [x, y, w, h] in pixels of the source frame, times in seconds."""
    frame = observation.frame
    height, width = frame.luma.shape
    line: dict[str, object] = {
        "time": round(frame.time_s, 3),
        "frame": frame.index,
        "size": [width, height],
        "faces": [face_fields(face) for face in observation.faces],
        "timings_ms": {stage: round(spent, 3) for stage, spent in observation.timings_ms.items()},
        "dropped": frame.dropped,
    }
    if frame.name is not None:
        line["source"] = frame.name
    return msgspec.json.encode(line)


def camera_to_json(time_s: float, state: CameraState) -> bytes:
    """The line for a camera state, without its newline; it has no ``faces``."""
    return msgspec.json.encode({"time": round(time_s, 3), "camera": state.how, "for_s": round(state.for_s, 1)})


def face_fields(face: Face) -> dict[str, object]:
    """The JSON fields of a face."""
    box = face.box
    return {
        "track": face.track,
        "box": [box.x, box.y, box.w, box.h],
        "expression": face.expression,
        "score": round(face.score, 4),
        "scores": {label: round(score, 4) for label, score in face.scores.items()},
    }
