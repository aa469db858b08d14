"""When an action is due: an expression with a minimum score, for a minimum time, at most once in a cool-down."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from edgefer.errors import SettingsError
from edgefer.settings import ActionSettings
from edgefer.types import NO_FACE, UNCERTAIN, Face, Observation

ANY = "any"


@dataclass(frozen=True, slots=True)
class Event:
    """A rule is due at ``time_s``, after its condition held for ``held_s`` seconds; ``face`` is None for ``no_face``."""

    time_s: float
    held_s: float
    face: Face | None


_GAP_S = 60.0
"""Longest time between two frames over which a condition counts as holding."""


class Rule:
    """Decides when an action is due, by the time of the frames, so that a replay gives the same events.

    An action is due once each time its condition begins to hold, and not twice within ``cooldown_s``: a face that smiles for an hour is
    one event. A condition that begins during the cool-down and holds at its end is due then.
    """

    def __init__(self, settings: ActionSettings) -> None:
        self._settings = settings
        self._since_s: dict[int, float] = {}
        self._done: set[int] = set()
        self._last_s: float | None = None
        self._now_s = 0.0

    def update(self, observation: Observation) -> Event | None:
        """Take in the next frame; returns the event, where the action is due."""
        before_s, now_s = self._now_s, observation.frame.time_s
        self._now_s = now_s
        holding = self._holding(observation.faces)
        if observation.frame.name is not None or not 0 <= now_s - before_s < _GAP_S:
            # Pictures are unrelated: face 1 of the next one is another person. A clock that was set gives no duration.
            self._since_s, self._done = {}, set()
        self._since_s = {track: self._since_s.get(track, now_s) for track in holding}
        self._done &= holding.keys()
        if self._last_s is not None and 0 <= now_s - self._last_s < self._settings.cooldown_s:
            return None
        for track, face in holding.items():
            held_s = now_s - self._since_s[track]
            if track not in self._done and held_s >= self._settings.for_s:
                # Three faces that smile at the same time are one event.
                self._done |= {other for other, since_s in self._since_s.items() if now_s - since_s >= self._settings.for_s}
                self._last_s = now_s
                return Event(now_s, held_s, face)
        return None

    def _holding(self, faces: Sequence[Face]) -> dict[int, Face | None]:
        """The faces for which the condition holds, by track; track -1 stands for no face."""
        if self._settings.expression == NO_FACE:
            return {} if faces else {-1: None}
        return {
            face.track: face
            for face in faces
            if self._settings.expression in (ANY, face.expression) and face.score >= self._settings.min_score
        }


def check_expression(where: str, expression: str, labels: Sequence[str]) -> None:
    """Raises `SettingsError` for an expression that the model does not have."""
    known = [*labels, UNCERTAIN, NO_FACE, ANY]
    if expression not in known:
        near = difflib.get_close_matches(expression, known, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}"
        raise SettingsError(f"{where}: the model has no expression {expression!r}; {advice}")
