"""Frames through one loop, each marked for an instruction counter: run by an emulated Pi's Python, on frames kept as an array.

    count OUT count_frames.py {edgefer|naive} MODEL FRAMES.npy

A mark is a system call that fails: the counter writes down the instructions between two of them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edge.classify import Classifier
from edge.crop import crop_face
from edge.detectors import open_detector
from edge.pipeline import open_pipeline
from edge.settings import DetectorSettings, Settings
from edge.types import Frame, Pixels

MARK = 0x5FE00000
FPS = 30


def mark(number: int) -> None:
    """Tell the counter that frame ``number`` ends here."""
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(MARK + number)


def loop(kind: str, model: str) -> Callable[[int, Pixels], None]:
    """What is done with a frame: edgefer's pipeline, or full-frame Haar (1.3, 5) and a classification of every face."""
    if kind == "edgefer":
        pipeline = open_pipeline(msgspec.structs.replace(Settings(), model=model))
        return lambda index, luma: print(index, pipeline.process(Frame(index, index / FPS, luma)).faces, file=sys.stderr)
    classifier, detector = Classifier(Path(model)), open_detector(DetectorSettings(scale_factor=1.3))

    def naive(index: int, luma: Pixels) -> None:
        for box in detector(luma, 30):
            classifier(crop_face(luma, box, 0.0, 48, 48)[None])

    return naive


def main() -> None:
    """Work through the frames."""
    cv2.setNumThreads(1)
    work, frames = loop(*sys.argv[1:3]), np.load(sys.argv[3])
    mark(0)
    mark(0)
    for index, luma in enumerate(frames):
        work(index, luma)
        mark(index + 1)


if __name__ == "__main__":
    main()
