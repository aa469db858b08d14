"""A last layer fitted to the features of a frozen network, and an honest estimate of what it is worth on few pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefer.types import Scores
from train.metrics import Classes
from train.near_copies import folds

Features = npt.NDArray[np.float32]

FOLDS, REPEATS = 5, 5
_DECAY = 3e-3
"""Weight of the squared kernel in the loss, on features of deviation 1."""
_STEPS = 150
_Z = 1.96
"""Normal quantile of an interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Head:
    """A softmax layer: ``kernel`` (d, K) and ``bias`` (K,), on features (n, d) as the network gives them."""

    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def __call__(self, features: Features) -> Scores:
        """Probabilities (n, K)."""
        return _softmax(features @ self.kernel + self.bias)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What repeated cross-validation by group found: mean accuracy, its interval of 95 %, and the mean probabilities (n, K)."""

    accuracy: float
    low: float
    high: float
    scores: Scores
    groups: int
    folds: int


def fit_head(features: Features, classes: Classes, count: int) -> Head:
    """Multinomial logistic regression in which every class weighs alike, by Nesterov's accelerated gradient descent.

    ``features`` (views, n, d): varied pictures of the same ``classes`` (n,), of which there are ``count``.
    """
    views, _, d = features.shape
    x, y = features.reshape(-1, d), np.tile(classes, views)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-3
    x = np.hstack([(x - mean) / deviation, np.ones((len(x), 1), np.float32)]).astype(np.float32)
    weight = 1 / np.maximum(np.bincount(y, minlength=count), 1)[y]
    weight = (weight / weight.sum()).astype(np.float32)[:, None]
    wanted = np.eye(count, dtype=np.float32)[y]
    decay = np.full((d + 1, 1), _DECAY, np.float32)
    decay[-1] = 0
    # The largest curvature of the loss, by power iteration: half the largest eigenvalue of the weighted covariance.
    vector = np.ones(d + 1, np.float32)
    for _ in range(12):
        vector = x.T @ (weight[:, 0] * (x @ vector))
        curvature = float(np.linalg.norm(vector))
        vector /= curvature
    rate = 1 / (0.5 * curvature + _DECAY)
    now = ahead = np.zeros((d + 1, count), np.float32)
    for step in range(_STEPS):
        gradient = x.T @ (weight * (_softmax(x @ ahead) - wanted)) + decay * ahead
        after = ahead - rate * gradient
        ahead = after + step / (step + 3) * (after - now)
        now = after
    kernel = now[:-1] / deviation[:, None]
    return Head(kernel.astype(np.float32), (now[-1] - mean @ kernel).astype(np.float32))


def cross_validate(features: Features, classes: Classes, groups: Classes, count: int, seed: int) -> Estimate | None:
    """Repeated cross-validation in which a group is never on both sides; None where a class has fewer than two groups.

    ``features`` (views, n, d): view 0 is the picture as it is, and the only one that is asked about.
    """
    fewest = min(len(np.unique(groups[classes == label])) for label in range(count))
    if fewest < 2:
        return None
    parts = min(FOLDS, fewest)
    total = np.zeros((len(classes), count), np.float32)
    right = 0.0
    for repeat in range(REPEATS):
        fold = folds(groups, classes, parts, seed + repeat)
        scores = np.empty_like(total)
        for part in range(parts):
            out = fold == part
            scores[out] = fit_head(features[:, ~out], classes[~out], count)(features[0, out])
        right += float(np.mean(scores.argmax(axis=1) == classes)) / REPEATS
        total += scores / REPEATS
    low, high = interval(right, groups)
    return Estimate(right, low, high, total, len(np.unique(groups)), parts)


def interval(share: float, groups: Classes) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share; pictures of a group count as one observation (Kish's effective sample size)."""
    sizes = np.unique(groups, return_counts=True)[1]
    n = float(sizes.sum() ** 2 / (sizes**2).sum())
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _softmax(logits: npt.NDArray[np.floating]) -> Scores:
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True), np.float32)
