"""The label of a leaning head: is it the upright one's? Drawn heads, and photographed ones where the development data is.

    PYTHONPATH=. python tests/benchmarks/leaning.py

First pictures, each searched and labelled by itself; then clips of a drawn head that leans slowly to 45 degrees and back.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import astuple
from functools import cache

import cv2
import numpy as np
from detection import DATA
from pasted import pasted_clips

from convert.photographs import IOU, load_photographs
from edgefer.luma import luma_of
from edgefer.pipeline.stages import Pipeline, open_pipeline
from edgefer.settings import Settings
from edgefer.sources.drawn import BODY_SIDE, BODY_TOP, BOX_SIDE, BOX_Y, LEFT, PRESETS, TOP, DrawnFace, Expression, Pose, backdrop, paste
from edgefer.types import Box, Frame, Pixels

ROLLS_DEG = (15, 30, 45, 60)
PEOPLE, UNIT_PX = 6, 70.0
PHOTOGRAPHS, WIDTH_PX = 60, 100
FPS, SECONDS, NOISE = 15, 8, 2.0


def main() -> None:
    """Print the rows."""
    cv2.setNumThreads(1)
    pictures, clips = open_pipeline(Settings(), tracked=False), open_pipeline(Settings())
    drawn = [[_drawn(seed, preset, roll) for roll in (0, *ROLLS_DEG)] for seed in range(PEOPLE) for preset in range(len(PRESETS))]
    for row in rows("drawn", pictures, drawn):
        print(row, flush=True)
    if DATA.is_dir():
        for row in rows("photographed", pictures, _photographed()):
            print(row, flush=True)
    else:
        print("photographed: no development data here (set EDGEFER_SHARED_DATA)")
    kept, same, frames = np.sum([lean(clips, seed, preset) for seed in range(2) for preset in range(len(PRESETS))], axis=0)
    print(f"drawn, leaning slowly to 45 degrees and back: kept in {kept / frames:.3f} of {frames} frames, its label in {same / frames:.3f}")


def rows(name: str, pipeline: Pipeline, heads: list[list[Pixels]]) -> Iterator[str]:
    """For each roll: the share of heads found, and of heads with the label that they have upright."""
    labels = [[_label(pipeline, picture) for picture in head] for head in heads]
    known = [head for head in labels if head[0]]
    for index, roll in enumerate(ROLLS_DEG, 1):
        found, same = (np.mean(answers) for answers in zip(*((bool(head[index]), head[index] == head[0]) for head in known), strict=True))
        yield f"{name}, {roll} degrees: found {found:.3f}, label of the upright head {same:.3f} of {len(known)}"


def lean(pipeline: Pipeline, seed: int, preset: int) -> tuple[int, int, int]:
    """Frames with the face, with the label that it had upright, and all, of a head that leans to 45 degrees and back.

    None of a head that has no label upright, but "uncertain".
    """
    pipeline.restart(tracked=True)
    random, upright, kept, same = np.random.default_rng(seed), "", 0, 0
    side, count, settle = round(BOX_SIDE * UNIT_PX), SECONDS * FPS, FPS
    for index in range(settle + count):
        roll = 22.5 * (1 - math.cos(2 * math.pi * max(0, index - settle) / count))
        noisy = np.clip(_drawn(seed, preset, roll) + np.rint(random.normal(0, NOISE, (480, 640))), 0, 255).astype(np.uint8)
        x, y = Pose(320, 240, UNIT_PX, math.radians(roll)).at(0, BOX_Y)
        truth = Box(round(x - side / 2), round(y - side / 2), side, side)
        faces = [face for face in pipeline.process(Frame(index, index / FPS, noisy)).faces if face.box.iou(truth) >= IOU]
        if index == settle:
            upright = faces[0].expression if faces else "not found"
            if upright == "uncertain":
                return 0, 0, 0
        if index >= settle:
            kept += bool(faces)
            same += bool(faces) and faces[0].expression == upright
    return kept, same, count


def _drawn(seed: int, preset: int, roll_deg: float) -> Pixels:
    """Luma (480, 640) of a drawn head with one of the seven expressions, on an upright body."""
    body, head, pixels = _parts(seed, preset)
    picture = body.copy()
    paste(picture, head, (LEFT, TOP), pixels, Pose(320, 240, UNIT_PX, math.radians(roll_deg)))
    return luma_of(picture)


@cache
def _parts(seed: int, preset: int) -> tuple[Pixels, Pixels, float]:
    """A room with a body (480, 640, 3), its head (h, w, 4), and the head's pixels a unit."""
    face, picture = DrawnFace(seed, preset, UNIT_PX), backdrop(640, 480).copy()
    paste(picture, face.body, (-BODY_SIDE, BODY_TOP), face.body_k, Pose(320, 240, UNIT_PX, 0), endless=True)
    return picture, face.draw(preset, preset, 0.0, Expression(*astuple(list(PRESETS.values())[preset])), 1.0), face.k


def _photographed() -> list[list[Pixels]]:
    """Each photographed head upright and at each roll, to either side."""
    photographs = load_photographs(DATA)
    names = (DATA / "faces" / "subset_single_large_upright.txt").read_text(encoding="utf-8").split()
    turned = [pasted_clips(photographs, names, WIDTH_PX, roll, PHOTOGRAPHS) for roll in (0, *ROLLS_DEG)]
    return [[next(clip.frames(1))[0].luma for clip in head] for head in zip(*turned, strict=True)]


def _label(pipeline: Pipeline, picture: Pixels) -> str:
    """The expression of the largest face; empty without one."""
    faces = pipeline.process(Frame(0, 0.0, picture)).faces
    return max(faces, key=lambda face: face.box.area_px).expression if faces else ""


if __name__ == "__main__":
    sys.exit(main())
