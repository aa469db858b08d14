"""Track ids: which box of this frame is which face of the last ones."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from edgefer.types import Box, Track

REMEMBER_S = 3.0
"""How long the id of a face that went is kept for it to come back: a head turned away, someone passing in front."""


@dataclass(slots=True)
class _State:
    track: Track
    velocity_px_s: tuple[float, float]
    hits: int


class Tracker:
    """Joins boxes to tracks by overlap with where each face should be by now, best overlap first.

    ``min_iou``: overlap, 0..1, below which a box is another face. ``lost_s``: how long a face not found is shown, at
    the place where it should be. ``min_hits``: how many times a face must be found before it is shown, against false
    alarms that last one frame. ``steady``: 0..1, how much of the last box stays in the new one, against the detector's
    jitter. A face that comes back within `REMEMBER_S` near where it went has its id again.
    """

    def __init__(self, min_iou: float, lost_s: float, min_hits: int, steady: float) -> None:
        self._min_iou, self._lost_s, self._min_hits, self._steady = min_iou, lost_s, min_hits, steady
        self._states: list[_State] = []
        self._gone: list[Track] = []
        self._next_id = 1

    def expected(self, time_s: float) -> list[Track]:
        """Every face so far, those not shown yet included, where it should be by now."""
        return [replace(state.track, box=_moved(state, time_s)) for state in self._states]

    def update(
        self,
        boxes: Sequence[Box],
        time_s: float,
        still: AbstractSet[int] = frozenset(),
        passed: AbstractSet[int] = frozenset(),
        certain: AbstractSet[Box] = frozenset(),
    ) -> list[Track]:
        """The faces present at ``time_s``, oldest first, given what was found in that frame.

        ``still`` are the ids of faces that were not looked for because nothing moved around them, ``passed`` of those
        passed over in this frame. ``certain`` are the boxes of new faces so plain that they count as found twice.
        """
        expected = [_moved(state, time_s) for state in self._states]
        pairs = sorted(((box.iou(place), i, j) for i, place in enumerate(expected) for j, box in enumerate(boxes)), reverse=True)
        free_tracks, free_boxes = set(range(len(expected))), set(range(len(boxes)))
        for overlap, i, j in pairs:
            if overlap >= self._min_iou and i in free_tracks and j in free_boxes:
                self._join(self._states[i], boxes[j], time_s)
                free_tracks.remove(i)
                free_boxes.remove(j)
        self._states = [state for i, state in enumerate(self._states) if i not in free_tracks or self._keep(state, time_s, still, passed)]
        for j in sorted(free_boxes):
            self._begin(boxes[j], time_s, 2 if boxes[j] in certain else 1)
        return [replace(state.track, box=_moved(state, time_s)) for state in self._states if state.track.shown]

    def _keep(self, state: _State, time_s: float, still: AbstractSet[int], passed: AbstractSet[int]) -> bool:
        """Whether a face that was not found stays: while nothing moves for ever, else for ``lost_s``."""
        track = state.track
        if track.id in still:
            state.track, state.velocity_px_s = replace(track, seen_s=time_s, looked_s=time_s), (0.0, 0.0)
            return True
        if track.id in passed:
            return True
        # A face that was never shown gets no patience: it was most likely not a face.
        if track.shown and 0 <= time_s - track.seen_s <= self._lost_s:
            state.track = replace(track, looked_s=time_s)
            return True
        if track.shown:
            self._gone.append(track)
        return False

    def _begin(self, box: Box, time_s: float, hits: int) -> None:
        """A face nobody expected: one that went and came back, or a new one."""
        self._gone = [track for track in self._gone if 0 <= time_s - track.seen_s <= REMEMBER_S]
        known = max(self._gone, key=lambda track: _likeness(track.box, box), default=None)
        if known and _likeness(known.box, box) > 0:
            self._gone.remove(known)
            track = replace(known, box=box, seen_s=time_s, looked_s=time_s, shown=hits >= self._min_hits)
        else:
            track = Track(self._next_id, box, first_s=time_s, seen_s=time_s, looked_s=time_s, shown=hits >= self._min_hits)
            self._next_id += 1
        self._states.append(_State(track, (0.0, 0.0), hits))

    def _join(self, state: _State, box: Box, time_s: float) -> None:
        """An alpha-beta filter: the box moves most of the way from where it should be to where it was found."""
        old, elapsed_s = state.track, time_s - state.track.seen_s
        place = _moved(state, time_s)
        if elapsed_s > 0:
            gain = (1 - self._steady) / (2 * elapsed_s)
            (x0, y0), (x1, y1), (vx, vy) = place.centre, box.centre, state.velocity_px_s
            state.velocity_px_s = (vx + gain * (x1 - x0), vy + gain * (y1 - y0))
        state.hits += 1
        shown = state.hits >= self._min_hits
        state.track = replace(old, box=place.blend(box, self._steady), seen_s=time_s, looked_s=time_s, shown=shown)


def _moved(state: _State, time_s: float) -> Box:
    """Where a face should be by now, had it kept its speed; at most half its own size away."""
    box, elapsed_s = state.track.box, time_s - state.track.seen_s
    reach = max(box.w, box.h) / 2
    dx, dy = (max(-reach, min(reach, speed * elapsed_s)) for speed in state.velocity_px_s)
    return Box(round(box.x + dx), round(box.y + dy), box.w, box.h)


def _likeness(old: Box, new: Box) -> float:
    """0..1, how well a face may be one that went: 0 if more than its own width away or of another size."""
    (x0, y0), (x1, y1) = old.centre, new.centre
    apart = max(abs(x1 - x0), abs(y1 - y0)) / max(1, old.w)
    ratio = new.w / max(1, old.w)
    return max(0.0, 1 - apart) if 0.6 < ratio < 1.7 else 0.0
