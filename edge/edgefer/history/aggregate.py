"""Aggregates observations: seconds of each expression a minute, each face's visit, each change of expression."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from edgefer.types import Observation

MINUTE_S = 60
GAP_S = 2.0
"""Longest time between two frames that counts as watched; a longer gap (no camera, a clock that was set) counts as nothing."""
FORGET_S = 10.0
"""A face not seen for this long starts a new visit here; the history joins the visits of one track."""
EPOCH_S = 1e9
"""Frame times below this are seconds since a clip's beginning, not since 1970."""


@dataclass(slots=True)
class Minute:
    """The sums of one minute; ``expressions_s`` are seconds of face: two faces for a second are two seconds."""

    frames: int = 0
    watched_s: float = 0.0
    expressions_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True, slots=True)
class Change:
    """From this time on, in seconds since 1970, a face shows an expression."""

    track: int
    time_s: float
    expression: str
    score: float


@dataclass(slots=True)
class Visit:
    """When a face was first and last seen, in seconds since 1970, and its latest expression."""

    first_s: float
    last_s: float
    expression: str = ""


@dataclass(slots=True)
class Batch:
    """What was aggregated since the batch before: minutes by their first second, visits by track."""

    minutes: dict[int, Minute] = field(default_factory=lambda: defaultdict(Minute))
    visits: dict[int, Visit] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


class Aggregator:
    """Aggregates observations; `take` returns a batch and starts the next.

    A clip's own times are added to the time its first frame came. Photographs have no time and are skipped.
    """

    def __init__(self, now_s: float | None = None) -> None:
        self._start_s = time.time() if now_s is None else now_s
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._batch = Batch()
        self._visits: dict[int, Visit] = {}
        self.expressions_s: dict[str, float] = defaultdict(float)
        """Seconds of each expression since the beginning of the run."""

    @property
    def open_visits(self) -> int:
        """Number of faces seen within the last `FORGET_S` seconds."""
        return len(self._visits)

    def add(self, observation: Observation) -> None:
        """Count one observation."""
        if observation.frame.name is not None:
            return
        now_s = self._time_s(observation.frame.time_s)
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
        # There are few faces: going through all of them costs less than an index by time.
        for track in [track for track, visit in self._visits.items() if now_s - visit.last_s > FORGET_S]:
            del self._visits[track]

    def _time_s(self, frame_time_s: float) -> float:
        """The time of a frame, in seconds since 1970."""
        if self._offset_s is None:
            self._offset_s = self._start_s - frame_time_s if frame_time_s < EPOCH_S else 0.0
        return frame_time_s + self._offset_s

    def take(self) -> Batch:
        """The batch since the last call."""
        batch, self._batch = self._batch, Batch()
        return batch
