"""What an emulated board works through while its instructions are counted, stretch by stretch: run by its Python.

    stretches.py CLIPS.npz LABELS.json MODEL.tflite ...

A mark, a system call that fails, ends a stretch: the counter notes the instructions so far, LABELS the stretch's name. For every model:
``invoke``; for every clip ``CLIP gate``, ``detect``, ``classify`` and ``rest`` of edgefer's loop with JSON lines, frame by frame; and
``naive haar`` and ``classify`` of the naive loop, full-frame Haar (1.3, 5) and a classification of every face in every frame.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edgefer.detectors import open_detector
from edgefer.model.card import read_model, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.runtime import open_interpreter
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.loop import run
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import DetectorSettings, Settings
from edgefer.sinks.jsonl import JsonLines
from edgefer.sources import Source
from edgefer.spec import parse_spec
from edgefer.types import Frame, Pixels

MARK = 0x5FE00000
FPS = 30
WARM_UP_FRAMES, NAIVE_FRAMES, INVOKES = 15, 4, 3
STAGES = ("rest", "gate", "detect", "classify")
"""What ends at each of the four times a frame at which the pipeline looks at its clock; the rest is that before a frame."""

labels: list[str] = []


def mark(label: str) -> None:
    """The stretch called ``label`` ends here."""
    labels.append(label)
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(MARK)


class Frames(Source):
    """Frames kept as an array, without their making."""

    description = "kept frames"

    def __init__(self, kept: Pixels) -> None:
        self._kept = kept

    def __iter__(self) -> Iterator[Frame]:
        for index, luma in enumerate(self._kept):
            yield Frame(index, index / FPS, luma)

    def close(self) -> None:
        """Nothing is held."""


def invoke(path: Path) -> None:
    """The runtime alone."""
    interpreter = open_interpreter(split_card(read_model(path), str(path))[0], 1, path)
    interpreter.invoke()
    mark("")
    for _ in range(INVOKES):
        interpreter.invoke()
        mark("invoke")


def loop(path: Path, clip: str, frames: Pixels) -> None:
    """edgefer's, its clock telling where a stage ends; the first frames, in which everything is new, are not named."""
    calls = itertools.count()

    def clock() -> float:
        frame, stage = divmod(next(calls), len(STAGES))
        # The rest before a frame is the frame before's.
        mark(f"{clip} {STAGES[stage]}" if frame - (stage == 0) >= WARM_UP_FRAMES else "")
        return 0.0

    pipeline = Pipeline(Settings(), Classifier(path), tracked=True, clock=clock)
    run(Frames(frames), pipeline, [JsonLines(parse_spec("jsonl:/dev/null"))], threading.Event(), timeout_s=1)


def naive(path: Path, frames: Pixels) -> None:
    """The loop that edgefer replaces."""
    classifier, detector = Classifier(path), open_detector("haar", DetectorSettings(scale_factor=1.3))
    for index, luma in enumerate(frames[: NAIVE_FRAMES + 1]):
        mark("")
        boxes = detector(luma, 30)
        mark("naive haar" if index else "")
        for box in boxes:
            classifier(crop_face(luma, box, 0.0, 48, 48)[None])
        mark("naive classify" if index else "")


def main() -> None:
    """Every model in turn."""
    cv2.setNumThreads(1)
    clips = dict(np.load(sys.argv[1]))
    for path in map(Path, sys.argv[3:]):
        invoke(path)
        for clip, frames in clips.items():
            loop(path, clip, frames)
        naive(path, frames)
        mark("end")
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(labels))


if __name__ == "__main__":
    main()
