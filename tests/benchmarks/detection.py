"""The finder's table: faces found by size, roll, crop and photograph; needs the development data.

    PYTHONPATH=. python tests/benchmarks/detection.py [DETECTOR ...]     default: the settings' own

First every detector alone on photographs, then the whole pipeline with it, as `edgefer run` opens it. Seeded: figures repeat.
FDDB leaves people unlabelled, so precision is a lower bound.
"""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
from pasted import pasted_clips

from convert.photographs import IOU, Found, Photographs, best_setting, load_photographs, matches, read_luma
from edgefer.detectors import Detector, open_detector
from edgefer.detectors.yunet import YuNet
from edgefer.luma import luma_of
from edgefer.pipeline.stages import Pipeline, open_pipeline
from edgefer.settings import DetectorSettings, Settings
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box, Frame, Pixels

DATA = Path(os.environ.get("EDGEFER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
CLIPS = 30
"""Clips of a second for each size and roll."""
WIDTHS_PX, ROLLS_DEG, TURNED_PX = (20, 24, 32, 40), (30, 45, 60), 64
PRECISION = 0.945
LARGE_PX = (3000, 4000)

Find = Callable[[Pixels], list[Box]]


def main() -> None:
    """Print the rows for every detector asked for."""
    cv2.setNumThreads(1)
    if not DATA.is_dir():
        sys.exit("no development data here (set EDGEFER_SHARED_DATA)")
    photographs = load_photographs(DATA)
    for name in sys.argv[1:] or [""]:
        settings = Settings()
        if name:
            detector = msgspec.structs.replace(settings.detector, name=name, photo_name=name)
            settings = msgspec.structs.replace(settings, detector=detector)
        for used in dict.fromkeys((settings.detector.name, settings.detector.photo_name)):
            print(f"{used} alone", flush=True)
            for row in alone(open_detector(used, DetectorSettings()), photographs):
                print(f"  {row}", flush=True)
        print(f"edgefer with {settings.detector.photo_name} for photographs, {settings.detector.name} for clips", flush=True)
        for row in whole(settings, photographs):
            print(f"  {row}", flush=True)


def alone(detector: Detector, photographs: Photographs) -> Iterator[str]:
    """Rows for a detector: at its own setting, and swept over its scores where it gives them."""
    yield on_photographs(lambda luma: detector(luma, 20), photographs)
    if isinstance(detector, YuNet):
        paths = (*photographs.faces, *photographs.empty)
        found: Found = {path: [(face.box, face.score) for face in detector.detect(read_luma(path), 0.1)] for path in paths}
        for iou in (IOU, 0.5):
            best = best_setting(found, photographs.faces, PRECISION, iou)
            false = sum(score >= best.least_score for path in photographs.empty for _, score in found[path])
            figures = f"recall {best.recall:.3f} at precision {best.precision:.3f}, score {best.least_score:.2f}; false {false}"
            yield f"swept, IoU {iou}: {figures}"


def on_photographs(find: Find, photographs: Photographs) -> str:
    """Recall and precision on photographs with faces, false boxes on those without, CPU time a photograph."""
    cpu_s, found = 0.0, {}
    for path in (*photographs.faces, *photographs.empty):
        luma, begun = read_luma(path), time.process_time()
        found[path] = find(luma)
        cpu_s += time.process_time() - begun
    wanted, given = (sum(len(of[path]) for path in photographs.faces) for of in (photographs.faces, found))
    cells = []
    for iou in (IOU, 0.5):
        hits = sum(sum(matches(found[path], truth, iou)) for path, truth in photographs.faces.items())
        cells.append(f"recall {hits / wanted:.3f} precision {hits / max(1, given):.3f} at IoU {iou}")
    false, empty = sum(len(found[path]) for path in photographs.empty), len(photographs.empty)
    return f"photographs: {'; '.join(cells)}; {false} false in {empty} without a face; {1000 * cpu_s / len(found):.1f} CPU ms each"


def whole(settings: Settings, photographs: Photographs) -> Iterator[str]:
    """Rows for the whole pipeline."""
    photo, clip = open_pipeline(settings, tracked=False), open_pipeline(settings)

    def in_photograph(luma: Pixels) -> list[Box]:
        return [face.box for face in photo.process(Frame(0, 0.0, luma)).faces]

    yield on_photographs(in_photograph, photographs)
    names = (DATA / "faces" / "subset_single_large_upright.txt").read_text(encoding="utf-8").split()
    for width_px, roll_deg in (*((width, 0) for width in WIDTHS_PX), *((TURNED_PX, roll) for roll in ROLLS_DEG)):
        clips = pasted_clips(photographs, names, width_px, roll_deg, CLIPS)
        waits, cpu_ms, firsts = [], [], []
        for each in clips:
            frames = list(each.frames())
            begun = time.process_time()
            waits.append(wait_s(clip, frames))
            cpu_ms.append(1000 * (time.process_time() - begun) / len(frames))
            firsts.append(any(box.iou(frames[0][1]) >= IOU for box in in_photograph(frames[0][0].luma)))
        found = np.isfinite(waits)
        yield (
            f"640x480, {width_px} px wide, turned {roll_deg:2}: found within 1 s {found.mean():.2f}"
            f" (median wait {np.median(np.array(waits)[found] if found.any() else [np.nan]):.2f} s),"
            f" as a photograph {np.mean(firsts):.2f}; {np.mean(cpu_ms):.1f} CPU ms a frame"
        )
    crops = list(tight_crops())
    yield f"tight crops (ckplus): {np.mean([bool(in_photograph(crop)) for crop in crops]):.3f} of {len(crops)}"
    for name, luma, truth in group_photographs():
        begun, boxes = time.process_time(), in_photograph(luma)
        spent = time.process_time() - begun
        hits = sum(matches(boxes, truth)) if truth else len(boxes)
        yield f"{name}: {hits} of {len(truth) or 20}, {len(boxes) - hits} false; {spent:.1f} CPU s"


def wait_s(pipeline: Pipeline, frames: list[tuple[Frame, Box]]) -> float:
    """Seconds of a clip until the face is shown; infinite where it never is."""
    pipeline.restart(tracked=True)
    wait = float("inf")
    for frame, truth in frames:
        shown = any(face.box.iou(truth) >= IOU for face in pipeline.process(frame).faces)
        wait = min(wait, frame.time_s) if shown else wait
    return wait


def tight_crops() -> Iterator[Pixels]:
    """Face crops of at most 96 px without a margin."""
    with zipfile.ZipFile(DATA / "crosset.zip") as archive:
        for name in archive.namelist():
            if name.startswith("ckplus/") and name.endswith(".png"):
                yield np.asarray(cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def group_photographs() -> Iterator[tuple[str, Pixels, list[Box]]]:
    """Drawn groups: two files of twenty, whose boxes nobody wrote down, and thirty in 12 megapixels."""
    for path in sorted((DATA.parent / "cases" / "group-photo").glob("*.jpg")):
        yield path.name, read_luma(path), []
    scene = Scene(SyntheticOptions(size="1920x1080", faces=30, still=True))
    large, (x, y) = np.full(LARGE_PX, 110, np.uint8), (1040, 960)
    large[y : y + 1080, x : x + 1920] = luma_of(scene.draw(0))
    truth = [Box(x + face.box.x, y + face.box.y, face.box.w, face.box.h) for face in scene.truth(0)]
    yield f"30 drawn faces of {truth[0].w} px in 12 MP", large, truth


if __name__ == "__main__":
    main()
