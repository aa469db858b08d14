"""Faces drawn by our own code, with changing expressions, so that edgefer can be tried without a camera."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import SettingsError
from edge.types import Box, Frame, Pixels

Field = npt.NDArray[np.float32]
Tint = tuple[float, float, float]

HOLD_S, BLEND_S = 3.0, 0.6
LIGHT = (-0.24, -0.34, 0.91)
"""Towards the lamp: x to the right, y down, z to the viewer; high on the left, as in a portrait."""

# A head is drawn in its own unit, half its width, with the origin between the eyes and the nose, y down.
LEFT, TOP, RIGHT, BOTTOM = -1.45, -1.75, 1.45, 1.75
BODY_TOP, BODY_BOTTOM, BODY_SIDE = 0.7, 3.4, 2.2
NECK_Y = 1.1
"""The head rolls about this point below its middle."""
BOX_SIDE, BOX_Y = 2.0, 0.2
"""The square that the Haar cascade returns for such a head: side and height of its middle, measured."""

S: Field = np.linspace(-1, 1, 17, dtype=np.float32)
DOME: Field = np.sqrt(1 - S * S)


@dataclass(frozen=True, slots=True)
class Expression:
    """How a face is pulled; 0 is at rest where nothing else is said, and 1 is strong."""

    brow_raise: float = 0.0
    brow_slant: float = 0.0
    """-1 inner ends up (grief) .. 1 inner ends down (a frown)."""
    eye_open: float = 1.0
    squint: float = 0.0
    mouth_curve: float = 0.0
    """-1 corners down .. 1 corners up."""
    mouth_open: float = 0.0
    mouth_width: float = 1.0
    lip_raise: float = 0.0
    teeth: float = 0.0
    nose_wrinkle: float = 0.0


PRESETS = {
    "happy": Expression(0.1, 0.0, 0.85, 0.8, 1.0, 0.5, 1.3, 0.1, 1.0, 0.0),
    "surprise": Expression(1.0, 0.0, 1.45, 0.0, 0.05, 1.0, 0.72, 0.0, 0.25, 0.0),
    "sad": Expression(0.15, -1.0, 0.72, 0.1, -1.0, 0.0, 0.9, 0.0, 0.0, 0.0),
    "angry": Expression(-0.8, 1.0, 0.95, 0.4, -0.5, 0.16, 1.0, 0.3, 1.0, 0.45),
    "neutral": Expression(mouth_curve=0.08),
    "fear": Expression(0.75, -0.8, 1.45, 0.0, -0.45, 0.42, 1.1, 0.0, 0.6, 0.0),
    "disgust": Expression(-0.5, 0.25, 0.45, 1.0, -0.75, 0.12, 0.88, 1.0, 0.6, 1.0),
}
"""In the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What was drawn: the box that a Haar detector should give, in pixels, and the preset in force."""

    box: Box
    expression: str


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where a head is: middle in pixels, pixels per head unit, roll in radians."""

    x: float
    y: float
    unit_px: float
    roll: float


def _step(low: float, high: float, value: Any) -> Any:
    """0 below ``low``, 1 above ``high``, smooth between; the ends may be given in either order."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: Any, y: Any, at: tuple[float, float], wide: float, tall: float) -> Any:
    return np.exp(-(((x - at[0]) / wide) ** 2) - ((y - at[1]) / tall) ** 2)


def _grid(left: float, top: float, right: float, bottom: float, k: float) -> tuple[Field, Field]:
    """Head coordinates of every pixel of a patch with ``k`` pixels a unit: two (H, W) arrays."""
    xs = left + (np.arange(round((right - left) * k), dtype=np.float32) + 0.5) / k
    ys = top + (np.arange(round((bottom - top) * k), dtype=np.float32) + 0.5) / k
    x, y = np.meshgrid(xs, ys)
    return x, y


def _over(under: Any, colour: Any, alpha: Any) -> Any:
    """Lay a colour (H, W, 3) of 0..255 over a premultiplied (H, W, 4) image of 0..255."""
    layer = np.dstack([colour * alpha[..., None], 255 * alpha])
    return layer + under * (1 - alpha[..., None])


def _lit(tint: Tint, light: Any) -> Any:
    """A colour under a light of about 0..1.2 per pixel; shadows turn warm, as they do in skin."""
    light = np.clip(light, 0.02, 1.4)
    return np.clip(np.dstack([c * light**g for c, g in zip(tint, (1.3, 1.12, 0.9), strict=True)]), 0, 255)


def _lambert(z: Any, k: float) -> tuple[Any, Any]:
    """Diffuse and glossy light on a height field in head units."""
    dy, dx = np.gradient(z, 1 / k)
    norm = np.sqrt(dx * dx + dy * dy + 1)
    facing = (-dx * LIGHT[0] - dy * LIGHT[1] + LIGHT[2]) / norm
    half = (-dx * LIGHT[0] - dy * LIGHT[1] + LIGHT[2] + 1) / norm / math.sqrt(2 + 2 * LIGHT[2])
    return facing, np.clip(half, 0, 1) ** 24


PEOPLE: tuple[tuple[Tint, Tint], ...] = (
    ((150, 182, 232), (36, 56, 92)), ((92, 124, 178), (28, 28, 34)), ((176, 200, 240), (96, 160, 212)),
    ((126, 160, 212), (30, 34, 48)), ((168, 194, 238), (38, 80, 170)), ((72, 100, 150), (24, 24, 30)),
    ((158, 186, 226), (158, 160, 166)), ((112, 146, 200), (40, 58, 84)))
"""Skin and hair that go together, BGR."""
IRISES: tuple[Tint, ...] = ((50, 80, 120), (160, 120, 70), (90, 130, 90), (40, 60, 90), (150, 135, 110))
SHIRTS: tuple[Tint, ...] = ((150, 110, 60), (90, 80, 170), (110, 130, 80), (120, 100, 110), (70, 130, 190),
                            (140, 140, 90), (80, 70, 80), (170, 160, 150))


class _Look:
    """What makes one face differ from the next: colours and proportions, drawn from the seed."""

    def __init__(self, seed: int, face: int) -> None:
        order = np.random.default_rng(seed)
        people, irises, shirts = (order.permutation(len(p)) for p in (PEOPLE, IRISES, SHIRTS))
        self.rng = rng = np.random.default_rng((seed, face))
        self.skin, self.hair = PEOPLE[people[face % len(people)]]
        self.iris = IRISES[irises[face % len(irises)]]
        self.shirt = SHIRTS[shirts[face % len(shirts)]]
        self.lip = tuple(c * f for c, f in zip(self.skin, (0.66, 0.60, 0.88), strict=True))
        self.dark = tuple(0.25 * h + 0.08 * s for h, s in zip(self.hair, self.skin, strict=True))
        self.jaw = rng.uniform(0.10, 0.22)
        self.nose = rng.uniform(0.85, 1.15)
        self.brow = rng.uniform(0.050, 0.075)
        self.eyes = rng.uniform(0.40, 0.43)
        self.volume = rng.uniform(1.10, 1.18)
        self.part = rng.choice((-1, 1)) * rng.uniform(0.05, 0.35)
        self.hairline = rng.uniform(-0.92, -0.80)
        self.long = bool((face + seed) % 2)


def _relief(look: _Look, e: Expression, x: Any, y: Any) -> tuple[Any, Any]:
    """Height of the face in head units, and how far inside its outline each pixel is (1 - r squared)."""
    ax, chin = np.abs(x), 1.26 + 0.13 * e.mouth_open
    r2 = (x / (1 - look.jaw * _step(0.0, 1.4, y))) ** 2 + (y / np.where(y > 0, chin, 1.4)) ** 2
    z = 0.85 * np.sqrt(np.clip(1 - r2, 0.001, 1))
    along = np.clip((y + 0.25) / 0.65, 0, 1)
    ridge = np.exp(-((x / (0.10 + 0.06 * along)) ** 2)) * _step(-0.40, 0.0, y) * _step(0.56, 0.40, y)
    z += look.nose * (ridge * (0.06 + 0.17 * along) + 0.09 * _bump(ax, y, (0.15, 0.42), 0.09, 0.08))
    z -= 0.13 * _bump(ax, y, (look.eyes, -0.10), 0.25, 0.15)
    z += 0.05 * _bump(ax, y, (0.40, -0.42), 0.35, 0.09)
    lift = max(e.mouth_curve, 0) + 0.7 * e.nose_wrinkle
    z += (0.05 + 0.07 * lift) * _bump(ax, y, (0.56, 0.40 - 0.08 * lift), 0.22, 0.20)
    z += 0.05 * _bump(x, y, (0, 0.82), 0.35, 0.18) + 0.06 * _bump(x, y, (0, chin - 0.14), 0.20, 0.12)
    fold = ax - 0.22 - 0.28 * np.clip((y - 0.40) / 0.42, 0, 1.2) * e.mouth_width
    deep = 0.012 + 0.05 * lift + 0.02 * max(-e.mouth_curve, 0)
    z -= deep * np.exp(-((fold / 0.06) ** 2)) * _step(0.30, 0.42, y) * _step(0.92, 0.75, y)
    frown = max(e.brow_slant, 0)
    z -= 0.035 * frown * _bump(ax, y, (0.075, -0.38), 0.028, 0.13)
    ripple = np.sin(y * 42) * _bump(x, y, (0, -0.12), 0.16, 0.14)
    z += 0.012 * e.nose_wrinkle * ripple
    z += 0.006 * max(e.brow_raise, 0) * np.sin(y * 38) * _bump(x, y, (0, -0.66), 0.50, 0.12)
    return z, 1 - r2


def _head(look: _Look, e: Expression, hair: Any, k: float) -> Pixels:
    """The head at rest in one expression, without eyes, brows and mouth: (H, W, 4) premultiplied BGRA."""
    x, y = _grid(LEFT, TOP, RIGHT, BOTTOM, k)
    ax = np.abs(x)
    z, inside = _relief(look, e, x, y)
    facing, gloss = _lambert(z, k)
    light = 0.40 + 0.66 * np.clip(facing, -0.2, 1)
    light *= 1 - 0.26 * _bump(ax, y, (look.eyes, -0.10), 0.30, 0.16)
    light *= 1 - 0.45 * _bump(ax, y, (0.085, 0.475), 0.050, 0.028)
    light *= 1 - 0.10 * _bump(x, y, (0, 0.56), 0.20, 0.06)
    light *= 1 - 0.35 * _step(0.16, 0.0, inside)
    skin = _lit(look.skin, light) + 26 * gloss[..., None]
    flush = 0.16 * _bump(ax, y, (0.56, 0.38), 0.26, 0.20) + 0.14 * _bump(x, y, (0, 0.36), 0.16, 0.14)
    skin *= 1 - flush[..., None] * np.array((0.9, 0.8, 0.0))
    ear = 1 - ((ax - 1.0) / 0.14) ** 2 - ((y - 0.08) / 0.27) ** 2
    out = _over(np.zeros((*x.shape, 4)), _lit(look.skin, 0.62 + 0.25 * ear - 0.15 * x), _step(0, 0.25, ear))
    out = _over(out, np.clip(skin, 0, 255), _step(-0.02, 0.03, inside))
    out = _over(out, *hair)
    rounded: Pixels = np.clip(out + 0.5, 0, 255).astype(np.uint8)
    return rounded


def _hair(look: _Look, k: float) -> tuple[Any, Any]:
    """The hair over the head patch: colour (H, W, 3) of 0..255 and cover (H, W) of 0..1."""
    x, y = _grid(LEFT, TOP, RIGHT, BOTTOM, k)
    ax, wide = np.abs(x), look.volume
    angle = np.arctan2(x - look.part, y + 1.55)
    noise = np.convolve(look.rng.normal(size=1024), np.ones(3) / 3, "same")
    strand = np.interp(angle, np.linspace(-math.pi, math.pi, 1024), noise)
    lock = np.interp(angle, np.linspace(-math.pi, math.pi, 64), noise[:64])
    edge = 0.02 * lock + 0.012 * strand
    cap = 1 - (x / wide) ** 2 - ((y + 0.10) / (1.32 * wide)) ** 2
    face = 1 - ((x - 0.25 * look.part) / 0.93) ** 2 - ((y - 0.42) / (0.42 - look.hairline)) ** 2 + edge
    cover = _step(-0.02, 0.04, cap) * _step(0.03, -0.05, face)
    if look.long:
        side = wide + 0.10 * _step(-0.2, 0.8, y) - 0.12 * _step(0.9, 1.8, y)
        inner = 0.95 - 0.10 * _step(0.2, 0.8, y) - 0.14 * _step(0.8, 1.4, y)
        fall = _step(0.03, -0.03, ax - side) * _step(-0.03, 0.03, ax - inner) * _step(1.72, 1.55, y + 4 * edge)
        cover = np.maximum(cover, fall * _step(-0.15, -0.05, y))
    else:
        cover = cover * _step(0.25, 0.05, y + edge)
    z = 0.9 * np.sqrt(np.clip(1 - (x / wide / 1.05) ** 2 - (np.minimum(y + 0.1, 0.5) / 1.5) ** 2, 0.02, 1))
    facing, _ = _lambert(z, k)
    far = np.hypot(x - look.part, y + 1.55)
    shine = 0.35 * np.exp(-(((far - 0.55) / 0.16) ** 2)) + 0.15 * np.exp(-(((far - 1.5) / 0.25) ** 2))
    light = (0.45 + 0.60 * np.clip(facing, 0, 1) + shine) * (1 + 0.13 * strand + 0.08 * lock)
    return _lit(look.hair, light * _step(-0.25, 0.25, -face + 0.05) + 0.1), cover


def _body(look: _Look, k: float) -> Pixels:
    """Neck, shirt and shoulders: (H, W, 4) premultiplied BGRA; its last row may be drawn on downwards."""
    x, y = _grid(-BODY_SIDE, BODY_TOP, BODY_SIDE, BODY_BOTTOM, k)
    ax = np.abs(x)
    neck = 0.50 + 0.5 * np.clip(y - 1.25, 0, 1) ** 2 - ax
    shade = 1 - 0.50 * _bump(x, y, (0.1, 1.15), 0.9, 0.34)
    light = (0.42 + 0.62 * np.sqrt(np.clip(1 - (x / 0.75) ** 2, 0.0, 1)) - 0.25 * x) * shade
    out = _over(np.zeros((*x.shape, 4)), _lit(look.skin, light), _step(-0.02, 0.02, neck))
    round_off = 0.75 * (1 - np.sqrt(np.clip(1 - (np.clip(ax - 1.45, 0, 0.65) / 0.65) ** 2, 0, 1)))
    shoulder = y - 1.42 - 0.42 * (ax / 1.9) ** 2 - round_off
    collar = np.hypot(x / 0.68, (y - 1.25) / 0.50)
    cloth = _step(-0.02, 0.02, shoulder) * _step(0.98, 1.02, collar) * _step(2.12, 2.08, ax)
    light = 0.40 + 0.50 * np.sqrt(np.clip(1 - (x / 2.4) ** 2, 0, 1)) - 0.08 * x + 0.10 * _step(0.5, 0.0, shoulder)
    light *= 1 - 0.30 * _bump(x, y, (0.12, 1.55), 0.8, 0.35)
    light *= 1 - 0.16 * np.exp(-(((ax - 1.55 + 0.1 * (y - 2)) / 0.06) ** 2)) * _step(2.0, 2.8, y)
    light *= 1 - 0.18 * np.exp(-(((collar - 1.16) / 0.03) ** 2))
    out = _over(out, _lit(look.shirt, light), cloth)
    rounded: Pixels = np.clip(out + 0.5, 0, 255).astype(np.uint8)
    return rounded


class _Face:
    """One person: pictures made once, and the moving features drawn over them in every frame."""

    def __init__(self, seed: int, face: int, unit_px: float) -> None:
        self.look = look = _Look(seed, face)
        self.k = k = float(np.clip(1.5 * unit_px, 24, 240))
        self.body = _body(look, max(k / 1.5, 16))
        hair = _hair(look, k)
        self.heads = [_head(look, e, hair, k) for e in PRESETS.values()]
        self.phase = look.rng.uniform(0, 2 * math.pi, 8)
        self.canvas = np.empty_like(self.heads[0])

    def _band(self, x: Any, top: Any, bottom: Any, tint: Tint, soft: float = 0.0, strength: float = 1.0) -> None:
        """Fill between two curves given in head units, blurred by ``soft`` head units."""
        points = np.empty((2 * len(x), 2), np.float32)
        points[:, 0] = np.concatenate((x, x[::-1]))
        points[:, 1] = np.concatenate((top, np.maximum(top, bottom)[::-1]))
        points = (points - (LEFT, TOP)) * self.k - 0.5
        if soft == 0 and strength == 1:
            cv2.fillPoly(self.canvas, [np.rint(points * 16).astype(np.int32)], (*tint, 255), cv2.LINE_AA, 4)
            return
        size = 2 * round(soft * self.k) + 1
        low = np.maximum(points.min(0).astype(int) - size, 0)
        high = points.max(0).astype(int) + size + 2
        patch = self.canvas[low[1]:high[1], low[0]:high[0]]
        mask = np.zeros(patch.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.rint((points - low) * 16).astype(np.int32)], 255 * strength, cv2.LINE_AA, 4)
        weight = cv2.GaussianBlur(mask, (size, size), 0).astype(np.int16)[..., None]
        patch[..., :3] += ((np.array(tint, np.int16) - patch[..., :3]) * (weight >> 1) >> 7).astype(np.uint8)

    def draw(self, first: int, second: int, blend: float, e: Expression, t: float) -> Pixels:
        """The head patch at one moment, (H, W, 4) premultiplied BGRA; valid until the next call."""
        cv2.addWeighted(self.heads[first], 1 - blend, self.heads[second], blend, 0, dst=self.canvas)
        beat = (t + self.phase[0]) % (3.1 + 0.3 * self.phase[1])
        shut = max(0.0, 1 - abs(beat - 0.12) / 0.12)
        gaze = 0.035 * math.sin(0.9 * t + self.phase[2]), 0.012 * math.sin(0.7 * t + self.phase[3])
        for side in (-1, 1):
            self._eye(side, e, shut, gaze)
            self._brow(side, e)
        self._mouth(e)
        return self.canvas

    def _eye(self, side: int, e: Expression, shut: float, gaze: tuple[float, float]) -> None:
        look, inward = self.look, -side * S
        cx, cy = side * look.eyes, -0.10
        x = cx + 0.235 * S
        low = cy + 0.02 * inward + 0.095 * DOME * (1 - 0.45 * e.squint)
        up = cy + 0.02 * inward - 0.135 * e.eye_open * DOME + 0.05 * e.brow_slant * (inward + 0.3) * DOME
        up = low + (np.minimum(up, low - 0.004) - low) * (1 - shut)
        dark, skin = look.dark, look.skin
        lid = (skin[0] * 0.42, skin[1] * 0.44, skin[2] * 0.55)
        crease = up - 0.035 - 0.045 * DOME
        self._band(x, crease - 0.012, crease + 0.012, lid, 0.02, 0.7)
        self._band(x, low, low + 0.022 + 0.02 * e.squint, lid, 0.02, 0.6)
        white = tuple(0.72 * 215 + 0.12 * c for c in skin)
        self._band(x, up, low, (white[0], white[1], white[2]))
        ix, iy = cx + gaze[0], cy + 0.005 + gaze[1]
        for radius, drop, tint in ((0.122, 0.0, dark), (0.106, 0.0, look.iris), (0.056, 0.0, (14.0, 12.0, 12.0))):
            px = ix + radius * S
            at = np.interp(px, x, up), np.interp(px, x, low)
            self._band(px, np.clip(iy - radius * DOME, *at), np.clip(iy + radius * DOME, *at), tint)
        self._band(x, up, np.minimum(up + 0.05, low), dark, 0.02, 0.55)
        if shut < 0.5:
            px, py = ix - 0.045 + 0.028 * S, iy - 0.045
            top = np.maximum(py - 0.028 * DOME, np.interp(px, x, up))
            self._band(px, top, np.maximum(py + 0.028 * DOME, top), (250, 250, 250))
        self._band(cx + 0.25 * S, up - 0.034 * DOME**0.5, up + 0.012, dark)

    def _brow(self, side: int, e: Expression) -> None:
        p = (S + 1) / 2
        inner, frown = 0.15 - 0.05 * max(e.brow_slant, 0), e.brow_slant
        x = side * (inner + (0.74 - inner) * p)
        y = -0.40 - 0.15 * e.brow_raise - 0.09 * np.sin(math.pi * 0.62 * p)
        y = y + frown * (0.15 * (1 - p) ** 1.3 - 0.09 * p**1.5)
        half = self.look.brow * (1 - 0.75 * p**2) * np.clip(0.6 + 3 * p, 0, 1)
        tint = tuple(0.45 * h + 0.10 * s for h, s in zip(self.look.hair, self.look.skin, strict=True))
        self._band(x, y - half, y + half, (tint[0], tint[1], tint[2]), 0.025, 0.95)

    def _mouth(self, e: Expression) -> None:
        lip = self.look.lip
        x = 0.36 * e.mouth_width * S
        middle = 0.80 - 0.15 * e.mouth_curve * (S * S - 0.35)
        gap = 0.42 * e.mouth_open * DOME
        up = middle - 0.30 * gap - 0.07 * e.lip_raise * DOME * (0.4 + np.abs(S))
        low = middle + 0.70 * gap
        bow = 0.085 * DOME * (1 - 0.25 * np.exp(-((S / 0.18) ** 2))) * (1 - 0.3 * e.mouth_open)
        full = 0.115 * DOME * (1 - 0.3 * e.mouth_open)
        upper = tuple(0.86 * c for c in lip)
        self._band(x, low + 0.6 * full, low + full + 0.05, tuple(0.75 * c for c in lip), 0.04, 0.35)
        self._band(x * 1.03, up - bow, up + 0.02, (upper[0], upper[1], upper[2]), 0.015, 0.9)
        self._band(x * 1.03, low - 0.02, low + full, (lip[0], lip[1], lip[2]), 0.015, 0.9)
        self._band(0.5 * x, low + 0.25 * full, low + 0.55 * full, (230, 225, 245), 0.03, 0.35)
        self._band(x, up, low, (34, 26, 62))
        if e.mouth_open > 0.03:
            self._band(0.7 * x, np.maximum(low - 0.12 * DOME, up), low, (84, 74, 170), 0.02, 0.8)
            edge = np.minimum(up + 0.13 * e.teeth * DOME**0.3, low)
            self._band(0.94 * x, up, edge, (216, 226, 232), 0.01, min(1.0, 1.5 * e.teeth))
        self._band(x, up - 0.012, up + 0.014, (lip[0] * 0.38, lip[1] * 0.34, lip[2] * 0.45), 0.01, 0.9)


def _paste(frame: Pixels, patch: Pixels, corner: tuple[float, float], k: float, pose: _Pose, endless: bool) -> None:
    """Blend a premultiplied patch into ``frame``; ``endless`` draws its last row on to the lower border.

    ``corner`` is the left and top of the patch in head units, ``k`` its pixels a unit.
    """
    h, w = patch.shape[:2]
    place = _place(pose, corner, k)
    ends = np.array([[0, w, w, 0], [0, 0, h, h]]) - 0.5
    spread = place[:, :2] @ ends + place[:, 2:]
    low = np.maximum(np.floor(spread.min(1)).astype(int), 0)
    high = np.minimum(np.ceil(spread.max(1)).astype(int) + 1, (frame.shape[1], frame.shape[0]))
    if endless:
        high[1] = frame.shape[0]
    if (high <= low).any():
        return
    place[:, 2] -= low
    size = int(high[0] - low[0]), int(high[1] - low[1])
    border = cv2.BORDER_REPLICATE if endless else cv2.BORDER_CONSTANT
    layer = cv2.warpAffine(patch, place, size, flags=cv2.INTER_LINEAR, borderMode=border)
    clear = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(layer, 3)), cv2.COLOR_GRAY2BGR)
    under = frame[low[1]:high[1], low[0]:high[0]]
    under[:] = cv2.add(cv2.multiply(under, clear, scale=1 / 255), cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR))


def _place(pose: _Pose, corner: tuple[float, float], k: float) -> npt.NDArray[np.float64]:
    """The (2, 3) matrix from patch pixels to frame pixels; the head rolls about its chin."""
    c, s = math.cos(pose.roll), math.sin(pose.roll)
    x, y = corner[0] + 0.5 / k, corner[1] + 0.5 / k - NECK_Y
    u = pose.unit_px
    return np.array([[c * u / k, -s * u / k, pose.x + u * (c * x - s * y) - 0.5],
                     [s * u / k, c * u / k, pose.y + u * (s * x + c * y + NECK_Y) - 0.5]])


class Synthetic:
    """Faces drawn by us, for trying edgefer without a camera; not live, so no frame is ever dropped.

    ``size`` is (width, height) in pixels, 160x120 to 1920x1080. ``faces`` is 0..30, ``seconds`` None for ever.
    ``paced`` waits so that frames come at ``fps`` in real time; ``still`` freezes the picture, for benchmarks.
    Frame i depends on ``size``, ``fps``, ``faces``, ``seed``, ``still`` and i alone.
    """

    live = False

    def __init__(self, size: tuple[int, int] = (640, 480), fps: float = 30.0, faces: int = 1,
                 seconds: float | None = None, seed: int = 0, paced: bool = True, still: bool = False) -> None:
        self.size, self.fps, self.faces, self.seconds = size, fps, faces, seconds
        self.paced, self.still = paced, still
        self._closed = False
        w, h = size
        columns = max(range(1, faces + 1), key=lambda n: min(0.225 * h / -(-faces // n), 0.3 * w / n), default=1)
        rows = -(-faces // columns)
        self._cell = w / columns, h / max(rows, 1)
        self._columns = columns
        self._unit_px = min(0.225 * self._cell[1], 0.3 * self._cell[0])
        self._people = [_Face(seed, n, self._unit_px) for n in range(faces)]
        self._backdrop = _backdrop(w, h)
        noise = np.random.default_rng(seed).normal(8, 2.0, (h + 32, w + 32, 3))
        self._noise: Pixels = np.clip(noise, 0, 16).astype(np.uint8)

    def __iter__(self) -> Iterator[Frame]:
        begin_s = time.monotonic()
        i = 0
        while not self._closed and (self.seconds is None or i < self.seconds * self.fps):
            if self.paced:
                time.sleep(max(0.0, begin_s + i / self.fps - time.monotonic()))
            bgr = self._draw(i)
            luma: Pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
            yield Frame(index=i, time_s=i / self.fps, luma=luma, bgr=bgr)
            i += 1

    def close(self) -> None:
        """End the iteration; may be called twice."""
        self._closed = True

    def truth(self, i: int) -> tuple[Truth, ...]:
        t = 0.0 if self.still else i / self.fps
        found = []
        for n in range(self.faces):
            pose = self._pose(n, t)
            first, second, blend = self._mood(n, t)
            place = _place(pose, (0, BOX_Y), 1.0)
            side = BOX_SIDE * pose.unit_px
            x, y = place @ (-0.5, -0.5, 1) + 0.5 - side / 2
            name = list(PRESETS)[second if blend >= 0.5 else first]
            found.append(Truth(Box(round(x), round(y), round(side), round(side)), name))
        return tuple(found)

    def _pose(self, n: int, t: float) -> _Pose:
        phase, (w, h), unit = self._people[n].phase, self._cell, self._unit_px
        reach_x, reach_y = 0.6 * max(0.0, w / 2 - 1.4 * unit), 0.6 * max(0.0, h / 2 - 1.7 * unit)
        x = (n % self._columns + 0.5) * w + reach_x * math.sin(2 * math.pi * t / 13 + phase[4])
        y = (n // self._columns + 0.5) * h + 0.1 * unit + reach_y * math.sin(2 * math.pi * t / 9 + phase[5])
        roll = math.radians(7) * math.sin(2 * math.pi * t / 7 + phase[6])
        return _Pose(x, y, unit * (1 + 0.04 * math.sin(2 * math.pi * t / 11 + phase[7])), roll)

    def _mood(self, n: int, t: float) -> tuple[int, int, float]:
        """Preset now, preset next, and how far between them, 0..1."""
        shown, into_s = divmod(t, HOLD_S + BLEND_S)
        first = (int(shown) + n) % len(PRESETS)
        return first, (first + 1) % len(PRESETS), float(_step(HOLD_S, HOLD_S + BLEND_S, into_s))

    def _draw(self, i: int) -> Pixels:
        t = 0.0 if self.still else i / self.fps
        bgr = self._backdrop.copy()
        values = [astuple(e) for e in PRESETS.values()]
        for row in range(0, self.faces, self._columns):
            people = [(f, n, self._pose(n, t)) for n, f in enumerate(self._people)][row:row + self._columns]
            for face, _, pose in people:
                body = _Pose(pose.x, pose.y, pose.unit_px, 0.0)
                k = face.body.shape[1] / (2 * BODY_SIDE)
                _paste(bgr, face.body, (-BODY_SIDE, BODY_TOP), k, body, endless=True)
            for face, n, pose in people:
                first, second, blend = self._mood(n, t)
                e = Expression(*(a + (b - a) * blend for a, b in zip(values[first], values[second], strict=True)))
                _paste(bgr, face.draw(first, second, blend, e, t), (LEFT, TOP), face.k, pose, endless=False)
        if self.still:
            return bgr
        y, x = 11 * i % 32, 19 * i % 31
        grain = self._noise[y:y + bgr.shape[0], x:x + bgr.shape[1]]
        return cv2.addWeighted(bgr, 1, grain, 1, -8)


def _backdrop(w: int, h: int) -> Pixels:
    """A plain wall in soft light, (h, w, 3)."""
    x, y = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h))
    glow = 0.62 + 0.30 * np.exp(-((x + 0.25) ** 2) / 1.2 - (y + 0.35) ** 2 / 1.5)
    wall: Pixels = np.clip(glow[..., None] * np.array((214, 206, 196)), 0, 255).astype(np.uint8)
    return wall
