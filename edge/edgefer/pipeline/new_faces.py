"""The search for new faces: where something moved that no known face explains, and now and then everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgefer.detectors import Detector, Evidence
from edgefer.pipeline.known_faces import COARSE_PX, FINE_PX, ZONE, KnownFaces, similar_sizes
from edgefer.pipeline.motion import Cells, Motion, blocks, no_cells
from edgefer.pipeline.roi import Roi, detect, expand, expand_to_short_side, fit_scale, whole_frame
from edgefer.settings import DetectorSettings
from edgefer.types import Box, Detection, Pixels, TrackState

_BODY = 1.5
"""The body of a face reaches this many widths of the face to the left and to the right of its middle."""
_SAME_IOU = 0.5
"""Boxes that overlap by this share or more are one face."""


@dataclass(frozen=True, slots=True)
class NewFaces:
    """What the search for new faces found in a frame, and the cells (30, 40) bool that it searched."""

    detections: tuple[Detection, ...]
    searched: Cells


class NewFaceSearch:
    """Decides which area of a frame is searched for new faces, and finds them; keeps the times of the last searches.

    ``detector`` finds new faces, ``known_detector`` known ones. Where they are two, a known face that ``known_detector`` misses
    is searched with ``detector`` too. ``refresh_s``: the whole frame is searched after this many seconds.
    """

    def __init__(self, detector: Detector, known_detector: Detector, settings: DetectorSettings, refresh_s: float) -> None:
        self._detector, self._known_detector, self._settings, self._refresh_s = detector, known_detector, settings, refresh_s
        self._alone = detector is known_detector
        self._searched_s = self._refreshed_s = float("-inf")

    def photograph(self, luma: Pixels) -> tuple[Detection, ...]:
        """Faces anywhere in a single picture (H, W) uint8."""
        return tuple(map(Detection, self._detect(luma, whole_frame(luma), self._settings.photo_max_side_px)))

    def search(self, luma: Pixels, motion: Motion, time_s: float, known: KnownFaces) -> NewFaces:
        """New faces of a frame (H, W) uint8, and known ones that the known-face detector missed."""
        searched = no_cells()
        area = self._due(luma, motion, time_s, known)
        if area is None:
            return NewFaces((), searched)
        self._searched_s = time_s
        searched[motion.cells(area)] = True
        searched &= ~known.skipped
        if any(self._only_body(luma, area, track.box) for track in known.tracks if track.confirmed):
            return NewFaces((), searched)
        boxes = map(Detection, self._detect(luma, area, self._settings.max_side_px))
        found = distinct([*known.detections, *boxes])
        return NewFaces(tuple(self._confirm(luma, one, known) for one in found if one not in known.detections), searched)

    def _due(self, luma: Pixels, motion: Motion, time_s: float, known: KnownFaces) -> Box | None:
        """The area to search in this frame, None: none.

        The whole frame every `_refresh_s`, and for faces that the known-face detector missed: at once for candidates. What moved
        apart from the known faces every ``every_s``. A clock that was set back counts as time that passed.
        """
        waited = not 0 <= time_s - self._searched_s < self._settings.every_s
        missed = [] if self._alone else [track for track in known.tracks if track.state is TrackState.LOST]
        if not 0 <= time_s - self._refreshed_s < self._refresh_s:
            self._refreshed_s = time_s
            return whole_frame(luma)
        if missed and (waited or not all(track.confirmed for track in missed)):
            return whole_frame(luma)
        if waited and known.unexplained.any() and (moved := blocks(known.unexplained)).any():
            return motion.bounds(moved)
        return None

    def _detect(self, luma: Pixels, area: Box, max_side_px: int) -> list[Box]:
        """The new-face detector on ``area`` of a frame that is scaled down to ``max_side_px``; 0: full size."""
        scale = fit_scale(luma, max_side_px)
        smallest_px = self._settings.min_size_px / scale
        if self._detector.resizes:
            # A larger area costs it no more, and in a lock of hair alone it sees faces.
            area, scale = expand_to_short_side(area, luma.shape), 1.0
        return detect(self._detector, Roi(luma, area, scale), Evidence.ENOUGH, (smallest_px, 0.0))

    def _confirm(self, luma: Pixels, found: Detection, known: KnownFaces) -> Detection:
        """A new face as the known-face detector sees it, confirmed; as it was where that detector is not sure of it."""
        box = found.box
        if any(box.iou(one.box) for one in known.detections) or any(box.iou(one.box) for one in known.tracks):
            return found
        scale = fit_scale(luma, self._settings.max_side_px) if self._alone else min(1.0, FINE_PX / max(box.w, box.h))
        roi = Roi(luma, expand(box, ZONE, luma.shape), scale)
        sure = detect(self._known_detector, roi, Evidence.PLENTY, similar_sizes(box))
        return Detection(max(sure, key=box.iou), confirmed=True) if sure else found

    def _only_body(self, luma: Pixels, area: Box, face: Box) -> bool:
        """Whether a moved area is the body under a known face, and the known-face detector finds no candidate in it."""
        if self._alone or area.y < face.y + face.h or abs(area.centre[0] - face.centre[0]) + area.w / 2 > _BODY * face.w:
            return False
        smallest, largest = 0.5 * face.w, 1.5 * face.w
        return not detect(self._known_detector, Roi(luma, area, min(1.0, COARSE_PX / smallest)), Evidence.LITTLE, (smallest, largest))


def distinct(detections: Sequence[Detection]) -> list[Detection]:
    """Every face once: of boxes that overlap by `_SAME_IOU`, the first."""
    kept: list[Detection] = []
    for one in detections:
        if all(one.box.iou(other.box) < _SAME_IOU for other in kept):
            kept.append(one)
    return kept
