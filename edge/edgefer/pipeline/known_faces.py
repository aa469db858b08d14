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
BEHIND_IOU = 0.1
"""A face that another one overlaps by this share or more may be behind it."""
_HEAD = 0.6
"""Hair and neck move around a face as far as this share of its box, on every side."""
_SEARCH_S = 0.09
"""Seconds between two searches for a known face; in between it is skipped."""
_TRUST_S = 0.4
"""Seconds after a detection during which a match of the template needs no detector."""
_CONFIRM_S = 2.0
"""Seconds after which a face must be found by the new-face detector too: alone, the known-face detector follows a letter or a leaf."""
_CLOSE_PX, _CLOSE = 40, 0.7
"""For the new-face detector the box of a face is widened on every side by this share, and a larger face scaled down to these pixels."""
_LEAN_DEG = 15
"""A head that leans more is turned upright for the detectors."""
_SETTLE = 0.85
"""Share of a small roll that stays when the known-face detector, which wants upright heads, finds the face: no error adds up."""
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
    confirmed_s: float = 0.0
    """When the new-face detector found it last."""
    missed: bool = False
    """The last detection failed: the next one begins at the fine scale."""


class KnownFaceSearch:
    """Decides which known faces are searched in a frame, and finds them; keeps a template of each.

    ``detector`` finds known faces. ``new_detector`` finds those that it misses, confirms candidates (tracks not confirmed yet) and,
    every `_CONFIRM_S`, each track that moves. The two may be one.
    """

    def __init__(self, detector: Detector, new_detector: Detector) -> None:
        self._detector, self._new_detector = detector, new_detector
        self._alone = detector is new_detector
        self._memories: dict[int, _Memory] = {}

    def search(self, luma: Pixels, motion: Motion, time_s: float, predicted: Sequence[Track]) -> KnownFaces:
        """Known faces of a frame (H, W) uint8, given where the tracker predicts them."""
        tracks: list[Track] = []
        found: list[Detection] = []
        searched, skipped, unexplained = no_cells(), no_cells(), motion.moved.copy()
        self._memories = {track.id: self._memories.get(track.id) or _Memory(confirmed_s=track.first_s) for track in predicted}
        for track in predicted:
            roi = expand(track.box, ZONE, luma.shape)
            cells = motion.cells(roi)
            # Where faces overlap, what moves may be either.
            behind = any(track.box.iou(other.box) >= BEHIND_IOU for other in predicted if other is not track)
            moved = bool((motion.moved if behind else unexplained)[cells].any())
            state, faces = self._search_one(luma, track, roi, time_s, moved)
            tracks.append(track if track.state is state else replace(track, state=state))
            found += faces
            if state is TrackState.SKIPPED:
                skipped[cells] = True
            elif state is not TrackState.STATIC:
                searched[cells] = True
            unexplained[motion.cells(expand(track.box, _HEAD, luma.shape))] = False
        return KnownFaces(tuple(tracks), tuple(found), searched, skipped, unexplained)

    def _search_one(self, luma: Pixels, track: Track, roi: Box, time_s: float, moved: bool) -> tuple[TrackState, list[Detection]]:
        """The state of a face in this frame, and the faces found in its ROI."""
        if track.confirmed:
            if not (moved or track.missed):
                return TrackState.STATIC, []
            if 0 <= time_s - track.searched_s < _SEARCH_S:
                return TrackState.SKIPPED, []
        faces = self._find(luma, track, roi, time_s)
        return TrackState.FOUND if faces else TrackState.LOST, faces

    def _find(self, luma: Pixels, track: Track, area: Box, time_s: float) -> list[Detection]:
        """A face by its template; with the detectors when the template does not match, and every `_TRUST_S`."""
        memory, side = self._memories[track.id], max(track.box.w, track.box.h)
        roi = Roi(luma, area, min(1.0, COARSE_PX / side), turn_deg(track.roll_deg))
        match = memory.template.find(roi, track.box, track.roll_deg) if memory.template else None
        if match and track.confirmed and 0 <= time_s - memory.detected_s < _TRUST_S:
            return [Detection(match.box, roll_deg=match.roll_deg)]
        faces = self._detect(luma, track, roi, memory, time_s)
        memory.missed = not faces
        if not faces:
            memory.template = None
            return []
        nearest = max(faces, key=lambda face: track.box.iou(face.box))
        best = replace(nearest, box=match.box.blend(nearest.box, _STEADY)) if match else nearest
        if match and best.roll_deg == track.roll_deg:
            settle = 1.0 if roi.roll_deg else _SETTLE
            best = replace(best, roll_deg=settle * match.roll_deg)
        memory.template, memory.detected_s = Template(roi, best.box, best.roll_deg), time_s
        return [best if other is nearest else other for other in faces]

    def _detect(self, luma: Pixels, track: Track, coarse: Roi, memory: _Memory, time_s: float) -> list[Detection]:
        """Faces in the ROI of a track, as the known-face detector boxes them; else as the new-face detector does, with their roll."""
        area, sizes_px, faces = coarse.area, similar_sizes(track.box), list[Detection]()
        if track.confirmed and not memory.missed:
            faces = detect(self._detector, coarse, Evidence.LITTLE, sizes_px)
        if not faces and (track.confirmed or self._alone):
            fine = Roi(luma, area, min(1.0, FINE_PX / max(track.box.w, track.box.h)), coarse.roll_deg)
            faces = detect(self._detector, fine, Evidence.LITTLE, sizes_px)
        faces = [replace(face, roll_deg=track.roll_deg) for face in faces]
        if self._alone or (faces and 0 <= time_s - memory.confirmed_s < _CONFIRM_S):
            return faces
        close = Roi(luma, expand(track.box, _CLOSE, luma.shape), min(1.0, _CLOSE_PX / max(track.box.w, track.box.h)), coarse.roll_deg)
        seen = detect(self._new_detector, close, Evidence.LITTLE if track.confirmed else Evidence.ENOUGH, similar_sizes(track.box))
        if not seen:
            return []
        memory.confirmed_s = time_s
        return faces or [self._new_detector.upright(luma, face) for face in seen]


def similar_sizes(box: Box) -> tuple[float, float]:
    """Least and greatest side, in pixels, of a face that was ``box``: the ratios are equal, or the mean of Haar's boxes is biased."""
    side = max(box.w, box.h)
    return 0.8 * side, 1.25 * side


def turn_deg(roll_deg: float) -> float:
    """The angle by which the ROI of such a head is turned upright."""
    return roll_deg if abs(roll_deg) > _LEAN_DEG else 0.0
