"""The smoother: averages each track's probabilities over time, and gives a label that does not flicker."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from edgefer.types import UNCERTAIN, Scores


@dataclass(slots=True)
class _Average:
    scores: Scores
    time_s: float
    label: int | None


class Smoother:
    """Smooths each track on its own; time is an argument, so that a replay gives the same labels.

    ``window_s``: time constant of the exponential average; 0: no average.
    ``margin``: how much likelier, 0..1, another class must be before the label changes.
    ``uncertain_below``: the label is "uncertain" while the likeliest class is below this, 0..1.
    """

    def __init__(self, labels: tuple[str, ...], window_s: float, margin: float, uncertain_below: float) -> None:
        self._labels = labels
        self._window_s, self._margin, self._uncertain_below = window_s, margin, uncertain_below
        self._averages: dict[int, _Average] = {}

    def update(self, track: int, scores: Scores, time_s: float) -> tuple[str, Scores]:
        """New probabilities (K,) of a track -> its label and its smoothed probabilities (K,)."""
        average = self._averages.get(track)
        if average is None:
            average = self._averages[track] = _Average(scores.copy(), time_s, None)
        elif self._window_s <= 0:
            average.scores = scores.copy()
        else:
            # The weight depends on time, not on frames: 5 and 30 frames a second smooth alike.
            weight = 1 - math.exp(-max(0.0, time_s - average.time_s) / self._window_s)
            average.scores = average.scores + np.float32(weight) * (scores - average.scores)
        average.time_s = time_s
        average.label = self._label(average)
        label = UNCERTAIN if average.label is None else self._labels[average.label]
        return label, average.scores

    def keep(self, tracks: Collection[int]) -> None:
        """Drop the average of every track that is not in ``tracks``."""
        for track in self._averages.keys() - tracks:
            del self._averages[track]

    def _label(self, average: _Average) -> int | None:
        top = int(average.scores.argmax())
        likely = float(average.scores[top])
        if average.label is not None:
            # A label changes only by the margin: towards another class, and towards "uncertain".
            current = float(average.scores[average.label])
            if current >= self._uncertain_below - self._margin and likely - current <= self._margin:
                return average.label
        return top if likely >= self._uncertain_below else None
