"""Regions of the frame in which faces are ignored: a poster, a television."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.pipeline.motion import COLUMNS, ROWS, Cells, no_cells
from edgefer.settings import Region
from edgefer.types import Box, Pixels


class Ignored:
    """The regions: x, y, width and height as shares, 0..1, of the frame after it was turned."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self.regions = tuple(regions)
        self.cells: Cells = no_cells()
        """(30, 40) bool: the cells whose centre lies in a region."""
        x, y = (np.arange(COLUMNS) + 0.5) / COLUMNS, (np.arange(ROWS)[:, None] + 0.5) / ROWS
        for left, top, width, height in regions:
            self.cells |= (left <= x) & (x < left + width) & (top <= y) & (y < top + height)

    def holds(self, box: Box, luma: Pixels) -> bool:
        """Whether the centre of a box lies in one of them; ``luma`` is the frame, (H, W)."""
        (x, y), (height, width) = box.centre, luma.shape
        return any(left <= x / width < left + w and top <= y / height < top + h for left, top, w, h in self.regions)
