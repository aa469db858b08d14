"""The student report's loop, which `edgefer bench` compares with: Haar on the full frame, Keras ``predict`` for each face."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import msgspec
import numpy as np

from edgefer.detectors import open_detector
from edgefer.native_stderr import silence_native_stderr
from edgefer.pipeline.measure import measure
from edgefer.settings import DetectorSettings
from edgefer.types import Frame
from train.model import build
from train.recipe import load_recipe


def main() -> None:
    """``python -m train.report_loop SOURCE FRAMES``: prints its metrics as JSON. Random weights take the same time."""
    text, frames = sys.argv[1], int(sys.argv[2])
    recipe = load_recipe("report")
    with silence_native_stderr():
        network = build(recipe.model, len(recipe.labels))
        network.predict(np.zeros((1, 48, 48, 1), np.float32), verbose=0)
    detector = open_detector("haar", DetectorSettings(scale_factor=1.3, min_neighbors=5))

    def process(frame: Frame) -> None:
        for box in detector(frame.luma, 30):
            face = frame.luma[box.y : box.y + box.h, box.x : box.x + box.w]
            network.predict(cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA)[None, ..., None], verbose=0)

    sys.stdout.write(msgspec.json.encode(measure(text, process, frames).loop).decode())


if __name__ == "__main__":
    main()
