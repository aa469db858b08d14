"""The self-test of a model: it classifies drawn faces whose expression is known.

``python -m edgefer.update.selftest FILE [MAX_MS]`` tests a file. The updater runs this in another process, since a malformed file may
crash the runtime.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from edgefer.errors import EdgeferError, ModelError
from edgefer.luma import luma_of
from edgefer.model.card import Card
from edgefer.model.classifier import Classifier
from edgefer.pipeline.crop import crop_face
from edgefer.sources.drawn import PRESETS
from edgefer.sources.synthetic import BLEND_S, HOLD_S, Scene, SyntheticOptions
from edgefer.types import Pixels, Scores

TIMEOUT_S = 120.0
MEMORY_BYTES = 2**31
PEOPLE = 4
MIN_CORRECT = 0.25
"""Share of drawn faces that a model must classify correctly: chance gives 1/7, the default model 0.61. This finds broken models, not weak
ones."""


def drawn_faces(card: Card) -> tuple[Pixels, list[str]]:
    """Drawn crops (n, H, W) uint8 in the model's input size, one of each person and expression, and their expressions."""
    crops, expressions = [], []
    for seed in range(PEOPLE):
        scene = Scene(SyntheticOptions(size="160x120", seed=seed, fps=30))
        for slot in range(len(PRESETS)):
            index = round((slot * (HOLD_S + BLEND_S) + 0.3 * HOLD_S) * 30)
            truth = scene.truth(index)[0]
            luma = luma_of(scene.draw(index))
            crops.append(crop_face(luma, truth.box, card.crop_margin, card.input.height_px, card.input.width_px))
            expressions.append(truth.expression)
    return np.stack(crops), expressions


def check_scores(scores: Scores) -> None:
    """Raises `ModelError` where rows (n, K) are not probabilities."""
    if not np.isfinite(scores).all() or (abs(scores.sum(axis=1) - 1) > 0.1).any():
        raise ModelError(f"its probabilities sum to {scores.sum(axis=1).min():.3g}")


def self_test(classifier: Classifier, max_ms: float) -> str:
    """The result in one line; raises `ModelError` for answers that are constant, mostly wrong, slow, or no probabilities."""
    crops, drawn = drawn_faces(classifier.card)
    scores, took_ms = _timed_scores(classifier, crops)
    check_scores(scores)
    if np.ptp(scores, axis=0).max() < 0.01:
        raise ModelError("it gives the same answer for every face")
    answers = [classifier.labels[top] for top in scores.argmax(axis=1)]
    known = [(answer, truth) for answer, truth in zip(answers, drawn, strict=True) if truth in classifier.labels]
    correct = sum(answer == truth for answer, truth in known)
    if correct < MIN_CORRECT * len(known):
        raise ModelError(f"it classifies {correct} of {len(known)} drawn faces correctly, at least {MIN_CORRECT:.0%} are required")
    if took_ms > max_ms:
        raise ModelError(f"an answer takes {took_ms:.1f} ms here, at most {max_ms:g} ms are allowed (update.max_ms)")
    return f"{correct} of {len(known)} drawn faces classified correctly, {took_ms:.1f} ms an answer"


def _timed_scores(classifier: Classifier, crops: Pixels) -> tuple[Scores, float]:
    """Scores (n, K), and the median time of an answer in milliseconds, after a warm-up."""
    classifier(crops[:1])
    rows, times_ms = [], []
    for crop in crops:
        begun_s = time.perf_counter()
        rows.append(classifier(crop[None])[0])
        times_ms.append(1000 * (time.perf_counter() - begun_s))
    return np.stack(rows), float(np.median(times_ms))


def self_test_process(path: Path, max_ms: float) -> str:
    """`self_test` of a file in another process; raises `ModelError` where it fails, crashes or takes longer than `TIMEOUT_S`."""
    command = [sys.executable, "-P", "-m", "edgefer.update.selftest", str(path), str(max_ms)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"the self-test took longer than {TIMEOUT_S:g} s") from None
    output = done.stdout.strip() or done.stderr.strip() or f"killed by signal {-done.returncode}"
    result = output.splitlines()[-1][:300]
    if done.returncode:
        raise ModelError(f"the self-test failed: {result}")
    return result


def main(arguments: list[str]) -> int:
    """Print the result in one line; 0 for a pass, 1 for a failure."""
    # A malformed model may ask for all memory.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        print(self_test(Classifier(Path(arguments[0])), float(arguments[1]) if len(arguments) > 1 else float("inf")))
    except EdgeferError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
