"""The memory of an exported model: where each layer's output begins in the arena, so that few bytes are needed."""

from __future__ import annotations

import math

import numpy as np

from convert.c_layers import LANES, Layer


def plan(layers: list[Layer], reserved: int) -> int:
    """Set where each output begins in the arena, behind ``reserved`` bytes; returns the arena's bytes.

    Only a layer's input and output live at the same time. The smallest arena is searched in which each output finds room: over its
    input (see `_lag`), above it or below it, as high as possible.
    """
    sizes = [math.prod(layer.out_shape) for layer in layers]
    lags = [0, *map(_lag, layers[1:])]
    total = max(sizes)
    while not _place(layers, sizes, lags, total):
        total += LANES
    for layer in layers:
        layer.to += reserved
    return reserved + total


def _lag(layer: Layer) -> int:
    """By how many bytes, at least, a layer's output must begin before its input so that both may share memory.

    C goes through the positions in order, two at a time. What it writes until then must end before the first byte that is read then
    or later. An output that is smaller than its input may also begin behind it: the number is negative.
    """
    (height, width, depth), (out_height, out_width, out_depth) = layer.shape, layer.out_shape
    top = np.maximum(np.arange(out_height) * layer.stride[0] - layer.pad[0], 0)[:, None]
    left = np.maximum(np.arange(out_width) * layer.stride[1] - layer.pad[1], 0)
    first = np.minimum((top * width + left) * depth, height * width * depth).ravel()
    needed = np.minimum.accumulate(first[::-1])[::-1]
    written = np.minimum(np.arange(len(first)) + 2, len(first)) * out_depth
    return int((written - needed).max())


def _place(layers: list[Layer], sizes: list[int], lags: list[int], total: int) -> bool:
    """Place every output within ``total`` bytes; False where one has no room."""
    begin, end = total, total  # of the input: the caller's picture is elsewhere
    for layer, size, lag in zip(layers, sizes, lags, strict=True):
        first = end == begin
        over = total - size if first else (begin - lag) // LANES * LANES
        rooms = [start for start in (over, begin - size) if 0 <= start <= total - size]
        rooms += [total - size] if total - size >= end else []
        if not rooms:
            return False
        layer.to = begin = max(rooms)
        end = begin + size
    return True
