"""Drawn faces that move and change expression, so that edgefer can be tried, tested and measured without a camera."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from edgefer.errors import SettingsError
from edgefer.sources import Source
from edgefer.sources.drawn import (
    BODY_SIDE,
    BODY_TOP,
    BOX_SIDE,
    BOX_Y,
    LEFT,
    PRESETS,
    TOP,
    DrawnFace,
    Expression,
    Pose,
    backdrop,
    paste,
    smooth_step,
)
from edgefer.sources.mounting import MountingOptions
from edgefer.spec import Spec
from edgefer.types import Box, Frame, Pixels

HOLD_S, BLEND_S = 3.0, 0.6
"""Seconds each expression is held, and seconds from one to the next."""


class SyntheticOptions(MountingOptions, frozen=True):
    """What is drawn."""

    size: str = "640x480"
    """Width x height in pixels, 160x120 to 1920x1080."""
    fps: Annotated[float, Meta(gt=0, le=1000)] = 30.0
    """Frames a second."""
    faces: Annotated[int, Meta(ge=0, le=30)] = 1
    """Number of faces."""
    seconds: Annotated[float, Meta(gt=0)] | None = None
    """Seconds until the end; without it there is no end."""
    seed: Annotated[int, Meta(ge=0)] = 0
    """Chooses the people and their movements."""
    paced: bool = True
    """Frames come in real time, as from a camera; false: as fast as they are asked for, and none is dropped."""
    still: bool = False
    """Every frame shows the same picture."""


class Synthetic(Source):
    """Drawn faces that move and change expression; the same options give the same frames."""

    forms = ("synthetic:",)
    options = SyntheticOptions
    repeats = True

    def __init__(self, spec: Spec) -> None:
        self._options = spec.read(SyntheticOptions)
        self.live = self._options.paced
        self.scene = scene = Scene(self._options)
        size = f"{scene.width_px}x{scene.height_px}{self._options.words}"
        self.description = f"drawn faces ({self._options.faces}), {size}, {self._options.fps:.3g} frames a second"
        self._closed = False

    @classmethod
    def check(cls, spec: Spec) -> None:
        """Raises `SettingsError` for a spec that cannot be opened; draws nothing."""
        super().check(spec)
        _size(spec.read(SyntheticOptions).size)

    def __iter__(self) -> Iterator[Frame]:
        """Frames until ``seconds`` are over or the source is closed."""
        options, begun_s, index = self._options, time.monotonic(), 0
        while not self._closed and (options.seconds is None or index < options.seconds * options.fps):
            if options.paced:
                time.sleep(max(0.0, begun_s + index / options.fps - time.monotonic()))
            yield options.frame(index, index / options.fps, self.scene.draw(index))
            index += 1

    def close(self) -> None:
        """End the iteration."""
        self._closed = True


@dataclass(frozen=True, slots=True)
class Truth:
    """What was drawn: the square a Haar detector should find, in pixels, and the preset in force."""

    box: Box
    expression: str


class Scene:
    """Drawn people in front of a wall; frame i depends on the options and i, on nothing else.

    Raises `SettingsError` for a size outside its range.
    """

    def __init__(self, options: SyntheticOptions) -> None:
        self._options, faces = options, options.faces
        self.width_px, self.height_px = w, h = _size(options.size)
        # Of all grids that hold them, the one with the largest heads; a cell leaves its head room to move.
        grids = [(columns, max(1, -(-faces // columns))) for columns in range(1, max(1, faces) + 1)]
        units_px = [min(0.3 * w / columns, 0.225 * h / rows) for columns, rows in grids]
        self._unit_px = max(units_px)
        self._columns, rows = grids[units_px.index(self._unit_px)]
        self._cell = w / self._columns, h / rows
        self._people = [DrawnFace(options.seed, n, self._unit_px) for n in range(faces)]
        self._presets = [astuple(e) for e in PRESETS.values()]
        self._backdrop = backdrop(w, h)
        # One sheet of sensor noise around 8, of which every frame takes another cut: cheaper than fresh.
        random = np.random.default_rng(options.seed)
        self._noise: Pixels = np.empty((h + 32, w + 32, 3), np.uint8)
        for row in self._noise:
            row[:] = np.clip(2 * random.standard_normal(row.shape, np.float32) + 8.5, 0, 16)

    def truth(self, i: int) -> tuple[Truth, ...]:
        """What frame ``i`` shows, face by face."""
        found = []
        for n in range(len(self._people)):
            pose, (first, second, blend) = self._pose(n, self._time_s(i)), self._mood(n, self._time_s(i))
            side = round(BOX_SIDE * pose.unit_px)
            x, y = (round(v - side / 2) for v in pose.at(0, BOX_Y))
            found.append(Truth(Box(x, y, side, side), list(PRESETS)[first if blend < 0.5 else second]))
        return tuple(found)

    def _time_s(self, i: int) -> float:
        return 0.0 if self._options.still else i / self._options.fps

    def _pose(self, n: int, at_s: float) -> Pose:
        phase, (w, h), unit_px = self._people[n].look.phase, self._cell, self._unit_px
        reach_x, reach_y = 0.55 * max(0.0, w / 2 - 1.4 * unit_px), 0.6 * max(0.0, h / 2 - 1.7 * unit_px)
        sway, bob, roll, breath = (
            math.sin(2 * math.pi * at_s / period_s + p) for period_s, p in zip((13, 9, 7, 11), phase[4:], strict=True)
        )
        x = (n % self._columns + 0.5) * w + reach_x * sway
        y = (n // self._columns + 0.5) * h + 0.1 * unit_px + reach_y * bob
        return Pose(x, y, unit_px * (1 + 0.04 * breath), math.radians(7) * roll)

    def _mood(self, n: int, at_s: float) -> tuple[int, int, float]:
        """Preset now, preset next, and how far between, 0..1; each face is one preset ahead of the face before it."""
        slot, into_s = divmod(at_s, HOLD_S + BLEND_S)
        first = (int(slot) + n) % len(PRESETS)
        return first, (first + 1) % len(PRESETS), float(smooth_step(HOLD_S, HOLD_S + BLEND_S, into_s))

    def draw(self, i: int) -> Pixels:
        """Frame ``i``, (H, W, 3) uint8 BGR, the rows of people from the back to the front."""
        at_s = self._time_s(i)
        bgr = self._backdrop.copy()
        everyone = [(face, self._pose(n, at_s), self._mood(n, at_s)) for n, face in enumerate(self._people)]
        for begin in range(0, len(everyone), self._columns):
            row = everyone[begin : begin + self._columns]
            for face, pose, _ in row:
                upright = Pose(pose.x, pose.y, pose.unit_px, 0.0)
                paste(bgr, face.body, (-BODY_SIDE, BODY_TOP), face.body_k, upright, endless=True)
            for face, pose, (first, second, blend) in row:
                ends = zip(self._presets[first], self._presets[second], strict=True)
                e = Expression(*(a + (b - a) * blend for a, b in ends))
                head = face.draw(first, second, blend, e, at_s)
                paste(bgr, head, (LEFT, TOP), face.k, pose)
        if not self._options.still:
            y, x = 11 * i % 32, 19 * i % 31
            cv2.addWeighted(bgr, 1, self._noise[y : y + bgr.shape[0], x : x + bgr.shape[1]], 1, -8, dst=bgr)
        return bgr


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or not (160 <= int(match[1]) <= 1920 and 120 <= int(match[2]) <= 1080):
        raise SettingsError(f"synthetic: size {text!r} is not between 160x120 and 1920x1080; write size=640x480")
    return int(match[1]), int(match[2])
