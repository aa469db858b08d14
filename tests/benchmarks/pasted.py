"""Clips of one photographed face of a chosen width and roll, drifting before a photograph without faces; seeded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from convert.photographs import Photographs, read_luma
from edgefer.types import Box, Frame, Pixels

WIDTH_PX, HEIGHT_PX, FPS = 640, 480, 30
NOISE = 1.3
"""Standard deviation of a pixel, of 0..255: a static wall is not the same twice."""
_AROUND, _RIM = 2.2, 0.15
"""A disc is pasted: this many times as wide as the face's label, with a soft rim of this share of its radius."""
_SQUARE = 1.3
"""Haar's square is this many times as wide as a label, which reaches from hairline to chin."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A face (its photograph and label) before a background, ``width_px`` wide as labelled, turned clockwise by ``roll_deg``."""

    photograph: Path
    label: Box
    background: Path
    width_px: int
    roll_deg: float
    seed: int

    def frames(self, count: int = FPS) -> Iterator[tuple[Frame, Box]]:
        """Frames with the square around the face: the camera is static, the face moves one pixel a frame."""
        random = np.random.default_rng(self.seed)
        ground = cv2.resize(read_luma(self.background), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA)
        noise = np.rint(random.normal(0, NOISE, ground.shape)).astype(np.int16)
        face = self._face()
        radius, heading = len(face) / 2, random.uniform(0, 2 * np.pi)
        low = radius + FPS
        begin = random.uniform((low, low), (max(low + 1, WIDTH_PX - low), max(low + 1, HEIGHT_PX - low)))
        side = round(_SQUARE * self.width_px)
        for index in range(count):
            x, y = begin + index * np.array([np.cos(heading), np.sin(heading)])
            pasted = _paste(ground, face, x - radius, y - radius)
            picture = np.clip(pasted + np.roll(noise, tuple(random.integers(0, ground.shape)), (0, 1)), 0, 255).astype(np.uint8)
            yield Frame(index, index / FPS, picture), Box(round(x - side / 2), round(y - side / 2), side, side)

    def _face(self) -> Pixels:
        """The square that the disc is cut from, turned and resized."""
        scale = self.width_px / self.label.w
        luma, done = read_luma(self.photograph), min(scale, 1.0)
        if scale < 1:  # averaged first: a warp alone would pick pixels
            luma = np.asarray(cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        middle = self.label.centre[0] * done, self.label.centre[1] * done
        size = 2 * round(_AROUND * self.width_px / 2) + 1
        matrix = cv2.getRotationMatrix2D(middle, -self.roll_deg, scale / done)
        matrix[:, 2] += size / 2 - np.array(middle)
        return np.asarray(cv2.warpAffine(luma, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _paste(ground: cv2.typing.MatLike, face: Pixels, left: float, top: float) -> np.ndarray:
    """The background (H, W) with the disc of a square face at (left, top), in fractions of a pixel."""
    size = len(face) + 1
    x, y = int(np.floor(left)), int(np.floor(top))
    shift = np.array([[1, 0, left - x], [0, 1, top - y]])
    moved = cv2.warpAffine(face, shift, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rows, columns = np.ogrid[:size, :size]
    radius = len(face) / 2
    away = np.hypot(columns - (left - x) - radius, rows - (top - y) - radius)
    share = np.clip((radius - away) / (_RIM * radius), 0, 1)
    picture = ground.astype(np.float32)
    under = picture[y : y + size, x : x + size]
    under += (share * (moved - under))[: under.shape[0], : under.shape[1]]
    return picture


def pasted_clips(photographs: Photographs, names: list[str], width_px: int, roll_deg: float, count: int) -> list[Clip]:
    """``count`` clips of that width and roll, each with another of the photographs ``names`` (of one face each)."""
    random = np.random.default_rng(2013)
    folder = next(iter(photographs.faces)).parent
    chosen = [folder / names[index] for index in random.permutation(len(names))[:count]]
    grounds = [photographs.empty[index] for index in random.permutation(len(photographs.empty))[:count]]
    turns = random.choice((-1, 1), count)
    return [
        Clip(path, photographs.faces[path][0], ground, width_px, float(turn) * roll_deg, seed)
        for seed, (path, ground, turn) in enumerate(zip(chosen, grounds, turns, strict=True))
    ]
