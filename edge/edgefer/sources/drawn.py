"""Human faces, drawn and shaded so that the Haar cascade finds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.types import Pixels

Field = npt.NDArray[np.float32]
Tint = tuple[float, float, float]
"""Blue, green, red: 0..255 for a colour, about 0..1 for a factor on one."""

LIGHT = (-0.24, -0.34, 0.91)
"""Towards the lamp: right, down, to the viewer. Almost frontal, as the cascade expects faces to be lit."""

# A head is drawn in units of half its width, from a middle between eyes and nose, x to the right and y down.
LEFT, TOP, RIGHT, BOTTOM = -1.34, -1.68, 1.34, 1.48
BODY_SIDE, BODY_TOP, BODY_BOTTOM = 2.2, 0.7, 3.4
NECK_Y = 1.1
"""The point about which the head rolls."""
BOX_SIDE, BOX_Y = 2.12, 0.10
"""Side and middle of the square in which the Haar cascade finds such a head, averaged over many."""

S: Field = np.linspace(-1, 1, 17, dtype=np.float32)
DOME: Field = np.sqrt(1 - S * S)

PEOPLE: tuple[tuple[Tint, Tint, Tint], ...] = (
    ((150, 182, 232), (36, 56, 92), (50, 80, 120)),
    ((92, 124, 178), (28, 28, 34), (34, 52, 80)),
    ((168, 194, 236), (52, 94, 138), (150, 115, 75)),
    ((126, 160, 212), (30, 34, 48), (45, 70, 105)),
    ((168, 194, 238), (38, 80, 170), (95, 130, 90)),
    ((72, 100, 150), (24, 24, 30), (30, 44, 66)),
    ((152, 180, 222), (88, 90, 96), (140, 125, 105)),
    ((112, 146, 200), (40, 58, 84), (60, 105, 110)),
)
"""Skin, hair and iris that go together."""
SHIRTS: tuple[Tint, ...] = (
    (150, 110, 60),
    (90, 80, 170),
    (110, 130, 80),
    (120, 100, 110),
    (70, 130, 190),
    (140, 140, 90),
    (80, 70, 80),
    (170, 160, 150),
)


@dataclass(frozen=True, slots=True)
class Expression:
    """The shape of an expression: 0 is at rest and 1 strong, unless another range is given."""

    brow_raise: float = 0.0
    """-1 lowered .. 1 raised."""
    brow_slant: float = 0.0
    """-1 inner ends up, as in grief .. 1 inner ends down, a frown."""
    eye_open: float = 1.0
    """0 shut, 1 at rest, 1.5 wide open."""
    squint: float = 0.0
    mouth_curve: float = 0.0
    """-1 corners down .. 1 corners up."""
    mouth_open: float = 0.0
    mouth_width: float = 1.0
    """1 at rest, 0.7 pursed .. 1.3 stretched."""
    lip_raise: float = 0.0
    teeth: float = 0.0
    nose_wrinkle: float = 0.0


PRESETS = {
    "happy": Expression(0.4, 0.0, 0.65, 0.9, 1.0, 0.55, 1.28, 0.1, 1.0, 0.0),
    "surprise": Expression(0.8, 0.0, 1.5, 0.0, 0.05, 1.0, 0.72, 0.0, 0.25, 0.0),
    "sad": Expression(0.1, -1.0, 0.45, 0.5, -1.0, 0.0, 0.95, 0.1, 0.0, 0.2),
    "angry": Expression(-0.8, 1.0, 0.95, 0.4, -0.5, 0.16, 1.0, 0.3, 1.0, 0.3),
    "neutral": Expression(eye_open=0.45, squint=0.2, mouth_curve=0.3, mouth_width=0.9, lip_raise=0.1),
    "fear": Expression(0.2, -1.0, 1.5, 0.0, -0.5, 0.45, 1.27, 0.1, 0.15, 0.0),
    "disgust": Expression(-0.95, 0.3, 0.45, 1.0, -0.6, 0.13, 0.9, 1.0, 0.3, 1.0),
}
"""By class name, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a head is: its middle in pixels, pixels per head unit, roll in radians."""

    x: float
    y: float
    unit_px: float
    roll: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The position in the frame, in pixels, of a point of the head."""
        c, s, y = self.unit_px * math.cos(self.roll), self.unit_px * math.sin(self.roll), y - NECK_Y
        return self.x + c * x - s * y, self.y + s * x + c * y + NECK_Y * self.unit_px


class _Look:
    """What makes one face differ from the next."""

    def __init__(self, seed: int, face: int) -> None:
        self.rng = rng = np.random.default_rng((seed, face))
        self.skin, self.hair, self.iris = PEOPLE[(seed + face) % len(PEOPLE)]
        self.shirt = SHIRTS[(seed + 5 * face) % len(SHIRTS)]
        self.long_hair = (seed + face) % 2 == 1
        self.jaw, self.nose = rng.uniform(0.10, 0.22), rng.uniform(0.85, 1.15)
        self.brow, self.eyes = rng.uniform(0.033, 0.042), rng.uniform(0.40, 0.43)
        self.volume, self.hairline, self.part = map(float, rng.uniform((1.10, 0.80, -0.35), (1.18, 0.92, 0.35)))
        self.phase = rng.uniform(0, 2 * math.pi, 8)


def _tint(a: Tint, factor: Tint, b: Tint = (0, 0, 0), share: float = 0.0) -> Tint:
    return a[0] * factor[0] + b[0] * share, a[1] * factor[1] + b[1] * share, a[2] * factor[2] + b[2] * share


def smooth_step(low: float, high: float, value: Any) -> Any:
    """0 at ``low`` and before, 1 from ``high`` on, smooth between; the ends may come in either order."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: Any, y: Any, at: tuple[float, float], wide: float, tall: float) -> Any:
    return np.exp(-(((x - at[0]) / wide) ** 2) - ((y - at[1]) / tall) ** 2)


def _grid(left: float, top: float, right: float, bottom: float, k: float) -> tuple[Field, Field]:
    """Head coordinates of the pixels of a patch with ``k`` pixels a unit: two (H, W) arrays."""
    xs = left + (np.arange(round((right - left) * k), dtype=np.float32) + 0.5) / k
    ys = top + (np.arange(round((bottom - top) * k), dtype=np.float32) + 0.5) / k
    x, y = np.meshgrid(xs, ys)
    return x, y


def _lit(tint: Tint, light: Any) -> Any:
    """A colour in a light of 0..1.4 per pixel, (H, W, 3); shadows turn warm, as they do in skin."""
    light = np.clip(light, 0.02, 1.4)
    return np.clip(np.dstack([c * light**g for c, g in zip(tint, (1.3, 1.12, 0.9), strict=True)]), 0, 255)


def _over(under: Any, colour: Any, cover: Any) -> Any:
    """Lay a colour (H, W, 3) over a picture (H, W, 4) of premultiplied BGRA; ``cover`` is 0..1."""
    cover = cover[..., None]
    return np.dstack([colour * cover, 255 * cover]) + under * (1 - cover)


def _lambert(height: Any, k: float) -> tuple[Any, Any]:
    """Diffuse light and gloss on a height field in head units with ``k`` pixels a unit."""
    dy, dx = np.gradient(height, 1 / k)
    length = np.sqrt(dx * dx + dy * dy + 1)
    towards = LIGHT[2] - dx * LIGHT[0] - dy * LIGHT[1]
    return towards / length, np.clip((towards + 1) / length / math.sqrt(2 + 2 * LIGHT[2]), 0, 1) ** 24


def _relief(look: _Look, e: Expression, x: Field, y: Field) -> tuple[Any, Any]:
    """Height of a face in head units, and how far inside the outline a pixel is: 1 in the middle, 0 there."""
    ax, chin = np.abs(x), 1.28 + 0.09 * e.mouth_open
    inside = 1 - (x / (1 - look.jaw * smooth_step(0, 1.4, y))) ** 2 - (y / np.where(y > 0, np.float32(chin), np.float32(1.4))) ** 2
    z = 0.85 * np.sqrt(np.clip(inside, 0.001, 1))
    down = np.clip((y + 0.25) / 0.65, 0, 1)
    ridge = np.exp(-((x / (0.10 + 0.06 * down)) ** 2)) * smooth_step(-0.40, 0, y) * smooth_step(0.56, 0.40, y)
    z += look.nose * (ridge * (0.06 + 0.17 * down) + 0.09 * _bump(ax, y, (0.15, 0.42), 0.09, 0.08))
    z += 0.05 * _bump(ax, y, (0.40, -0.42), 0.35, 0.09) - 0.13 * _bump(ax, y, (look.eyes, -0.10), 0.25, 0.15)
    z += 0.05 * _bump(x, y, (0, 0.82), 0.35, 0.18) + 0.06 * _bump(x, y, (0, chin - 0.14), 0.20, 0.12)
    lift = max(e.mouth_curve, 0) + 0.7 * e.nose_wrinkle
    z += (0.05 + 0.07 * lift) * _bump(ax, y, (0.56, 0.40 - 0.08 * lift), 0.22, 0.20)
    fold = ax - 0.22 - 0.28 * np.clip((y - 0.40) / 0.42, 0, 1.2) * e.mouth_width
    deep = (0.010 + 0.034 * lift - 0.02 * min(e.mouth_curve, 0)) * smooth_step(0.30, 0.42, y) * smooth_step(0.92, 0.75, y)
    z -= deep * np.exp(-((fold / 0.06) ** 2))
    z -= 0.035 * max(e.brow_slant, 0) * _bump(ax, y, (0.075, -0.38), 0.028, 0.13)
    z += 0.022 * e.nose_wrinkle * np.sin(44 * y + 9 * ax) * _bump(ax, y, (0.04, -0.06), 0.16, 0.18)
    z += 0.006 * max(e.brow_raise, 0) * np.sin(38 * y) * _bump(x, y, (0, -0.66), 0.50, 0.12)
    return z, inside


def _skin(look: _Look, e: Expression, k: float) -> Field:
    """Ears and face without eyes, brows and mouth on a transparent ground: (H, W, 4) premultiplied BGRA, 0..255."""
    x, y = _grid(LEFT, TOP, RIGHT, BOTTOM, k)
    ax = np.abs(x)
    z, inside = _relief(look, e, x, y)
    facing, gloss = _lambert(z, k)
    light = 0.40 + 0.66 * np.clip(facing, -0.2, 1)
    # What other features shade: eye sockets, nostrils, the lip under the nose, the rim of the face.
    light *= 1 - 0.30 * _bump(ax, y, (look.eyes, -0.10), 0.30, 0.17)
    light *= 1 - 0.45 * _bump(ax, y, (0.085, 0.475), 0.050, 0.028)
    light *= 1 - 0.10 * _bump(x, y, (0, 0.56), 0.20, 0.06)
    light *= 1 - 0.28 * smooth_step(0.16, 0, inside)
    flush = 0.16 * _bump(ax, y, (0.56, 0.38), 0.26, 0.20) + 0.14 * _bump(x, y, (0, 0.36), 0.16, 0.14)
    redden = 1 - flush[..., None] * np.array((0.9, 0.8, 0), np.float32)
    face = (_lit(look.skin, light) + 26 * gloss[..., None]) * redden
    ear = 1 - ((ax - 1.0) / 0.14) ** 2 - ((y - 0.08) / 0.27) ** 2
    out = _over(np.float32(0), _lit(look.skin, 0.62 + 0.25 * ear - 0.15 * x), smooth_step(0, 0.25, ear))
    whole: Field = _over(out, np.clip(face, 0, 255), smooth_step(-0.02, 0.03, inside))
    return whole


def _hair(look: _Look, k: float) -> tuple[Field, Field]:
    """Hair over the patch of the head: colour (H, W, 3) of 0..255 and cover (H, W) of 0..1."""
    x, y = _grid(LEFT, TOP, RIGHT, BOTTOM, k)
    ax, wide = np.abs(x), look.volume
    noise = np.convolve(look.rng.normal(size=1024), np.ones(3) / 3, "same")
    # Strands run from the crown outwards, so their shade depends on the angle alone.
    angle, far = np.arctan2(x - look.part, y + 1.55), np.hypot(x - look.part, y + 1.55)
    strand = np.interp(angle, np.linspace(-math.pi, math.pi, 1024), noise).astype(np.float32)
    lock = np.interp(angle, np.linspace(-math.pi, math.pi, 64), noise[:64]).astype(np.float32)
    ragged = 0.02 * lock + 0.012 * strand
    cap = 1 - (x / wide) ** 2 - ((y + 0.10) / (1.32 * wide)) ** 2
    face = 1 - ((x - 0.25 * look.part) / 0.93) ** 2 - ((y - 0.42) / (0.42 + look.hairline)) ** 2 + ragged
    cover = smooth_step(-0.02, 0.04, cap) * smooth_step(0.03, -0.05, face)
    if look.long_hair:
        side = wide + 0.08 * smooth_step(-0.2, 0.8, y) - 0.12 * smooth_step(0.8, 1.5, y)
        inner = 0.93 - 0.38 * smooth_step(0.1, 1.4, y)
        fall = smooth_step(0.03, -0.03, ax - side) * smooth_step(-0.03, 0.03, ax - inner)
        cover = np.maximum(cover, fall * smooth_step(-0.15, -0.05, y) * smooth_step(1.38, 1.26, y + 2 * ragged))
    else:
        cover = cover * smooth_step(0.25, 0.05, y + ragged)
    round_off = 1 - (x / wide / 1.05) ** 2 - (np.minimum(y + 0.1, 0.5) / 1.5) ** 2
    height = 0.9 * np.sqrt(np.clip(round_off, 0.02, 1))
    shine = 0.35 * np.exp(-(((far - 0.55) / 0.16) ** 2)) + 0.15 * np.exp(-(((far - 1.5) / 0.25) ** 2))
    light = (0.45 + 0.60 * np.clip(_lambert(height, k)[0], 0, 1) + shine) * (1 + 0.13 * strand + 0.08 * lock)
    return _lit(look.hair, light * smooth_step(-0.20, 0.30, -face) + 0.1), cover


def _body(look: _Look, k: float) -> Pixels:
    """Neck, shirt and shoulders, (H, W, 4) premultiplied BGRA; the last row may be drawn on downwards."""
    x, y = _grid(-BODY_SIDE, BODY_TOP, BODY_SIDE, BODY_BOTTOM, k)
    ax = np.abs(x)
    light = 0.42 + 0.62 * np.sqrt(np.clip(1 - (x / 0.75) ** 2, 0, 1)) - 0.25 * x
    light *= 1 - 0.50 * _bump(x, y, (0.1, 1.15), 0.9, 0.34)
    neck = 0.50 + 0.5 * np.clip(y - 1.25, 0, 1) ** 2 - ax
    out = _over(np.float32(0), _lit(look.skin, light), smooth_step(-0.02, 0.02, neck))
    slope = 0.75 - 0.75 * np.sqrt(1 - np.clip((ax - 1.45) / 0.65, 0, 1) ** 2)
    shoulder = y - 1.42 - 0.42 * (ax / 1.9) ** 2 - slope
    collar = np.hypot(x / 0.68, (y - 1.25) / 0.50)
    light = 0.40 + 0.50 * np.sqrt(1 - (x / 2.4) ** 2) - 0.08 * x + 0.10 * smooth_step(0.5, 0, shoulder)
    light *= 1 - 0.30 * _bump(x, y, (0.12, 1.55), 0.8, 0.35)
    light *= 1 - 0.16 * np.exp(-(((ax - 1.75 + 0.1 * y) / 0.06) ** 2)) * smooth_step(2.0, 2.8, y)
    light *= 1 - 0.18 * np.exp(-(((collar - 1.16) / 0.03) ** 2))
    cloth = smooth_step(-0.02, 0.02, shoulder) * smooth_step(0.98, 1.02, collar) * smooth_step(2.12, 2.08, ax)
    whole: Pixels = np.rint(_over(out, _lit(look.shirt, light), cloth)).astype(np.uint8)
    return whole


class DrawnFace:
    """One person: shaded pictures made once, and the features that move drawn over them."""

    def __init__(self, seed: int, face: int, unit_px: float) -> None:
        self.look = look = _Look(seed, face)
        # Drawn 1.5 times as large as it is shown, for smooth edges; bounded to save memory.
        self.k = k = min(max(1.5 * unit_px, 24.0), 200.0)
        self.body_k = max(k / 1.5, 16.0)
        self.body = _body(look, self.body_k)
        self.heads: list[Pixels] = []
        hair, cover = _hair(look, k)
        size = cover.shape[1], cover.shape[0]
        for e in PRESETS.values():
            # Skin has no fine detail: half the resolution looks the same and starts four times as fast.
            skin = cv2.resize(_skin(look, e, k / 2), size, interpolation=cv2.INTER_LINEAR)
            self.canvas: Pixels = np.rint(_over(skin, hair, cover)).astype(np.uint8)
            self._creases(e)
            self.heads.append(self.canvas)
        self.canvas = np.empty_like(self.heads[0])
        self.held: Pixels = np.empty_like(self.canvas)
        self.held_preset = -1

    def draw(self, first: int, second: int, blend: float, e: Expression, at_s: float) -> Pixels:
        """The head ``blend`` of the way from one preset to another, (H, W, 4); valid until the next call."""
        if blend > 0:
            cv2.addWeighted(self.heads[first], 1 - blend, self.heads[second], blend, 0, dst=self.canvas)
            self._brows(e)
            self._mouth(e)
        elif first == self.held_preset:
            np.copyto(self.canvas, self.held)
        else:
            np.copyto(self.canvas, self.heads[first])
            self._brows(e)
            self._mouth(e)
            np.copyto(self.held, self.canvas)
            self.held_preset = first
        phase = self.look.phase
        # The first frame never shows a blink: it is the one that a still source repeats.
        beat_s = (at_s + 0.5 + 0.35 * phase[0]) % (3.1 + 0.3 * phase[1])
        shut = max(0.0, 1 - abs(beat_s - 0.12) / 0.12)
        gaze = 0.035 * math.sin(0.9 * at_s + phase[2]), 0.012 * math.sin(0.7 * at_s + phase[3])
        for side in (-1, 1):
            self._eye(side, e, shut, gaze)
        return self.canvas

    def _band(self, x: Any, top: Any, bottom: Any, tint: Tint, soft: float = 0.0, cover: float = 1.0) -> None:
        """Fill between two curves over ``x``, in head units, with an edge blurred over ``soft`` of them."""
        points = np.empty((2 * len(x), 2), np.float32)
        points[:, 0] = np.concatenate((x, x[::-1]))
        points[:, 1] = np.concatenate((top, np.maximum(top, bottom)[::-1]))
        points = (points - (LEFT, TOP)) * self.k - 0.5
        if soft == 0:
            cv2.fillPoly(self.canvas, [np.rint(points * 16).astype(np.int32)], (*tint, 255), cv2.LINE_AA, 4)
            return
        size = 2 * round(soft * self.k) + 1
        left, upper = (max(0, int(v) - size) for v in points.min(0))
        right, lower = (int(v) + size + 2 for v in points.max(0))
        patch = self.canvas[upper:lower, left:right]
        mask: Any = np.zeros(patch.shape[:2], np.uint8)
        points = np.rint((points - (left, upper)) * 16)
        cv2.fillPoly(mask, [points.astype(np.int32)], (255 * cover,), cv2.LINE_AA, 4)
        mask = cv2.merge([cv2.GaussianBlur(mask, (size, size), 0)] * 4)
        layer = cv2.multiply(mask, (*tint, 255), scale=1 / 255)  # type: ignore[call-overload]
        cv2.add(cv2.multiply(patch, cv2.bitwise_not(mask), scale=1 / 255), layer, dst=patch)

    def _lids(self, side: int, e: Expression) -> tuple[Any, Any, Any]:
        """The opening of an eye: x, upper lid, lower lid."""
        inward = -side * S
        low = -0.10 + 0.02 * inward + 0.07 * DOME * (1 - 0.45 * e.squint)
        up = -0.10 + 0.02 * inward - (0.105 * e.eye_open - 0.05 * e.brow_slant * (inward + 0.3)) * DOME
        return side * self.look.eyes + 0.225 * S, np.minimum(up, low - 0.004), low

    def _creases(self, e: Expression) -> None:
        """The soft lines around eyes and mouth that belong to the skin."""
        shade = _tint(self.look.skin, (0.42, 0.44, 0.55))
        for side in (-1, 1):
            x, up, low = self._lids(side, e)
            above = up - 0.035 - 0.045 * DOME
            self._band(x, above - 0.012, above + 0.012, shade, 0.02, 0.7)
            self._band(x, low, low + 0.022 + 0.02 * e.squint, shade, 0.02, 0.6)

    def _eye(self, side: int, e: Expression, shut: float, gaze: tuple[float, float]) -> None:
        look = self.look
        x, up, low = self._lids(side, e)
        up = low + (up - low) * (1 - shut)
        dark = _tint(look.hair, (0.25, 0.25, 0.25), look.skin, 0.08)
        self._band(x, up, low, _tint(look.skin, (0.12, 0.12, 0.12), (142, 142, 142), 1.0))
        ix, iy = side * look.eyes + gaze[0], -0.095 + gaze[1]
        discs: tuple[tuple[float, float, float, Tint], ...] = (
            (ix, iy, 0.108, dark),
            (ix, iy, 0.094, look.iris),
            (ix, iy, 0.048, (14, 12, 12)),
            (ix - 0.045, iy - 0.05, 0.028, (250, 250, 250)),
        )
        for cx, cy, radius, tint in discs:
            at = cx + radius * S
            between = np.interp(at, x, up), np.interp(at, x, low)
            rim = [np.clip(cy + sign * radius * DOME, *between) for sign in (-1, 1)]
            self._band(at, rim[0], rim[1], tint)
        self._band(x, up, np.minimum(up + 0.05, low), dark, 0.02, 0.55)
        self._band(side * look.eyes + 0.25 * S, up - 0.034 * np.sqrt(DOME), up + 0.012, dark)

    def _brows(self, e: Expression) -> None:
        p = (S + 1) / 2
        inner = 0.15 - 0.05 * max(e.brow_slant, 0)
        y = -0.41 - 0.14 * e.brow_raise - 0.065 * np.sin(0.62 * math.pi * p)
        y = y + e.brow_slant * (0.15 * (1 - p) ** 1.3 - 0.09 * p**1.5)
        half = self.look.brow * (1 - 0.75 * p**2) * np.clip(0.6 + 3 * p, 0, 1)
        tint = _tint(self.look.hair, (0.36, 0.36, 0.36), self.look.skin, 0.08)
        for side in (-1, 1):
            self._band(side * (inner + (0.74 - inner) * p), y - half, y + half, tint, 0.025, 0.95)

    def _mouth(self, e: Expression) -> None:
        lip = _tint(self.look.skin, (0.66, 0.60, 0.88))
        x = 0.36 * e.mouth_width * S
        middle = 0.80 + 0.06 * e.mouth_open - 0.15 * e.mouth_curve * (S * S - 0.35)
        up = middle - (0.13 * e.mouth_open + 0.07 * e.lip_raise * (0.4 + np.abs(S))) * DOME
        low = middle + 0.29 * e.mouth_open * DOME
        full = 0.115 * DOME * (1 - 0.3 * e.mouth_open)
        bow = 0.74 * full * (1 - 0.25 * np.exp(-((S / 0.18) ** 2)))
        self._band(x, low + 0.6 * full, low + full + 0.05, _tint(lip, (0.75, 0.75, 0.75)), 0.04, 0.35)
        self._band(1.03 * x, up - bow, up + 0.02, _tint(lip, (0.86, 0.86, 0.86)), 0.015, 0.9)
        self._band(1.03 * x, low - 0.02, low + full, lip, 0.015, 0.9)
        self._band(0.5 * x, low + 0.25 * full, low + 0.55 * full, (230, 225, 245), 0.03, 0.35)
        self._band(x, up, low, (34, 26, 62))
        if e.mouth_open > 0.03:
            self._band(0.7 * x, np.maximum(low - 0.12 * DOME, up), low, (84, 74, 170), 0.02, 0.8)
            edge = np.minimum(up + 0.13 * e.teeth * DOME**0.3, low)
            self._band(0.94 * x, up, edge, (216, 226, 232), 0.01, min(1.0, 1.5 * e.teeth))
        self._band(x, up - 0.012, up + 0.014, _tint(lip, (0.38, 0.34, 0.45)), 0.01, 0.9)


def paste(frame: Pixels, patch: Pixels, corner: tuple[float, float], k: float, pose: Pose, endless: bool = False) -> None:
    """Blend a premultiplied patch into ``frame``; ``endless`` draws its last row on to the lower border.

    ``corner`` is the left and top of the patch in head units, ``k`` its pixels a unit.
    """
    c, s = pose.unit_px / k * math.cos(pose.roll), pose.unit_px / k * math.sin(pose.roll)
    x, y = pose.at(corner[0] + 0.5 / k, corner[1] + 0.5 / k)
    place = np.array([[c, -s, x - 0.5], [s, c, y - 0.5]])
    h, w = patch.shape[:2]
    corners = place[:, :2] @ np.array([[0, w, w, 0], [0, 0, h, h]]) + place[:, 2:]
    left, top = (max(0, int(v)) for v in corners.min(1))
    right, bottom = (int(v) + 2 for v in corners.max(1))
    right, bottom = min(frame.shape[1], right), frame.shape[0] if endless else min(frame.shape[0], bottom)
    if left >= right or top >= bottom:
        return
    place[:, 2] -= left, top
    border = cv2.BORDER_REPLICATE if endless else cv2.BORDER_CONSTANT
    size = right - left, bottom - top
    layer = cv2.warpAffine(patch, place, size, flags=cv2.INTER_LINEAR, borderMode=border)
    clear = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(layer, 3)), cv2.COLOR_GRAY2BGR)
    under = frame[top:bottom, left:right]
    cv2.add(cv2.multiply(under, clear, scale=1 / 255), cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), dst=under)


def backdrop(w: int, h: int) -> Pixels:
    """A plain wall in soft light, (h, w, 3)."""
    x, y = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-1, 1, h))
    glow = 0.62 + 0.30 * np.exp(-((x + 0.25) ** 2) / 1.2 - (y + 0.35) ** 2 / 1.5)
    return np.dstack([np.rint(glow * level).astype(np.uint8) for level in (214, 206, 196)])
