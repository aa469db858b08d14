"""What was seen, added up: seconds of each expression a minute, how long each face stayed, when its expression changed."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from edgefer.types import Observation

MINUTE_S = 60
GAP_S = 2.0
"""Time between two frames that still counts as watched; a longer hole (a camera away, a clock set) counts as nothing."""
FORGET_S = 10.0
"""A face not seen for so long is no longer followed here; should it come back under its id, its visit goes on."""
EPOCH_S = 1e9
"""Frame times below this count from the beginning of a clip, not from 1970."""


@dataclass(slots=True)
class Minute:
    """What one minute adds up to; ``expressions_s`` are seconds of face: two faces for a second are two."""

    frames: int = 0
    watched_s: float = 0.0
    expressions_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True, slots=True)
class Change:
    """A face shows an expression from this time on, seconds since 1970."""

    track: int
    time_s: float
    expression: str
    score: float


@dataclass(slots=True)
class Visit:
    """A face from when it was first seen until it was last seen, seconds since 1970."""

    first_s: float
    last_s: float
    expression: str = ""


@dataclass(slots=True)
class Batch:
    """What was added up since the batch before: minutes by the second they begin, visits by track."""

    minutes: dict[int, Minute] = field(default_factory=lambda: defaultdict(Minute))
    visits: dict[int, Visit] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


class Tally:
    """Adds observations up; `take` hands over what came together and begins anew.

    A clip's own time is laid behind the moment its first frame came. Photographs are skipped: they have no time.
    """

    def __init__(self, now_s: float | None = None) -> None:
        self._start_s = time.time() if now_s is None else now_s
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._batch = Batch()
        self._visits: dict[int, Visit] = {}
        self.expressions_s: dict[str, float] = defaultdict(float)
        """Seconds of each expression since the beginning."""

    def add(self, observation: Observation) -> None:
        """Count one observation."""
        frame = observation.frame
        if frame.name is not None:
            return
        if self._offset_s is None:
            self._offset_s = self._start_s - frame.time_s if frame.time_s < EPOCH_S else 0.0
        now_s = frame.time_s + self._offset_s
        step_s = now_s - self._last_s if self._last_s is not None and 0 <= now_s - self._last_s <= GAP_S else 0.0
        self._last_s = now_s
        minute = self._batch.minutes[int(now_s // MINUTE_S) * MINUTE_S]
        minute.frames += 1
        minute.watched_s += step_s
        for face in observation.faces:
            minute.expressions_s[face.expression] += step_s
            self.expressions_s[face.expression] += step_s
            visit = self._visits.setdefault(face.track, Visit(now_s, now_s))
            visit.last_s = max(visit.last_s, now_s)
            self._batch.visits[face.track] = visit
            if face.expression != visit.expression:
                visit.expression = face.expression
                self._batch.changes.append(Change(face.track, now_s, face.expression, face.score))
        # Faces are few: looking at each of them costs less than remembering when to.
        for track in [track for track, visit in self._visits.items() if now_s - visit.last_s > FORGET_S]:
            del self._visits[track]

    def take(self) -> Batch:
        """What came together since the last call."""
        batch, self._batch = self._batch, Batch()
        return batch
