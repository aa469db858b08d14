"""Recall and precision of the detectors on photographs with boxed faces (FDDB), and false faces where there are none.

python tests/benchmarks/detection.py [DETECTOR ...]      default: haar blazeface; needs the development data
"""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path

import cv2

from edge.detectors import DETECTORS, Detector, open_detector
from edge.settings import DetectorSettings
from edge.types import Box, Pixels

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


def main() -> None:
    """Score every detector asked for."""
    cv2.setNumThreads(1)
    if not DATA.is_dir():
        sys.exit("no development data here (set EDGEFER_SHARED_DATA)")
    for name in sys.argv[1:] or DETECTORS:
        print(score(name, open_detector(name, DetectorSettings())), flush=True)


if __name__ == "__main__":
    main()
