"""When a state is sent: a settled expression, a score that follows the face, diagnostics with a dead band."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgefer.types import NO_FACE, UNCERTAIN, Observation

CHANGE_S = 1.0
"""Shortest time between two changes of the expression or of the number of faces, and between any state and a change of the score."""
SETTLE_S, UNCERTAIN_S = 0.5, 2.0
"""A new expression or score is sent when the old one has been gone for so long; `uncertain` waits longer, since it says less."""
GONE_S = 1.5
"""A face that is lost for less than this stays in the state."""
SCORE_STEP, BUSY_SCORE_STEP = 0.05, 0.25
"""Change of the score, 0..1, that gives a new state: usually, and for a busy face, since Home Assistant records each one."""
BUSY, BUSY_S = 4, 30.0
"""A face is busy after so many changes within so many seconds."""
DIAGNOSTIC_S = 300.0
"""Shortest time between two changes of a diagnostic value."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a state tells about faces."""

    expression: str
    """Of the largest face, `uncertain`, or `no_face`."""
    score: float | None
    scores: Mapping[str, float]
    faces: int
    model: str
    """Digest of the model."""
    track: int | None
    """Number of the largest face."""

    @classmethod
    def of(cls, observation: Observation) -> Shown:
        """What an observation shows."""
        face = max(observation.faces, key=lambda face: face.box.area_px, default=None)
        count, model = len(observation.faces), observation.model.sha256 if observation.model else ""
        return cls(face.expression, face.score, face.scores, count, model, face.track) if face else cls(NO_FACE, None, {}, 0, model, None)


class StateThrottle:
    """Decides when a state is due: after a change, else after an interval."""

    def __init__(self) -> None:
        self._last: Shown | None = None
        """What the last state shows; None where the next one is due at once."""
        self._sent_s = self._changed_s = -math.inf
        self._changes: deque[float] = deque(maxlen=BUSY)
        """When the last changes were sent."""
        self._track: int | None = None
        """The face that last had the expression of the last state."""
        self._left_s: float | None = None
        """Since when that face has another one."""
        self._fewer_s: float | None = None
        """Since when there are fewer faces than in the last state."""
        self._apart_s: float | None = None
        """Since when the score differs from that of the last state."""

    def reset(self) -> None:
        """Make the next state due."""
        self._last = None

    def due(self, current: Shown, now_s: float, longest_s: float, now: bool = False) -> Shown | None:
        """What to send; None where no state is due. Call it for every frame; ``now``: in any case.

        A state sent after ``longest_s`` without a change repeats the last one.
        """
        last = self._last
        if last is None or now:
            return self._send(current, now_s)
        if self._lost(current, last, now_s):
            current = replace(last, model=current.model)
        elif not self._settled(current, last, now_s):
            current = replace(last, faces=current.faces, model=current.model)
        if (current.expression, current.faces, current.model) != (last.expression, last.faces, last.model):
            return self._send(current, now_s) if now_s - self._changed_s >= CHANGE_S else None
        age_s = now_s - self._sent_s
        if self._score_settled(current, last, now_s) and age_s >= CHANGE_S:
            return self._send(current, now_s)
        return self._send(last, now_s) if age_s >= longest_s else None

    def _lost(self, current: Shown, last: Shown, now_s: float) -> bool:
        """Whether a face is lost that may come back."""
        if current.faces >= last.faces:
            self._fewer_s = None
            return False
        if self._fewer_s is None:
            self._fewer_s = now_s
        return now_s - self._fewer_s < GONE_S

    def _settled(self, current: Shown, last: Shown, now_s: float) -> bool:
        """Whether a new expression is no flicker; the first one of another face is none."""
        if current.expression == last.expression:
            self._track, self._left_s = current.track, None
            return True
        if current.track is None or current.track != self._track:
            return True
        if self._left_s is None:
            self._left_s = now_s
        return now_s - self._left_s >= (UNCERTAIN_S if current.expression == UNCERTAIN else SETTLE_S)

    def _score_settled(self, current: Shown, last: Shown, now_s: float) -> bool:
        """Whether the score is another one for long enough."""
        busy = len(self._changes) == BUSY and now_s - self._changes[0] < BUSY_S
        if abs((current.score or 0.0) - (last.score or 0.0)) < (BUSY_SCORE_STEP if busy else SCORE_STEP):
            self._apart_s = None
            return False
        if self._apart_s is None:
            self._apart_s = now_s
        return now_s - self._apart_s >= SETTLE_S

    def _send(self, shown: Shown, now_s: float) -> Shown:
        last, self._last, self._sent_s, self._apart_s = self._last, shown, now_s, None
        if last is None or (shown.expression, shown.faces, shown.model) != (last.expression, last.faces, last.model):
            self._changed_s, self._left_s, self._track = now_s, None, shown.track
        if shown is not last:
            self._changes.append(now_s)
        return shown


class DeadBand:
    """A measured value that changes only by ``step`` or more, and at most every `DIAGNOSTIC_S`."""

    def __init__(self, step: float, share: float = 0.0) -> None:
        self._step, self._share = step, share
        self.value: float | None = None
        """The value to report."""
        self._since_s = -math.inf

    def update(self, measured: float, now_s: float) -> None:
        """Take a measurement; the step is at least ``share`` of the value."""
        far = self.value is None or abs(measured - self.value) >= max(self._step, self._share * abs(self.value))
        if far and now_s - self._since_s >= DIAGNOSTIC_S:
            self.value, self._since_s = measured, now_s
