"""Recall and precision of the detectors on photographs with boxed faces (FDDB), false faces where there are none, and faces far away.

python tests/benchmarks/detection.py [DETECTOR ...]      default: haar blazeface; needs the development data
"""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edgefer.detectors import DETECTORS, Detector, open_detector
from edgefer.pipeline.new_faces import NewFaceSearch
from edgefer.settings import DetectorSettings
from edgefer.types import Box, Pixels

DATA = Path(os.environ.get("EDGEFER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def truth() -> dict[Path, list[Box]]:
    """The boxes of every photograph."""
    found: dict[Path, list[Box]] = {}
    with (DATA / "faces" / "boxes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            box = Box(*(round(float(row[side])) for side in "xywh"))
            found.setdefault(DATA / "faces" / "images" / row["file"], []).append(box)
    return found


def matched(boxes: list[Box], faces: list[Box], iou: float) -> int:
    """How many boxes have a face of their own, best overlap first."""
    pairs = sorted(((box.iou(face), i, j) for i, box in enumerate(boxes) for j, face in enumerate(faces)), reverse=True)
    used_boxes: set[int] = set()
    used_faces: set[int] = set()
    for overlap, i, j in pairs:
        if overlap >= iou and i not in used_boxes and j not in used_faces:
            used_boxes.add(i)
            used_faces.add(j)
    return len(used_boxes)


def score(name: str, detector: Detector) -> str:
    """One line of figures for a detector."""
    cpu_s = 0.0

    def find(path: Path) -> list[Box]:
        nonlocal cpu_s
        luma: Pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)  # type: ignore[assignment]
        begun = time.process_time()
        boxes = detector(luma, 30)
        cpu_s += time.process_time() - begun
        return boxes

    faces, empty = truth(), sorted(path for path in (DATA / "nofaces").iterdir() if path.suffix in (".jpg", ".png", ".jpeg"))
    found = {path: find(path) for path in faces}
    false = sum(len(find(path)) for path in empty)
    wanted, given = sum(map(len, faces.values())), sum(map(len, found.values()))
    cells = []
    for iou in (0.5, 0.4):
        hits = sum(matched(found[path], faces[path], iou) for path in faces)
        cells.append(f"recall {hits / wanted:.3f} precision {hits / max(1, given):.3f} at IoU {iou}")
    return (
        f"{name:12} {'; '.join(cells)}; {false} false in {len(empty)} without a face; {1000 * cpu_s / (len(faces) + len(empty)):.1f} CPU ms"
    )


def far(detector: Detector) -> str:
    """How many faces of each size are found in frames of 640x480 that hold one, four or nine photographs."""
    width, height = 640, 480
    # As the frames of a camera are searched: scaled down.
    search = NewFaceSearch(detector, detector, DetectorSettings(photo_max_side_px=DetectorSettings().max_side_px), refresh_s=0)
    photos, sizes_px = list(truth().items()), [32, 40, 53, 80, 128, 480]
    found, there = np.zeros(len(sizes_px), int), np.zeros(len(sizes_px), int)
    for side in (1, 2, 3):
        for first in range(0, 360, side * side):
            frame, faces = np.full((height, width), 110, np.uint8), []
            for place, (path, boxes) in enumerate(photos[first : first + side * side]):
                luma = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
                assert luma is not None
                scale = min(width / side / luma.shape[1], height / side / luma.shape[0])
                small = cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[: height // side, : width // side]
                x, y = place % side * (width // side), place // side * (height // side)
                frame[y : y + small.shape[0], x : x + small.shape[1]] = small
                faces += [Box(round(x + b.x * scale), round(y + b.y * scale), round(b.w * scale), round(b.h * scale)) for b in boxes]
            seen = [found.box for found in search.photograph(frame)]
            for face in faces:
                size = np.searchsorted(sizes_px, 0.87 * face.h)  # Haar's square is 0.87 of FDDB's height
                there[size] += 1
                found[size] += any(face.iou(box) >= 0.35 for box in seen)
    return "; ".join(f"to {px} px {hits} of {all}" for px, hits, all in zip(sizes_px, found, there, strict=True))


def main() -> None:
    """Score every detector asked for."""
    cv2.setNumThreads(1)
    if not DATA.is_dir():
        sys.exit("no development data here (set EDGEFER_SHARED_DATA)")
    for name in sys.argv[1:] or DETECTORS:
        detector = open_detector(name, DetectorSettings())
        print(score(name, detector), flush=True)
        print(f"{'':12} in frames of 640x480: {far(detector)}", flush=True)


if __name__ == "__main__":
    main()
