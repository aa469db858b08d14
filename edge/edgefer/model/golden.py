"""Golden pictures, the same on every machine since integers draw them, and the answers of each published model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgefer.errors import ModelError
from edgefer.files import write_atomic
from edgefer.model.classifier import Classifier
from edgefer.model.store import models_dir
from edgefer.types import Pixels

GOLDEN = "golden.json"
"""Beside ``SHA256SUMS``: sha256 of a model file -> its answers, (n, K) thousandths."""
CLOSE = 0.1
"""Largest allowed difference of a probability. Kernels may round a logit of an inexact model differently (`convert.exact`): 14/256."""


def golden_pictures(height_px: int, width_px: int) -> Pixels:
    """(6, height, width) uint8: a head with eyes, brows and a mouth, from sad to happy and from closed to open."""
    # Coordinates in 48ths of the picture, so that every size shows the same face.
    y, x = np.mgrid[0:height_px, 0:width_px]
    y, x = 48 * y // height_px - 24, 48 * x // width_px - 24
    pictures = []
    for curve, opened in ((-5, 0), (-3, 2), (0, 0), (0, 5), (3, 0), (6, 3)):
        picture = np.where(25 * x * x + 16 * y * y < 9000, 170 - x - y, 70)
        picture[(np.abs(np.abs(x) - 9) < 4) & (np.abs(y + 6) < 2 + opened // 3)] = 40
        picture[(np.abs(np.abs(x) - 9) < 5) & (np.abs(y + 11 + opened // 2 + curve * (np.abs(x) - 9) // 12) < 1)] = 60
        lips = 11 + curve * (36 - x * x) // 72
        picture[(np.abs(x) < 9) & (np.abs(y - lips) < 1 + opened)] = 50
        pictures.append(picture)
    return np.stack(pictures).astype(np.uint8)


def golden_answers(classifier: Classifier) -> list[list[float]]:
    """A model's answers to the golden pictures, (n, K), rounded to thousandths."""
    card = classifier.card
    scores = classifier(golden_pictures(card.input.height_px, card.input.width_px))
    return [[round(float(score), 3) for score in row] for row in scores]


def deviation(classifier: Classifier) -> float | None:
    """Largest difference, 0..1, between a model's answers and its published answers; None where those are unknown."""
    try:
        answers = json.loads((models_dir() / GOLDEN).read_text(encoding="utf-8"))
    except (OSError, ModelError, ValueError):
        return None
    published = answers.get(classifier.sha256)
    return None if published is None else float(np.abs(np.subtract(golden_answers(classifier), published)).max())


def write_golden(models: Path) -> None:
    """Write the answers of every ``.tflite`` file below ``models`` to `GOLDEN`."""
    classifiers = [Classifier(path) for path in sorted(models.glob("[!.]*/*.tflite"))]
    lines = [f' "{classifier.sha256}": {json.dumps(golden_answers(classifier))}' for classifier in classifiers]
    write_atomic(models / GOLDEN, "{\n" + ",\n".join(lines) + "\n}\n")
