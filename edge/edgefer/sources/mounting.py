"""How a camera is mounted: the options of every source that turn, flip and stretch its pictures, and the frames made so."""

from __future__ import annotations

import math
import re
from typing import Literal

import cv2
import numpy as np

from edgefer.luma import luma_of
from edgefer.settings import Table
from edgefer.sources.pictures import MAX_PIXELS
from edgefer.types import Frame, Pixels


class MountingOptions(Table, frozen=True, kw_only=True):
    """The options that every source has."""

    rotation: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise by which pictures are turned, so that faces stand upright."""
    hflip: bool = False
    """Exchange left and right, after the turn."""
    vflip: bool = False
    """Exchange up and down, after the turn."""

    @property
    def words(self) -> str:
        """For a source's description: what is done to its pictures."""
        return f", turned by {self.rotation}" * (self.rotation != 0) + ", flipped" * (self.hflip or self.vflip)

    def frame(self, index: int, time_s: float, bgr: cv2.typing.MatLike, name: str | None = None) -> Frame:
        """A frame, turned and flipped, from an (H, W, 3) uint8 BGR picture as the camera gives it.

        Only the luma is moved in memory; the colour is a view, which costs nothing until somebody reads it.
        """
        turned = np.rot90(np.asarray(bgr, np.uint8), -self.rotation // 90)
        return Frame(index, time_s, self.turn(luma_of(bgr)), turned[:: -1 if self.vflip else 1, :: -1 if self.hflip else 1], name)

    def turn(self, luma: Pixels) -> Pixels:
        """(H, W) uint8, turned and flipped; the same array where there is nothing to do."""
        if self.rotation:
            luma = np.asarray(cv2.rotate(luma, _ROTATE[self.rotation]), np.uint8)
        if self.hflip or self.vflip:
            luma = np.asarray(cv2.flip(luma, -1 if self.hflip and self.vflip else int(self.hflip)), np.uint8)
        return luma


class VideoOptions(MountingOptions, frozen=True, kw_only=True):
    """Of a source whose pixels may be wider than high, as those of many recorders are."""

    aspect: str = ""
    """Width to height of the whole picture before the turn, such as 16:9; empty: as the source says, else square pixels."""

    def __post_init__(self) -> None:
        if self.aspect and not 0.1 <= _ratio(self.aspect) <= 10:
            raise ValueError(f"aspect is width:height, such as 16:9, from 1:10 to 10:1, found {self.aspect!r}")

    def square(self, bgr: cv2.typing.MatLike, pixel_aspect: float = 1.0) -> cv2.typing.MatLike:
        """A picture with its width changed so that pixels are square, and shrunk to `MAX_PIXELS`; the same array where both are so.

        ``pixel_aspect``: width to height of a pixel as the source says.
        """
        height, width = bgr.shape[:2]
        wanted = round(height * _ratio(self.aspect) if self.aspect else width * pixel_aspect)
        shrink = max(1.0, math.sqrt(wanted * height / MAX_PIXELS))
        size = round(wanted / shrink), round(height / shrink)
        if size == (width, height):
            return bgr
        return cv2.resize(bgr, size, interpolation=cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR)


_ROTATE = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def _ratio(text: str) -> float:
    """``16:9`` as a number; 0 if it is none."""
    match = re.fullmatch(r"(\d{1,5}):(\d{1,5})", text)
    return int(match[1]) / int(match[2]) if match and int(match[2]) else 0.0
