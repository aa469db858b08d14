"""The search for new faces: where something moved that no known face explains, and now and then everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgefer.detectors import Detector, Evidence
from edgefer.pipeline.known_faces import COARSE_PX, FINE_PX, ZONE, KnownFaces, similar_sizes, turn_deg
from edgefer.pipeline.motion import COLUMNS, ROWS, Cells, Motion, blocks, no_cells, parts
from edgefer.pipeline.roi import Roi, detect, expand, expand_to, fit_scale, in_frame, whole_frame
from edgefer.settings import DetectorSettings
from edgefer.types import Box, Detection, Pixels

_BODY = 1.5
"""The body of a face reaches this many widths of the face to the left and to the right of its middle."""
_TILES_PX = (128, 192, 320)
"""Sides of the squares that are searched where something moved: few, because the network is set up for each; more is shrunk to the last."""
_BUDGET_PX = 192 * 192
"""Pixels that may be searched every ``every_s``."""
_SAME_IOU = 0.5
"""Boxes that overlap by this share or more are one face."""


@dataclass(frozen=True, slots=True)
class NewFaces:
    """What the search for new faces found in a frame, and the cells (30, 40) bool that it searched."""

    detections: tuple[Detection, ...]
    searched: Cells


class NewFaceSearch:
    """Decides which area of a frame is searched for new faces, and finds them; keeps the times of the last searches.

    ``detector`` finds new faces, ``known_detector`` known ones; the two may be one. ``refresh_s``: the whole frame is searched after
    this many seconds.
    """

    def __init__(self, detector: Detector, known_detector: Detector, settings: DetectorSettings, refresh_s: float) -> None:
        self._detector, self._known_detector, self._settings, self._refresh_s = detector, known_detector, settings, refresh_s
        self._alone = detector is known_detector
        self._searched_s = self._refreshed_s = float("-inf")
        self._wait_s = 0.0
        self._cells_s = np.full((ROWS, COLUMNS), -np.inf)

    def photograph(self, luma: Pixels) -> tuple[Detection, ...]:
        """Faces anywhere in a single picture (H, W) uint8."""
        roi = Roi(luma, whole_frame(luma), fit_scale(luma.shape, self._settings.photo_max_side_px))
        return tuple(in_frame(roi, self._detector.photograph(roi.pixels, self._settings.min_size_px)))

    def search(self, luma: Pixels, motion: Motion, time_s: float, known: KnownFaces) -> NewFaces:
        """New faces of a frame (H, W) uint8."""
        searched = no_cells()
        roi = self._due(luma, motion, time_s, known)
        if roi is None:
            return NewFaces((), searched)
        cells = motion.cells(roi.area)
        searched[cells] = True
        searched &= ~known.skipped
        self._searched_s, self._cells_s[cells] = time_s, time_s
        dear = self._detector.searches_px and time_s > self._refreshed_s
        self._wait_s = self._settings.every_s * (max(1.0, roi.pixels.size / _BUDGET_PX) if dear else 1.0)
        if any(self._only_body(luma, roi.area, track.box) for track in known.tracks if track.confirmed):
            return NewFaces((), searched)
        smallest_px = self._settings.min_size_px / roi.scale_x
        found = distinct([*known.detections, *detect(self._detector, roi, Evidence.ENOUGH, (smallest_px, 0.0))])
        return NewFaces(tuple(self._confirm(luma, one, known) for one in found if one not in known.detections), searched)

    def _due(self, luma: Pixels, motion: Motion, time_s: float, known: KnownFaces) -> Roi | None:
        """What to search in this frame, None: nothing.

        The whole frame every `_refresh_s`; what moved apart from the known faces every ``every_s``, and the more pixels a search
        has, the longer until the next. A clock that was set back counts as time that passed.
        """
        if not 0 <= time_s - self._refreshed_s < self._refresh_s:
            self._refreshed_s = time_s
            return self._roi(luma, whole_frame(luma), self._detector.searches_px)
        if 0 <= time_s - self._searched_s < self._wait_s or not known.unexplained.any():
            return None
        if not self._detector.searches_px:
            moved = blocks(known.unexplained)
            return self._roi(luma, motion.bounds(moved), 0) if moved.any() else None
        # Of the parts that moved, the one that waits longest: a curtain must not keep a face from being found.
        oldest = min(parts(known.unexplained), key=lambda part: float(self._cells_s[part].mean()))
        area = motion.bounds(oldest)
        side = next((side for side in _TILES_PX if side >= max(area.w, area.h)), 0)
        return self._roi(luma, expand_to(area, side, luma.shape) if side else whole_frame(luma), _TILES_PX[-1])

    def _roi(self, luma: Pixels, area: Box, longest_px: int) -> Roi:
        """An area, shrunk to that side; 0: as the settings shrink the whole frame."""
        scale = fit_scale((area.h, area.w), longest_px) if longest_px else fit_scale(luma.shape, self._settings.max_side_px)
        return Roi(luma, area, scale)

    def _confirm(self, luma: Pixels, found: Detection, known: KnownFaces) -> Detection:
        """A new face as the known-face detector sees it, confirmed; as it was where that detector is not sure of it."""
        box = found.box
        if any(box.iou(one.box) for one in known.detections) or any(box.iou(one.box) for one in known.tracks):
            return found
        if found.confirmed:
            found = self._detector.upright(luma, found)
        scale = fit_scale(luma.shape, self._settings.max_side_px) if self._alone else min(1.0, FINE_PX / max(box.w, box.h))
        roi = Roi(luma, expand(found.box, ZONE, luma.shape), scale, turn_deg(found.roll_deg))
        sure = detect(self._known_detector, roi, Evidence.PLENTY, similar_sizes(found.box))
        nearest = max(sure, key=lambda face: found.box.iou(face.box), default=None)
        return replace(found, box=nearest.box, confirmed=True) if nearest else found

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
