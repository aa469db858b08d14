"""How the cost of a frame grows: with its size, with the faces in it, and with the model; a chart and the figures.

    python tests/benchmarks/growth.py CHART.png      needs matplotlib

CPU time of `Pipeline.process` alone, drawn faces, medians over whole seconds of frames; one run, one machine: ratios, not absolutes.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import cv2
import matplotlib
import msgspec
import numpy as np

from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after its backend is chosen

SIZES = ("426x240", "640x360", "854x480", "1280x720", "1920x1080")
FACES = (0, 1, 2, 3, 5, 10, 20, 30)
FACES_SIZE = "1280x720"
WARM_UP, SECONDS, FPS = 30, 4, 30
"""Frames not counted, because everything in them is new; then whole seconds, because faces are looked at some times a second."""


def cost_ms(size: str, faces: int, model: str = Settings().model) -> float:
    """CPU milliseconds a frame: the median of the seconds' means."""
    pipeline = open_pipeline(msgspec.structs.replace(Settings(), model=model))
    spent: list[float] = []
    source = open_source(f"synthetic:?paced=false&size={size}&faces={faces}&fps={FPS}")
    for frame in itertools.islice(source, WARM_UP + SECONDS * FPS):
        begun = time.process_time()
        pipeline.process(frame)
        spent.append(time.process_time() - begun)
    source.close()
    return 1000 * float(np.median(np.reshape(spent[WARM_UP:], (SECONDS, FPS)).mean(axis=1)))


def models() -> dict[str, Path]:
    """The published files a device can run: name -> path."""
    root = Path(__file__).parents[2] / "models"
    return {path.stem: path for path in sorted(root.glob("*/*.tflite"))}


def main() -> None:
    """Measure, print, draw."""
    chart = Path(sys.argv[1] if len(sys.argv) > 1 else "growth.png")
    cv2.setNumThreads(1)
    by_size = {size: cost_ms(size, 1) for size in SIZES}
    by_faces = {faces: cost_ms(FACES_SIZE, faces) for faces in FACES}
    by_model = {name: cost_ms("640x480", 1, str(path)) for name, path in models().items()}
    for title, found in (("size, one face", by_size), (f"faces at {FACES_SIZE}", by_faces), ("model, one face at 640x480", by_model)):
        print(f"{title}: " + ", ".join(f"{key} {value:.2f}" for key, value in found.items()) + " ms of CPU a frame", flush=True)

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained", width_ratios=(1, 1, 1.1))
    pixels = [np.prod([int(side) for side in size.split("x")]) / 1e6 for size in by_size]
    left.plot(pixels, list(by_size.values()), "o-")
    left.set_xscale("log", base=2)
    left.set_xticks(pixels, [f"{size.split('x')[1]}p" for size in by_size])
    left.set(title="by size (pixels, doubling), one face", ylabel="CPU ms a frame")
    middle.plot(list(by_faces), list(by_faces.values()), "o-", color="tab:orange")
    middle.set(title=f"by faces, {FACES_SIZE}", xlabel="faces")
    bars = right.barh(list(by_model), list(by_model.values()), color="tab:green")
    right.bar_label(bars, fmt="%.2f", padding=3)
    right.set(title="by model, one face at 640x480", xlabel="CPU ms a frame", xlim=(0, 1.2 * max(by_model.values())))
    for axes in (left, middle):
        axes.set_ylim(0)
        axes.grid(alpha=0.3)
    figure.savefig(chart, dpi=100)
    print(chart)


if __name__ == "__main__":
    main()
