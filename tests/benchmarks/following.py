"""What following costs and loses: edgefer's loop against a full-frame Haar search and a classification in every frame.

    python tests/benchmarks/following.py [SOURCE ...]     default: drawn faces, and the clips of the development data

A line a source: frames whose largest face has a box (IoU 0.5), all faces, the same label, the same label as classifying at
every look, the longest wait for a face that stays half a second, ids a face, faces nobody else sees, and the CPU time a
frame of the naive int8 loop (Haar 1.3/5) over edgefer's.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edgefer.detectors import open_detector
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.smoother import Smoother
from edgefer.pipeline.stages import open_pipeline
from edgefer.pipeline.tracker import Tracker
from edgefer.settings import ClassifySettings, DetectorSettings, Settings
from edgefer.sources import open_source
from edgefer.types import Box, Detection, Face, Frame, Pixels, Track, TrackState

DATA = Path(os.environ.get("EDGEFER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
DRAWN = ("synthetic:?paced=false&seconds=10", "synthetic:?paced=false&seconds=10&faces=3")
SKIP = 5
"""Frames at the start whose cost is not counted: everything is new."""


class Reference:
    """Searches and classifies everything in every frame, and counts what the naive loop would have cost."""

    def __init__(self, classifier: Classifier) -> None:
        settings = Settings()
        self._fine, self._naive = open_detector("haar", DetectorSettings()), open_detector("haar", DetectorSettings(scale_factor=1.3))
        self._classifier, track, smooth = classifier, settings.track, settings.smooth
        self._tracker = Tracker(track.min_iou, track.lost_s, track.min_hits, track.steady)
        self._smoother = Smoother(classifier.labels, smooth.window_s, smooth.margin, classifier.card.uncertain_below)
        self.cpu_s: list[float] = []

    def see(self, frame: Frame) -> tuple[list[Box], list[tuple[Track, str]]]:
        """Boxes found, and the faces found in this very frame with their labels."""
        boxes = self._fine(frame.luma, 30)
        tracks = self._tracker.update(list(map(Detection, boxes)), frame.time_s)
        found = [track for track in tracks if track.state is TrackState.FOUND]
        labels = [self._smoother.update(track.id, self._score(frame.luma, track.box), frame.time_s)[0] for track in found]
        begun = time.process_time()
        for box in self._naive(frame.luma, 30):
            self._score(frame.luma, box)
        self.cpu_s.append(time.process_time() - begun)
        return boxes, list(zip(found, labels, strict=True))

    def _score(self, luma: Pixels, box: Box) -> np.ndarray:
        return self._classifier(crop_face(luma, box, 0.0, 48, 48)[None])[0]


def compare(text: str, classifier: Classifier) -> str:
    """One line of figures for a source."""
    reference, source = Reference(classifier), open_source(text)
    ours, always = open_pipeline(Settings()), open_pipeline(msgspec.structs.replace(Settings(), classify=ClassifySettings(change=0.0)))
    for line in (ours, always):
        line.restart(source.tracked)
    cpu_s: list[float] = []
    largest, faces, labels, own_labels = [], [], [], []
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    met: dict[int, float] = {}
    ids: dict[int, set[int]] = {}
    extra = frames = 0
    for frame in source:
        frames += 1
        boxes, theirs = reference.see(frame)
        begun = time.process_time()
        seen = ours.process(frame).faces
        cpu_s.append(time.process_time() - begun)
        for face, other in zip(seen, always.process(frame).faces, strict=True):
            own_labels.append(face.expression == other.expression)
        extra += sum(not any(face.box.iou(box) >= 0.3 for box in boxes) for face in seen)
        if boxes:
            largest.append(_nearest(seen, boxes[0]) is not None)
        for track, label in theirs:
            first.setdefault(track.id, track.first_s)
            last[track.id] = frame.time_s
            face = _nearest(seen, track.box)
            faces.append(face is not None)
            if face:
                labels.append(face.expression == label)
                met.setdefault(track.id, frame.time_s)
                ids.setdefault(track.id, set()).add(face.track)
    waits = [met.get(id, last[id]) - first[id] for id in first if last[id] - first[id] >= 0.5]
    ratio = np.mean(reference.cpu_s[SKIP:]) / np.mean(cpu_s[SKIP:])
    shares = " ".join(f"{100 * np.mean(hits):7.1f} %" if hits else "      - %" for hits in (largest, faces, labels, own_labels))
    ids_each = np.mean([len(of) for of in ids.values()] or [0])
    return (
        f"{text[-42:]:42} {frames:6} {shares} {max(waits, default=0):7.2f} s {ids_each:5.2f} {extra:6} "
        f"{1000 * np.mean(cpu_s[SKIP:]):8.2f} {ratio:8.1f}"
    )


def _nearest(faces: tuple[Face, ...], box: Box) -> Face | None:
    best = max(faces, key=lambda face: face.box.iou(box), default=None)
    return best if best and best.box.iou(box) >= 0.5 else None


def main() -> None:
    """Compare on every source asked for."""
    cv2.setNumThreads(1)
    clips = [f"file:{path}" for path in sorted((DATA / "video").glob("*.*")) if path.suffix in (".mp4", ".mov", ".gif")]
    classifier = Classifier(find_model("small"))
    print(f"{'':42} frames   largest     faces     label own label    wait   ids  extra   CPU ms naive/us")
    for text in sys.argv[1:] or [*DRAWN, *clips]:
        print(compare(text, classifier), flush=True)


if __name__ == "__main__":
    main()
