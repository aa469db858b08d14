"""Tracks: which detection of this frame is which face of the frames before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgefer.pipeline.known_faces import BEHIND_IOU
from edgefer.types import Box, Detection, Track, TrackState

REMEMBER_S = 3.0
"""Seconds for which the id of a face that left is kept for its return: a head turned away, a person who passes in front."""
_WALK_S = 4.0
"""Speed, in widths of the face a second, at which a hidden person may walk on."""


class Tracker:
    """Assigns detections to tracks by overlap with the predicted boxes, best overlap first.

    ``min_iou``: overlap, 0..1, below which a detection is another face. ``lost_s``: seconds a lost face stays, at its predicted
    position. ``min_hits``: detections that confirm a track, against false detections in single frames. ``steady``: 0..1, how much
    of the predicted box stays in the new one, against the detector's jitter. A face that returns within `REMEMBER_S` near where it
    left gets its id back.
    """

    def __init__(self, min_iou: float, lost_s: float, min_hits: int, steady: float) -> None:
        self._min_iou, self._lost_s, self._min_hits, self._steady = min_iou, lost_s, min_hits, steady
        self._tracks: list[Track] = []
        self._gone: list[Track] = []
        self._next_id = 1

    def cut(self) -> None:
        """The camera shows another scene: every face in it is a new one, and gets a new id."""
        self._tracks, self._gone = [], []

    def predict(self, time_s: float) -> list[Track]:
        """Every track, candidates included, where it should be at ``time_s``."""
        return [_at(track, time_s) for track in self._tracks]

    def update(self, detections: Sequence[Detection], time_s: float, searched: Sequence[Track] = ()) -> list[Track]:
        """The confirmed tracks at ``time_s``, oldest first, given the detections of that frame.

        ``searched`` are the predicted tracks with the state that the search for known faces gave them: a static or skipped one
        without a detection is not lost.
        """
        states = {track.id: track.state for track in searched}
        assigned = self._assign(detections, time_s)
        kept: list[Track] = []
        for track in self._tracks:
            state = states.get(track.id, TrackState.LOST)
            index = assigned.get(track.id)
            updated = self._lose(track, time_s, state) if index is None else self._correct(track, detections[index], time_s, state)
            kept += [updated] if updated else []
        self._tracks = kept
        for index in sorted(set(range(len(detections))) - set(assigned.values())):
            self._begin(detections[index], time_s)
        return [_at(track, time_s) for track in self._tracks if track.confirmed]

    def _assign(self, detections: Sequence[Detection], time_s: float) -> dict[int, int]:
        """Track id -> index of its detection."""
        predicted = [_predicted(track, time_s) for track in self._tracks]
        pairs = ((detection.box.iou(box), i, j) for i, box in enumerate(predicted) for j, detection in enumerate(detections))
        assigned: dict[int, int] = {}
        taken: set[int] = set()
        for overlap, i, j in sorted(pairs, reverse=True):
            if overlap >= self._min_iou and self._tracks[i].id not in assigned and j not in taken:
                assigned[self._tracks[i].id] = j
                taken.add(j)
        return assigned

    def _correct(self, track: Track, found: Detection, time_s: float, state: TrackState) -> Track:
        """An alpha-beta filter: the box moves most of the way from the predicted box to the detection."""
        predicted, elapsed_s = _predicted(track, time_s), time_s - track.seen_s
        velocity = track.velocity_px_s
        if elapsed_s > 0:
            gain = (1 - self._steady) / (2 * elapsed_s)
            (x0, y0), (x1, y1), (vx, vy) = predicted.centre, found.box.centre, velocity
            velocity = (vx + gain * (x1 - x0), vy + gain * (y1 - y0))
        return replace(
            track,
            box=predicted.blend(found.box, self._steady),
            roll_deg=found.roll_deg,
            velocity_px_s=velocity,
            seen_s=time_s,
            searched_s=time_s,
            hidden=False,
            hits=track.hits + 1,
            confirmed=track.hits + 1 >= self._min_hits,
            state=TrackState.STATIC if state is TrackState.STATIC else TrackState.FOUND,
        )

    def _lose(self, track: Track, time_s: float, state: TrackState) -> Track | None:
        """A track without a detection; None when it ends."""
        if state is TrackState.STATIC:
            return replace(track, seen_s=time_s, searched_s=time_s, velocity_px_s=(0.0, 0.0), state=state)
        if state is TrackState.SKIPPED:
            return track if track.state is state else replace(track, state=state)
        # A candidate ends at once: it was most likely not a face.
        if track.confirmed and 0 <= time_s - track.seen_s <= self._lost_s:
            box = _predicted(track, time_s)
            others = [_predicted(other, time_s) for other in self._tracks if other.confirmed and other.id != track.id and not other.missed]
            hidden = track.hidden or any(box.iou(other) >= BEHIND_IOU for other in others)
            return replace(track, searched_s=time_s, state=TrackState.LOST, hidden=hidden)
        self._gone += [track] if track.confirmed else []
        return None

    def _begin(self, detection: Detection, time_s: float) -> None:
        """Add the track of a detection that no track predicted: a face that returned or comes out from behind another, or a new one."""
        box, hits = detection.box, 2 if detection.confirmed else 1
        self._gone = [track for track in self._gone if 0 <= time_s - track.seen_s <= REMEMBER_S]
        away = self._gone + [track for track in self._tracks if track.missed]
        returned = max(away, key=lambda track: _similarity(track, box, time_s), default=None)
        if returned and _similarity(returned, box, time_s) > 0:
            self._gone, self._tracks = ([track for track in tracks if track is not returned] for tracks in (self._gone, self._tracks))
            id, first_s = returned.id, returned.first_s
        else:
            id, first_s = self._next_id, time_s
            self._next_id += 1
        confirmed = hits >= self._min_hits
        new = Track(id, box, first_s, seen_s=time_s, searched_s=time_s, hits=hits, confirmed=confirmed, roll_deg=detection.roll_deg)
        self._tracks.append(new)


def _at(track: Track, time_s: float) -> Track:
    """A track with its box predicted for ``time_s``."""
    box = _predicted(track, time_s)
    return track if box == track.box else replace(track, box=box)


def _predicted(track: Track, time_s: float) -> Box:
    """The box of a track at ``time_s`` at constant velocity; at most half its own size away."""
    box, elapsed_s = track.box, time_s - track.seen_s
    if not elapsed_s:
        return box
    reach = max(box.w, box.h) / 2
    dx, dy = (max(-reach, min(reach, speed * elapsed_s)) for speed in track.velocity_px_s)
    return Box(round(box.x + dx), round(box.y + dy), box.w, box.h)


def _similarity(left: Track, new: Box, time_s: float) -> float:
    """0..1, how likely a new box is a face that left; 0 if it is of another size or too far away.

    Too far is more than the face's width. A face that was hidden may have walked on behind the other.
    """
    old = left.box
    (x0, y0), (x1, y1) = old.centre, new.centre
    distance = max(abs(x1 - x0), abs(y1 - y0)) / max(1, old.w)
    reach = 1 + _WALK_S * min(1.0, time_s - left.seen_s) * left.hidden
    ratio = new.w / max(1, old.w)
    return max(0.0, 1 - distance / reach) if 0.6 < ratio < 1.7 else 0.0
