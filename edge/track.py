"""Track ids: which box of this frame is which face of the last ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.types import Box, Track


@dataclass(slots=True)
class _State:
    track: Track
    velocity_px_s: tuple[float, float]
    hits: int


class Tracker:
    """Joins boxes to tracks by overlap with where each face should be by now, best overlap first.

    ``min_iou``: overlap, 0..1, below which a box is another face. ``lost_s``: how long a face not found is kept, at
    its last place. ``min_hits``: how many times a face must be found before it is shown, against false alarms that
    last one frame. ``steady``: 0..1, how much of the last box stays in the new one, against the detector's jitter.
    """

    def __init__(self, min_iou: float, lost_s: float, min_hits: int, steady: float) -> None:
        self._min_iou, self._lost_s, self._min_hits, self._steady = min_iou, lost_s, min_hits, steady
        self._states: list[_State] = []
        self._next_id = 1
        self._searched_s = 0.0

    def update(self, boxes: list[Box], time_s: float) -> list[Track]:
        """The faces present at ``time_s``, given what the detector found in that frame."""
        self._searched_s = time_s
        expected = [_moved(state, time_s) for state in self._states]
        pairs = sorted(((box.iou(place), i, j) for i, place in enumerate(expected) for j, box in enumerate(boxes)), reverse=True)
        free_tracks, free_boxes = set(range(len(expected))), set(range(len(boxes)))
        for overlap, i, j in pairs:
            if overlap >= self._min_iou and i in free_tracks and j in free_boxes:
                self._join(self._states[i], boxes[j], time_s)
                free_tracks.remove(i)
                free_boxes.remove(j)
        # A face that was never shown gets no patience: it was most likely not a face.
        self._states = [
            state
            for i, state in enumerate(self._states)
            if i not in free_tracks or (state.hits >= self._min_hits and 0 <= time_s - state.track.seen_s <= self._lost_s)
        ]
        for j in sorted(free_boxes):
            self._states.append(_State(Track(self._next_id, boxes[j], time_s, time_s), (0.0, 0.0), 1))
            self._next_id += 1
        return self.current()

    def current(self) -> list[Track]:
        """The faces shown now, oldest first."""
        return [state.track for state in self._states if state.hits >= self._min_hits]

    def settled(self) -> bool:
        """Whether every face was found in the last search and shown: nothing is in doubt."""
        return all(state.hits >= self._min_hits and state.track.seen_s == self._searched_s for state in self._states)

    def hold(self, time_s: float) -> list[Track]:
        """The faces at a time when nothing moved: every one is where it was, and counts as seen."""
        for state in self._states:
            state.track = replace(state.track, seen_s=time_s)
            state.velocity_px_s = (0.0, 0.0)
        self._searched_s = time_s
        return self.current()

    def _join(self, state: _State, box: Box, time_s: float) -> None:
        """An alpha-beta filter: the box moves most of the way from where it should be to where it was found."""
        old, elapsed_s = state.track, time_s - state.track.seen_s
        place = _moved(state, time_s)
        if elapsed_s > 0:
            gain = (1 - self._steady) / (2 * elapsed_s)
            (x0, y0), (x1, y1), (vx, vy) = place.centre, box.centre, state.velocity_px_s
            state.velocity_px_s = (vx + gain * (x1 - x0), vy + gain * (y1 - y0))
        state.track = replace(old, box=_blend(place, box, self._steady), seen_s=time_s)
        state.hits += 1


def _moved(state: _State, time_s: float) -> Box:
    """Where a face should be by now, had it kept its speed; at most half its own size away."""
    box, elapsed_s = state.track.box, time_s - state.track.seen_s
    reach = max(box.w, box.h) / 2
    dx, dy = (max(-reach, min(reach, speed * elapsed_s)) for speed in state.velocity_px_s)
    return Box(round(box.x + dx), round(box.y + dy), box.w, box.h)


def _blend(old: Box, new: Box, keep: float) -> Box:
    pairs = ((old.x, new.x), (old.y, new.y), (old.w, new.w), (old.h, new.h))
    return Box(*(round(keep * a + (1 - keep) * b) for a, b in pairs))
