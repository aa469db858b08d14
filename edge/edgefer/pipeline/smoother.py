"""Per-track probabilities over time: an average that forgets, a label that does not flicker, and "uncertain"."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgefer.types import UNCERTAIN, Scores


@dataclass(slots=True)
class _Memory:
    scores: Scores
    time_s: float
    label: int | None


class Smoother:
    """Smooths each track on its own; time is an argument, so a replay gives the same labels.

    ``window_s``: time constant of the exponential average; 0 passes every answer through.
    ``margin``: how much likelier, 0..1, another class must be before the label changes.
    ``uncertain_below``: the label is "uncertain" while the likeliest class is below this, 0..1.
    """

    def __init__(self, labels: tuple[str, ...], window_s: float, margin: float, uncertain_below: float) -> None:
        self._labels = labels
        self._window_s, self._margin, self._uncertain_below = window_s, margin, uncertain_below
        self._tracks: dict[int, _Memory] = {}

    def update(self, track: int, scores: Scores, time_s: float) -> tuple[str, Scores]:
        """New probabilities (K,) of a track -> its label and its smoothed probabilities (K,)."""
        memory = self._tracks.get(track)
        if memory is None:
            memory = self._tracks[track] = _Memory(scores.copy(), time_s, None)
        elif self._window_s <= 0:
            memory.scores = scores.copy()
        else:
            # Weight by the time that passed, not by frames: 5 and 30 frames a second smooth alike.
            new = 1 - math.exp(-max(0.0, time_s - memory.time_s) / self._window_s)
            memory.scores = memory.scores + np.float32(new) * (scores - memory.scores)
        memory.time_s = time_s
        memory.label = self._choose(memory)
        label = UNCERTAIN if memory.label is None else self._labels[memory.label]
        return label, memory.scores

    def forget(self, keep: set[int]) -> None:
        """Drop the memory of every track not in ``keep``."""
        for track in self._tracks.keys() - keep:
            del self._tracks[track]

    def _choose(self, memory: _Memory) -> int | None:
        top = int(memory.scores.argmax())
        likely = float(memory.scores[top])
        if memory.label is not None:
            # Leaving a label takes the margin in both ways: towards another class, and towards "uncertain".
            held = float(memory.scores[memory.label])
            if held >= self._uncertain_below - self._margin and likely - held <= self._margin:
                return memory.label
        return top if likely >= self._uncertain_below else None
