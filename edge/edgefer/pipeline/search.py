"""Where and when faces are looked for: around the known ones as they move, elsewhere where something else moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefer.detectors import Detector, Evidence
from edgefer.pipeline.alignment import SIDE_PX, Template
from edgefer.pipeline.motion import Cells, Gate
from edgefer.pipeline.roi import View
from edgefer.settings import DetectorSettings, GateSettings
from edgefer.types import Box, Pixels, Track

_ZONE, _HEAD = 0.35, 0.6
"""How far around its box a known face is looked for, and its hair and neck move, as shares of the box, on every side."""
_BODY = 1.5
"""How far to the left and to the right of a face's middle its body reaches, in widths of the face."""
_COARSE_PX, _FINE_PX = SIDE_PX, 64
"""Sides to which a known face is shrunk before it is looked for: the coarse one is four times cheaper, and misses some."""
_LOOK_S = 0.09
"""A known face is not looked for more often than after this many seconds: in between it is where its speed takes it."""
_TRUST_S = 0.4
"""For this many seconds after the follower saw a face, it is followed by its looks alone."""
_STEADY = 0.75
"""0..1, how much of the place that its looks say stays when the follower sees it: a detector's boxes jitter, looks do not."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen in a frame: boxes of faces, ids of known faces around which nothing moved, and of those passed over.

    ``certain`` are the boxes of new faces so plain that they count as found twice.
    """

    boxes: tuple[Box, ...]
    still: frozenset[int] = frozenset()
    passed: frozenset[int] = frozenset()
    certain: frozenset[Box] = frozenset()


class Search:
    """Decides for every frame what the detectors are shown; keeps the time of the last searches.

    ``finder`` finds new faces anywhere, ``follower`` known ones near where they were. Where they are two, the finder is
    asked again about new faces, but believed at once where the follower sees them plainly, and about known ones that the follower
    fails to see.
    """

    def __init__(self, finder: Detector, follower: Detector, how: DetectorSettings, gate: GateSettings) -> None:
        self._finder, self._follower, self._how, self._refresh_s = finder, follower, how, gate.refresh_s
        self._alone = finder is follower
        self._gate = Gate(gate.threshold)
        self._searched_s = self._refreshed_s = float("-inf")
        self._fine: set[int] = set()
        self._looks: dict[int, tuple[Template, float]] = {}

    def whole(self, luma: Pixels, max_side_px: int) -> Sighting:
        """Faces anywhere in a picture (H, W) uint8, searched at ``max_side_px`` at most; 0: at full size."""
        return Sighting(tuple(self._find(luma, _all_of(luma), max_side_px)))

    def moved(self, luma: Pixels) -> Cells:
        """The cells of a frame (H, W) uint8 that are not what they were when they were last searched."""
        return self._gate.look(luma)

    def follow(self, luma: Pixels, moved: Cells, time_s: float, known: list[Track]) -> Sighting:
        """Faces of a frame that follows others; ``known`` are the faces so far, where they should be by now."""
        boxes: list[Box] = []
        lost: list[Track] = []
        still: set[int] = set()
        passed: set[int] = set()
        put_off = np.zeros_like(moved)
        for track in known:
            zone = _around(track.box, luma.shape)
            cells = self._gate.cells(zone)
            if track.shown and track.seen_s == track.looked_s and not moved[cells].any():
                still.add(track.id)
            elif track.shown and 0 <= time_s - track.looked_s < _LOOK_S:
                passed.add(track.id)
                put_off[cells] = True
            else:
                found = self._near(luma, track, zone, time_s) if track.shown or self._alone else []
                boxes += found
                lost += [] if found or self._alone else [track]
                self._gate.settle(cells)
            moved[self._gate.cells(_around(track.box, luma.shape, _HEAD))] = False
        places = [*boxes, *(track.box for track in known)]
        boxes = _distinct([*boxes, *self._anywhere(luma, time_s, moved, put_off, known, lost)])
        new = {box: self._plain(luma, box) for box in boxes if not any(box.iou(place) for place in places)}
        boxes = _distinct([new.get(box) or box for box in boxes])
        ids = {track.id for track in known}
        self._fine &= ids
        self._looks = {id: look for id, look in self._looks.items() if id in ids}
        return Sighting(tuple(boxes), frozenset(still), frozenset(passed), frozenset(box for box in boxes if box in new.values()))

    def _plain(self, luma: Pixels, box: Box) -> Box | None:
        """A new face as the follower sees it, where it is plain to see: found with evidence to spare."""
        scale = _shrink(luma, self._how.max_side_px) if self._alone else min(1.0, _FINE_PX / max(box.w, box.h))
        found = _look(self._follower, View(luma, _around(box, luma.shape), scale), Evidence.PLENTY, _sizes_of(box))
        return max(found, key=box.iou, default=None)

    def _anywhere(self, luma: Pixels, time_s: float, moved: Cells, put_off: Cells, known: list[Track], lost: list[Track]) -> list[Box]:
        """Search what moved apart from the known faces, some times a second; and everything, once in a while.

        Also everything for the ``lost``, whom the follower does not see but the finder may: at once for those not shown yet.
        ``put_off`` are the cells of known faces that are looked for in a frame to come: what moved there must not be forgotten.
        """
        waited = not 0 <= time_s - self._searched_s < self._how.every_s
        area = _all_of(luma)
        if not 0 <= time_s - self._refreshed_s < self._refresh_s:
            self._refreshed_s = time_s
        elif not lost or (not waited and all(track.shown for track in lost)):
            if not (waited and moved.any() and (blocks := self._gate.blocks(moved)).any()):
                return []
            area = self._gate.area(blocks)
        self._searched_s = time_s
        searched = np.zeros_like(moved)
        searched[self._gate.cells(area)] = True
        self._gate.settle(searched & ~put_off)
        if any(self._only_body(luma, area, track.box) for track in known if track.shown):
            return []
        return self._find(luma, area, self._how.max_side_px)

    def _only_body(self, luma: Pixels, area: Box, face: Box) -> bool:
        """Whether a moved area is the body under a known face, and the follower sees nothing in it that might be another one."""
        if self._alone or area.y < face.y + face.h or abs(area.centre[0] - face.centre[0]) + area.w / 2 > _BODY * face.w:
            return False
        smallest, largest = 0.5 * face.w, 1.5 * face.w
        return not _look(self._follower, View(luma, area, min(1.0, _COARSE_PX / smallest)), Evidence.LITTLE, (smallest, largest))

    def _near(self, luma: Pixels, track: Track, zone: Box, time_s: float) -> list[Box]:
        """Look for one known face around where it should be: by its looks, and some times a second with the follower.

        The follower looks coarsely if that was enough the last time, else finely.
        """
        side, sizes = max(track.box.w, track.box.h), _sizes_of(track.box)
        view = View(luma, zone, min(1.0, _COARSE_PX / side))
        template, seen_s = self._looks.pop(track.id, (None, 0.0))
        match = template.find(view, track.box) if template else None
        if template and match and track.shown and 0 <= time_s - seen_s < _TRUST_S:
            self._looks[track.id] = template, seen_s
            return [match.box]
        found = _look(self._follower, view, Evidence.LITTLE, sizes) if track.shown and track.id not in self._fine else []
        found = found or _look(self._follower, View(luma, zone, min(1.0, _FINE_PX / side)), Evidence.LITTLE, sizes)
        if not found:
            self._fine.add(track.id)
            return []
        self._fine.discard(track.id)
        best = max(found, key=track.box.iou)
        if match:
            found[found.index(best)] = best = match.box.blend(best, _STEADY)
        self._looks[track.id] = Template(view, best), time_s
        return found

    def _find(self, luma: Pixels, area: Box, max_side_px: int) -> list[Box]:
        """The finder on ``area`` of a frame that is searched at ``max_side_px`` at most."""
        scale = _shrink(luma, max_side_px)
        smallest_px = self._how.min_size_px / scale
        if self._finder.resizes:
            # A larger part costs it no more, and in a lock of hair alone it sees faces.
            area, scale = _widened(area, luma.shape), 1.0
        return _look(self._finder, View(luma, area, scale), Evidence.ENOUGH, (smallest_px, 0.0))


def _look(detector: Detector, view: View, evidence: Evidence, sizes: tuple[float, float]) -> list[Box]:
    """A detector on a view; ``sizes``: the least and the greatest side of a face, in pixels of the frame."""
    smallest, largest = (round(side * view.across) for side in sizes)
    return [view.box(found.x, found.y, found.w, found.h) for found in detector(view.picture, smallest, largest, evidence)]


def _sizes_of(box: Box) -> tuple[float, float]:
    """The sides a face may have that was ``box`` a moment ago: as much shorter as longer, or the mean of Haar's finds is biased."""
    side = max(box.w, box.h)
    return 0.8 * side, 1.25 * side


def _all_of(luma: Pixels) -> Box:
    return Box(0, 0, luma.shape[1], luma.shape[0])


def _shrink(luma: Pixels, max_side_px: int) -> float:
    """The scale, at most 1, at which the longer side is ``max_side_px``; 0: full size."""
    return min(1.0, max_side_px / max(luma.shape)) if max_side_px else 1.0


def _around(box: Box, shape: tuple[int, ...], share: float = _ZONE) -> Box:
    """``box`` widened by a share of itself on every side, within a frame of ``shape`` (H, W)."""
    dx, dy = round(share * box.w), round(share * box.h)
    left, top = max(0, box.x - dx), max(0, box.y - dy)
    right, bottom = min(shape[1], box.x + box.w + dx), min(shape[0], box.y + box.h + dy)
    return Box(left, top, max(1, right - left), max(1, bottom - top))


def _widened(area: Box, shape: tuple[int, ...]) -> Box:
    """``area`` with both sides at least as long as the shorter one of a frame of ``shape`` (H, W)."""
    width, height = max(area.w, min(shape)), max(area.h, min(shape))
    left, top = area.x + (area.w - width) // 2, area.y + (area.h - height) // 2
    return Box(min(max(0, left), shape[1] - width), min(max(0, top), shape[0] - height), width, height)


def _distinct(boxes: list[Box]) -> list[Box]:
    """Every face once: of boxes that overlap by half, the first."""
    kept: list[Box] = []
    for box in boxes:
        if all(box.iou(other) < 0.5 for other in kept):
            kept.append(box)
    return kept
