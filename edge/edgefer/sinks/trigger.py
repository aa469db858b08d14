"""When an action is due: an expression, sure enough, for long enough, not too often."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from edgefer.errors import SettingsError
from edgefer.settings import ActionSettings
from edgefer.types import NO_FACE, UNCERTAIN, Face, Observation

ANY = "any"


@dataclass(frozen=True, slots=True)
class Occasion:
    """A rule came true at ``time_s``, having held for ``held_s`` seconds; ``face`` is the one, None where there is none."""

    time_s: float
    held_s: float
    face: Face | None


_GAP_S = 60.0
"""Seconds between two frames after which nobody knows whether a rule held on in between."""


class Rule:
    """Says when its action is due; time is that of the frames, so that a replay gives the same.

    Once for each time it begins to hold, and never twice within ``cooldown_s``: a face that smiles for an hour is one
    occasion. One that begins during the cool-down and still holds at its end is due then.
    """

    def __init__(self, how: ActionSettings) -> None:
        self._how = how
        self._since_s: dict[int, float] = {}
        self._done: set[int] = set()
        self._last_s: float | None = None
        self._now_s = 0.0

    def update(self, observation: Observation) -> Occasion | None:
        """What follows from one more frame; at most one occasion."""
        before_s, now_s = self._now_s, observation.frame.time_s
        self._now_s = now_s
        holding = self._holding(observation.faces)
        if observation.frame.name is not None or not 0 <= now_s - before_s < _GAP_S:
            # Pictures have nothing to do with each other: face 1 of the next is somebody else. A clock that was set tells no time.
            self._since_s, self._done = {}, set()
        self._since_s = {track: self._since_s.get(track, now_s) for track in holding}
        self._done &= holding.keys()
        if self._last_s is not None and 0 <= now_s - self._last_s < self._how.cooldown_s:
            return None
        for track, face in holding.items():
            held_s = now_s - self._since_s[track]
            if track not in self._done and held_s >= self._how.for_s:
                # All who hold now are this one occasion: three faces that smile at once ring one bell.
                self._done |= {other for other, since_s in self._since_s.items() if now_s - since_s >= self._how.for_s}
                self._last_s = now_s
                return Occasion(now_s, held_s, face)
        return None

    def _holding(self, faces: Sequence[Face]) -> dict[int, Face | None]:
        """Those for which the rule holds, by track; -1 for nobody."""
        if self._how.expression == NO_FACE:
            return {} if faces else {-1: None}
        return {face.track: face for face in faces if self._how.expression in (ANY, face.expression) and face.score >= self._how.min_score}


def check_expression(where: str, expression: str, labels: Sequence[str]) -> None:
    """Raises `SettingsError` for an expression the model never gives: its action would never be due."""
    known = [*labels, UNCERTAIN, NO_FACE, ANY]
    if expression not in known:
        near = difflib.get_close_matches(expression, known, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
        raise SettingsError(f"{where}: the model knows no expression {expression!r}; {advice}")
