"""Whether a model can be trusted to answer: it is shown drawn faces whose expression is known.

``python -m edgefer.update.selftest FILE`` does it to a file. The updater runs that in a process of its own: a file made to crash the
runtime then takes nothing with it.
"""

from __future__ import annotations

import resource
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

MEMORY_BYTES = 2**31
PEOPLE = 4
MIN_RIGHT = 0.25
"""Share of the drawn faces that must be named as they were drawn: one of seven by chance, 0.61 for the default model. It finds out broken
models, not bad ones."""


def golden_faces(card: Card) -> tuple[Pixels, list[str]]:
    """Drawn faces (n, H, W) uint8 as the model wants them, each expression of each person, and what they were drawn to show."""
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
    """Raises `ModelError` where rows (n, K) are no probabilities."""
    if not np.isfinite(scores).all() or (abs(scores.sum(axis=1) - 1) > 0.1).any():
        raise ModelError(f"its probabilities sum to {scores.sum(axis=1).min():.3g}")


def self_test(classifier: Classifier, max_ms: float) -> str:
    """What was found, in words; raises `ModelError` for answers that are no probabilities, always the same, mostly wrong, or too late."""
    crops, drawn = golden_faces(classifier.card)
    classifier(crops[:1])
    rows, times_ms = [], []
    for crop in crops:
        begun_s = time.perf_counter()
        rows.append(classifier(crop[None])[0])
        times_ms.append(1000 * (time.perf_counter() - begun_s))
    scores = np.stack(rows)
    check_scores(scores)
    if np.ptp(scores, axis=0).max() < 0.01:
        raise ModelError("it gives the same answer whatever it is shown")
    answers = [classifier.labels[top] for top in scores.argmax(axis=1)]
    known = [(answer, truth) for answer, truth in zip(answers, drawn, strict=True) if truth in classifier.labels]
    right = sum(answer == truth for answer, truth in known)
    if right < MIN_RIGHT * len(known):
        raise ModelError(f"it names {right} of {len(known)} drawn faces as they were drawn, at least {MIN_RIGHT:.0%} is expected")
    took_ms = float(np.median(times_ms))
    if took_ms > max_ms:
        raise ModelError(f"an answer takes {took_ms:.1f} ms here, at most {max_ms:g} ms is allowed (update.max_ms)")
    return f"{right} of {len(known)} drawn faces named as drawn, {took_ms:.1f} ms an answer"


def main(arguments: list[str]) -> int:
    """``FILE [MAX_MS]``: one line, and 0 or 1."""
    # A model that asks for all memory there is shall not get it.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        print(self_test(Classifier(Path(arguments[0])), float(arguments[1]) if len(arguments) > 1 else float("inf")))
    except EdgeferError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
