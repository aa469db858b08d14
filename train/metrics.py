"""Figures of a classifier, from its probabilities and the true classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.types import Scores

Classes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """``accuracy``, ``macro_f1`` and ``ece`` are 0..1; ``confusion`` is (K, K) counts, true class by row."""

    images: int
    accuracy: float
    macro_f1: float
    ece: float
    recall: dict[str, float]
    confusion: npt.NDArray[np.int64]

    def numbers(self) -> dict[str, float]:
        """The figures that fit a table or a card, rounded to what the number of images supports."""
        named = {"images": self.images, "accuracy": self.accuracy, "macro_f1": self.macro_f1, "ece": self.ece}
        return {name: round(value, 4) for name, value in named.items()}


def measure(scores: Scores, truth: Classes, labels: tuple[str, ...]) -> Figures:
    """Probabilities (n, K) and true classes (n,) -> figures."""
    answers, count = scores.argmax(axis=1), len(labels)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    hits, of_truth, of_answers = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = 2 * hits / np.maximum(of_truth + of_answers, 1)
    recall = hits / np.maximum(of_truth, 1)
    return Figures(
        images=len(truth),
        accuracy=float(hits.sum() / max(len(truth), 1)),
        macro_f1=float(f1[of_truth > 0].mean()) if len(truth) else 0.0,
        ece=calibration_error(scores.max(axis=1), answers == truth),
        recall={label: round(float(value), 4) for label, value in zip(labels, recall, strict=True)},
        confusion=confusion,
    )


def calibration_error(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error, 0..1 (Guo et al. 2017): mean gap of confidence and accuracy over equal-width bins."""
    if not len(confidence):
        return 0.0
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = sum(abs(float(confidence[which == b].sum()) - int(right[which == b].sum())) for b in range(bins))
    return gap / len(confidence)
