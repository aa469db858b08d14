"""Photographs with boxed faces, and what a detector finds on them: recall and precision."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgefer.errors import DataError
from edgefer.types import Box, Pixels

IOU = 0.4
"""From this overlap on, a square box and a labelled one, which is half as high again as wide, are the same face."""

Found = Mapping[Path, Sequence[tuple[Box, float]]]
"""Boxes with their scores for each photograph."""


@dataclass(frozen=True, slots=True)
class Photographs:
    """Labelled boxes by photograph, and photographs without a face."""

    faces: Mapping[Path, list[Box]]
    empty: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """A score from which a box counts, and what that gives: recall and precision, 0..1."""

    least_score: float
    recall: float
    precision: float


def load_photographs(folder: Path) -> Photographs:
    """``faces/boxes.csv`` (file, x, y, w, h in pixels), ``faces/images/`` and ``nofaces/``; raises `DataError` where they are not."""
    faces: dict[Path, list[Box]] = {}
    try:
        with (folder / "faces" / "boxes.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                box = Box(*(round(float(row[side])) for side in "xywh"))
                faces.setdefault(folder / "faces" / "images" / row["file"], []).append(box)
        empty = sorted(path for path in (folder / "nofaces").iterdir() if path.suffix in (".jpg", ".jpeg", ".png"))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{folder}: needs faces/boxes.csv (file, x, y, w, h), faces/images/ and nofaces/: {error}") from None
    return Photographs(faces, tuple(empty))


def read_luma(path: Path) -> Pixels:
    """A photograph as (H, W) uint8; raises `DataError` where it cannot be read."""
    luma = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if luma is None:
        raise DataError(f"{path}: cannot be read as a picture")
    return np.asarray(luma, np.uint8)


def matches(boxes: Iterable[Box], faces: Sequence[Box], iou: float = IOU) -> list[bool]:
    """Whether each box has a face of its own that it overlaps; earlier boxes choose first."""
    left, found = list(faces), []
    for box in boxes:
        best = max(left, key=box.iou, default=None)
        hit = best is not None and box.iou(best) >= iou
        if best is not None and hit:
            left.remove(best)
        found.append(hit)
    return found


def best_setting(found: Found, faces: Mapping[Path, list[Box]], least_precision: float, iou: float = IOU) -> Setting:
    """The setting with the highest recall whose precision is at least that."""
    scores, hits = [], []
    for path, truth in faces.items():
        ranked = sorted(found[path], key=lambda each: -each[1])
        scores += [score for _, score in ranked]
        hits += matches([box for box, _ in ranked], truth, iou)
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits, int)[order])
    precision = right / np.arange(1, len(right) + 1)
    good = np.flatnonzero(precision >= least_precision)
    if not len(good):
        return Setting(1.0, 0.0, 1.0)
    last = good[-1]
    return Setting(float(scores[order[last]]), float(right[last] / sum(map(len, faces.values()))), float(precision[last]))
