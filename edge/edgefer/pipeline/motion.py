"""The motion gate: which parts of a frame changed since they were last searched."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.types import Box, Pixels

COLUMNS, ROWS = 40, 30
_CUT_SHARE, _CUT_LEVELS, _CUT_CORRELATION = 0.7, 6, 0.8
"""A cut changes this share of the cells by this many levels between two frames. A lamp does so too, but the frames stay correlated.

Measured: a cut .95 and -.3; people close to a webcam at most .4 and at least .96.
"""
_BLOCK = np.ones((3, 3), np.uint8)
Cells = npt.NDArray[np.bool_]
"""(30, 40) bool: one part of the frame each."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Which cells of a frame moved; ``cell_px`` is the size (w, h) of a cell in pixels of the frame."""

    moved: Cells
    cell_px: tuple[float, float]
    cut: bool = False
    """The frame shows another scene than the frame before."""

    def cells(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of the cells that a box in pixels touches."""
        width, height = self.cell_px
        left, right = max(0, int(box.x / width)), min(COLUMNS, int(np.ceil((box.x + box.w) / width)))
        top, bottom = max(0, int(box.y / height)), min(ROWS, int(np.ceil((box.y + box.h) / height)))
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def bounds(self, cells: Cells) -> Box:
        """The smallest box in pixels that holds every one of ``cells`` and one cell around them."""
        rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
        width, height = self.cell_px
        left, right = max(0, int(columns[0]) - 1) * width, min(COLUMNS, int(columns[-1]) + 2) * width
        top, bottom = max(0, int(rows[0]) - 1) * height, min(ROWS, int(rows[-1]) + 2) * height
        return Box(int(left), int(top), int(np.ceil(right)) - int(left), int(np.ceil(bottom)) - int(top))


class Gate:
    """Compares frames as thumbnails of 40 x 30 cells, where one cell averages away the noise of hundreds of pixels.

    A cell is compared with its reference: what it was when it was last searched. It stays moved until it is searched.
    ``threshold``: levels of 0..255 by which a cell must change to count as moved; 0: every cell always counts.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._reference: npt.NDArray[np.int16] | None = None
        self._current = np.zeros((ROWS, COLUMNS), np.int16)

    def compare(self, luma: Pixels) -> Motion:
        """The cells of a frame (H, W) uint8 that differ from their reference; all of them in the first frame."""
        height, width = luma.shape
        cell_px = (width / COLUMNS, height / ROWS)
        # Nearest first, then area: averaging the full size would cost more than the gate saves.
        sparse = luma[:: max(1, height // 120), :: max(1, width // 160)]
        before, self._current = self._current, cv2.resize(sparse, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).astype(np.int16)
        cut = self._reference is not None and _is_cut(before, self._current)
        if self._reference is None or self._threshold <= 0:
            self._reference = self._current.copy() if self._reference is None else self._reference
            return Motion(np.ones((ROWS, COLUMNS), bool), cell_px, cut)
        return Motion(np.asarray(np.abs(self._current - self._reference) >= self._threshold), cell_px, cut)

    def update_reference(self, searched: Cells) -> None:
        """These cells of the last frame compared were searched: from now on they are compared with that frame."""
        if self._reference is not None:
            self._reference[searched] = self._current[searched]


def _is_cut(before: npt.NDArray[np.int16], after: npt.NDArray[np.int16]) -> bool:
    """Whether a thumbnail (30, 40) shows another scene than the one before."""
    if np.mean(np.abs(after - before) >= _CUT_LEVELS) < _CUT_SHARE:
        return False
    a, b = (thumbnail - thumbnail.mean() for thumbnail in (before, after))
    return float(np.vdot(a, b)) < _CUT_CORRELATION * float(np.linalg.norm(a) * np.linalg.norm(b))


def no_cells() -> Cells:
    """A new array of cells, none of them set."""
    return np.zeros((ROWS, COLUMNS), bool)


def blocks(cells: Cells) -> Cells:
    """Those of ``cells`` inside a block of 3 x 3 (a morphological opening): a face that can be found covers more, noise and edges less."""
    opened = cv2.morphologyEx(cells.view(np.uint8), cv2.MORPH_OPEN, _BLOCK, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(opened, bool)
