"""The search for known faces: each near where the tracker predicts it, by its template or with the known-face detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgefer.detectors import Detector, Evidence
from edgefer.pipeline.alignment import SIDE_PX, Template
from edgefer.pipeline.motion import Cells, Motion, no_cells
from edgefer.pipeline.roi import Roi, detect, expand
from edgefer.types import Box, Detection, Pixels, Track, TrackState

ZONE = 0.35
"""The ROI of a known face is its box widened on every side by this share of it."""
COARSE_PX, FINE_PX = SIDE_PX, 64
"""Sides to which a face is scaled down before it is searched: the coarse one is four times cheaper, and misses some faces."""
_HEAD = 0.6
"""Hair and neck move around a face as far as this share of its box, on every side."""
_SEARCH_S = 0.09
"""Seconds between two searches for a known face; in between it is skipped."""
_TRUST_S = 0.4
"""Seconds after a detection during which a match of the template needs no detector."""
_STEADY = 0.75
"""0..1, how much of the template's box stays when the detector finds the face: boxes of detectors jitter, those of templates do not."""


@dataclass(frozen=True, slots=True)
class KnownFaces:
    """What the search for known faces found in a frame; all cells (30, 40) bool."""

    tracks: tuple[Track, ...]
    """The predicted tracks, each with the state that this search gives it."""
    detections: tuple[Detection, ...]
    searched: Cells
    skipped: Cells
    """Cells around skipped faces: their motion must stay until those faces are searched."""
    unexplained: Cells
    """Moved cells outside all known heads: a new face may be there."""


@dataclass(slots=True)
class _Memory:
    """What is kept of a known face between frames."""

    template: Template | None = None
    detected_s: float = 0.0
    missed: bool = False
    """The last detection failed: the next one begins at the fine scale."""


class KnownFaceSearch:
    """Decides which known faces are searched in a frame, and finds them; keeps a template of each.

    ``confirms``: whether ``detector`` confirms candidates (tracks not confirmed yet). It does where one detector finds new faces
    and known ones; where they are two, the new-face detector must find a candidate again.
    """

    def __init__(self, detector: Detector, confirms: bool) -> None:
        self._detector, self._confirms = detector, confirms
        self._memories: dict[int, _Memory] = {}

    def search(self, luma: Pixels, motion: Motion, time_s: float, predicted: Sequence[Track]) -> KnownFaces:
        """Known faces of a frame (H, W) uint8, given where the tracker predicts them."""
        tracks: list[Track] = []
        boxes: list[Box] = []
        searched, skipped, unexplained = no_cells(), no_cells(), motion.moved.copy()
        self._memories = {track.id: self._memories.get(track.id) or _Memory() for track in predicted}
        for track in predicted:
            roi = expand(track.box, ZONE, luma.shape)
            cells = motion.cells(roi)
            state, found = self._search_one(luma, track, roi, time_s, moved=bool(unexplained[cells].any()))
            tracks.append(track if track.state is state else replace(track, state=state))
            boxes += found
            if state is TrackState.SKIPPED:
                skipped[cells] = True
            elif state is not TrackState.STATIC:
                searched[cells] = True
            unexplained[motion.cells(expand(track.box, _HEAD, luma.shape))] = False
        return KnownFaces(tuple(tracks), tuple(map(Detection, boxes)), searched, skipped, unexplained)

    def _search_one(self, luma: Pixels, track: Track, roi: Box, time_s: float, moved: bool) -> tuple[TrackState, list[Box]]:
        """The state of a face in this frame, and the boxes found in its ROI."""
        if track.confirmed:
            if not (moved or track.missed):
                return TrackState.STATIC, []
            if 0 <= time_s - track.searched_s < _SEARCH_S:
                return TrackState.SKIPPED, []
        elif not self._confirms:
            return TrackState.LOST, []
        boxes = self._find(luma, track, roi, time_s)
        return TrackState.FOUND if boxes else TrackState.LOST, boxes

    def _find(self, luma: Pixels, track: Track, area: Box, time_s: float) -> list[Box]:
        """A face by its template; with the detector when the template does not match, and every `_TRUST_S`."""
        memory, side = self._memories[track.id], max(track.box.w, track.box.h)
        roi = Roi(luma, area, min(1.0, COARSE_PX / side))
        match = memory.template.find(roi, track.box) if memory.template else None
        if match and track.confirmed and 0 <= time_s - memory.detected_s < _TRUST_S:
            return [match.box]
        sizes_px = similar_sizes(track.box)
        boxes = detect(self._detector, roi, Evidence.LITTLE, sizes_px) if track.confirmed and not memory.missed else []
        boxes = boxes or detect(self._detector, Roi(luma, area, min(1.0, FINE_PX / side)), Evidence.LITTLE, sizes_px)
        memory.missed = not boxes
        if not boxes:
            memory.template = None
            return []
        nearest = max(boxes, key=track.box.iou)
        box = match.box.blend(nearest, _STEADY) if match else nearest
        memory.template, memory.detected_s = Template(roi, box), time_s
        return [box if other is nearest else other for other in boxes]


def similar_sizes(box: Box) -> tuple[float, float]:
    """Least and greatest side, in pixels, of a face that was ``box``: the ratios are equal, or the mean of Haar's boxes is biased."""
    side = max(box.w, box.h)
    return 0.8 * side, 1.25 * side
