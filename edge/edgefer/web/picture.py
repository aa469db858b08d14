"""A frame as JPEG for the web page: with boxes, or pixelated."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.overlay import annotate
from edgefer.types import Box, Observation

MAX_SIDE_PX, QUALITY = 960, 80
"""Longer side and JPEG quality of a picture."""
BLOCKS, FACE_BLOCKS = 40, 6
"""Blocks across a pixelated picture, and across a face in it. The whole picture is pixelated, so that a missed face is hidden too."""


def encode(observation: Observation, pixelated: bool, boxes: bool) -> bytes:
    """The frame of an observation as JPEG, at most `MAX_SIDE_PX` wide and high."""
    frame = observation.frame
    bgr = np.asarray(cv2.cvtColor(frame.luma, cv2.COLOR_GRAY2BGR), np.uint8) if frame.bgr is None else frame.bgr
    if pixelated:
        bgr = pixelate(bgr, [face.box for face in observation.faces])
    if boxes:
        bgr = annotate(replace(observation, frame=replace(frame, bgr=bgr)))
    scale = MAX_SIDE_PX / max(bgr.shape[:2])
    small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else bgr
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def pixelate(bgr: npt.NDArray[np.uint8], faces: list[Box]) -> npt.NDArray[np.uint8]:
    """A new (H, W, 3) picture in blocks, with larger blocks on each face."""
    blocks = _pixelate(bgr, BLOCKS)
    for box in faces:
        # A quarter more on every side: hair and chin also identify a person.
        area = slice(max(0, box.y - box.h // 4), box.y + box.h * 5 // 4), slice(max(0, box.x - box.w // 4), box.x + box.w * 5 // 4)
        if blocks[area].size:
            blocks[area] = _pixelate(blocks[area], FACE_BLOCKS)
    return blocks


def _pixelate(bgr: npt.NDArray[np.uint8], across: int) -> npt.NDArray[np.uint8]:
    height, width = bgr.shape[:2]
    block = max(1, round(max(height, width) / across))
    small = cv2.resize(bgr, (max(1, width // block), max(1, height // block)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
