"""Metrics of a classifier, from its probabilities and the true classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefer.types import Scores

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
        """The single numbers, rounded to the precision that the number of images supports."""
        named = {"images": self.images, "accuracy": self.accuracy, "macro_f1": self.macro_f1, "ece": self.ece}
        return {name: round(value, 4) for name, value in named.items()}


def measure(scores: Scores, truth: Classes, labels: tuple[str, ...]) -> Figures:
    """Metrics of probabilities (n, K) against true classes (n,)."""
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
        ece=calibration_error(scores, truth),
        recall={label: round(float(value), 4) for label, value in zip(labels, recall, strict=True)},
        confusion=confusion,
    )


def temperature(scores: Scores, truth: Classes) -> float:
    """The divisor of the logits with the highest likelihood of ``truth`` (n,), given probabilities (n, K) (Guo et al. 2017).

    Over 1, the model was overconfident. Answers do not change.
    """
    logits = np.log(np.maximum(scores, 1e-7))
    tried = np.geomspace(0.2, 5, 400)
    return float(min(tried, key=lambda t: _loss(logits / t, truth)))


def _loss(logits: npt.NDArray[np.float32], truth: Classes) -> float:
    """Mean negative log-likelihood."""
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float(np.mean(total - logits[np.arange(len(truth)), truth]))


def coverage_curve(scores: Scores, truth: Classes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For thresholds 0, 0.01, ... 0.99: share of pictures answered, and accuracy of those answers (1 where there is none)."""
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    thresholds = np.arange(100) / 100
    answered = confidence[None] >= thresholds[:, None]
    counts = answered.sum(axis=1)
    return thresholds, counts / max(1, len(truth)), np.where(counts > 0, (answered & right).sum(axis=1) / np.maximum(counts, 1), 1.0)


def uncertain_threshold(scores: Scores, truth: Classes, accuracy: float) -> float:
    """The lowest probability, in hundredths, from which answers are right at least ``accuracy`` (0..1) of the time."""
    thresholds, _, right = coverage_curve(scores, truth)
    enough = np.flatnonzero(right >= accuracy)
    return float(thresholds[enough[0] if len(enough) else -1])


def reliability(scores: Scores, truth: Classes, bins: int = 15) -> tuple[npt.NDArray[np.float64], ...]:
    """By equal-width bin of confidence: mean confidence, accuracy (both NaN where empty) and count."""
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins).astype(float)
    of = np.where(count > 0, count, np.nan)
    return np.bincount(which, confidence, bins) / of, np.bincount(which, right, bins) / of, count


def calibration_error(scores: Scores, truth: Classes, bins: int = 15) -> float:
    """Expected calibration error, 0..1 (Guo et al. 2017): mean gap of confidence and accuracy over equal-width bins."""
    confidence, accuracy, count = reliability(scores, truth, bins)
    return float(np.nansum(np.abs(confidence - accuracy) * count) / max(1, len(truth)))
