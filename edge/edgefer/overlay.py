"""The overlay: boxes and labels drawn on a frame, for people."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.lettering import in_ascii, letters, needs_font
from edgefer.types import UNCERTAIN, Observation, Pixels

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BOX_BGR, _UNSURE_BGR, _TEXT_BGR = (60, 145, 40), (120, 120, 120), (255, 255, 255)


def annotate(observation: Observation) -> npt.NDArray[np.uint8]:
    """A new (H, W, 3) uint8 BGR picture of the frame with each face's box, label and probability, or "No Face Found"."""
    frame = observation.frame
    picture = cv2.cvtColor(frame.luma, cv2.COLOR_GRAY2BGR) if frame.bgr is None else frame.bgr.copy()
    scale = max(0.4, min(picture.shape[:2]) / 700)
    if not observation.faces:
        _text(picture, "No Face Found", (round(12 * scale), round(30 * scale)), scale, (40, 40, 200))
    for face in observation.faces:
        colour = _UNSURE_BGR if face.expression == UNCERTAIN else _BOX_BGR
        box = face.box
        cv2.rectangle(picture, (box.x, box.y), (box.x + box.w, box.y + box.h), colour, max(1, round(2 * scale)))
        _text(picture, f"{face.expression} {100 * face.score:.0f}%  #{face.track}", (box.x, box.y - round(6 * scale)), scale, colour)
    return np.asarray(picture, np.uint8)


def _text(picture: cv2.typing.MatLike, text: str, at: tuple[int, int], scale: float, colour: tuple[int, int, int]) -> None:
    """White text on a filled bar, readable on any background and inside the picture."""
    drawn = letters(text, max(9, round(26 * scale))) if needs_font(text) else None
    text, thickness = in_ascii(text), max(1, round(1.6 * scale))
    if drawn:
        height, width = drawn.mask.shape
        below = drawn.below_px
        height -= below
    else:
        (width, height), below = cv2.getTextSize(text, _FONT, 0.7 * scale, thickness)
    x = max(0, min(at[0], picture.shape[1] - width))
    y = max(height + below, at[1])
    cv2.rectangle(picture, (x, y - height - below), (x + width, y + below), colour, cv2.FILLED)
    if drawn:
        _blend(picture, drawn.mask, x, y - height)
    else:
        cv2.putText(picture, text, (x, y), _FONT, 0.7 * scale, _TEXT_BGR, thickness, cv2.LINE_AA)


def _blend(picture: cv2.typing.MatLike, mask: Pixels, x: int, y: int) -> None:
    """White where ``mask`` (h, w) is 255, with its upper left corner at (x, y); what is outside the picture is left out."""
    part = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    cover = mask[: part.shape[0], : part.shape[1], None].astype(np.uint16)
    part[:] = (part * (255 - cover) + np.array(_TEXT_BGR, np.uint16) * cover + 127) // 255
