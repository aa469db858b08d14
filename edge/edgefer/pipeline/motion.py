"""The motion gate: which parts of a frame differ from what they were when they were last searched."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.types import Box, Pixels

COLUMNS, ROWS = 40, 30
_BLOCK = np.ones((3, 3), np.uint8)
Cells = npt.NDArray[np.bool_]
"""(30, 40) bool: a part of the frame each."""


class Gate:
    """Compares frames as thumbnails of 40 x 30 cells, where one cell averages away the noise of hundreds of pixels.

    A cell stays moved until it is settled, so what was not searched yet is not forgotten. ``threshold``: levels of
    0..255 by which a cell must change to count as moved; 0 counts every cell, always.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._settled: npt.NDArray[np.int16] | None = None
        self._now = np.zeros((ROWS, COLUMNS), np.int16)
        self._cell_px = (1.0, 1.0)

    def look(self, luma: Pixels) -> Cells:
        """The cells of a frame (H, W) uint8 that moved since they were last settled; all of them in the first frame."""
        height, width = luma.shape
        self._cell_px = (width / COLUMNS, height / ROWS)
        # Nearest first, then area: a full-size average would cost more than it saves.
        sparse = luma[:: max(1, height // 120), :: max(1, width // 160)]
        self._now = cv2.resize(sparse, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).astype(np.int16)
        if self._settled is None or self._threshold <= 0:
            self._settled = self._now.copy() if self._settled is None else self._settled
            return np.ones((ROWS, COLUMNS), bool)
        return np.asarray(np.abs(self._now - self._settled) >= self._threshold)

    def settle(self, where: tuple[slice, slice] | Cells) -> None:
        """From now on the cells ``where`` (rows and columns, or a mask) are compared with what they are in this frame."""
        if self._settled is not None:
            self._settled[where] = self._now[where]

    def cells(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of the cells that a box in pixels touches."""
        across, down = self._cell_px
        left, right = max(0, int(box.x / across)), min(COLUMNS, int(np.ceil((box.x + box.w) / across)))
        top, bottom = max(0, int(box.y / down)), min(ROWS, int(np.ceil((box.y + box.h) / down)))
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    @staticmethod
    def blocks(cells: Cells) -> Cells:
        """Those of ``cells`` that stand in a block of 3 x 3: a face that can be found covers more, noise and a shoulder's edge do not."""
        opened = cv2.morphologyEx(cells.view(np.uint8), cv2.MORPH_OPEN, _BLOCK, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        return np.asarray(opened, bool)

    def area(self, cells: Cells) -> Box:
        """The smallest box in pixels that holds every one of ``cells``, and one cell around them."""
        rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
        across, down = self._cell_px
        left, right = max(0, int(columns[0]) - 1) * across, min(COLUMNS, int(columns[-1]) + 2) * across
        top, bottom = max(0, int(rows[0]) - 1) * down, min(ROWS, int(rows[-1]) + 2) * down
        return Box(int(left), int(top), int(np.ceil(right)) - int(left), int(np.ceil(bottom)) - int(top))
