"""Near copies among pictures of faces, and splits that keep them together: a copy on both sides would flatter every figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.types import Pixels
from train.metrics import Classes

SAME, IDENTICAL = 0.94, 0.99
"""Correlation from which two pictures of a class are near copies, and from which they are one shot, whatever their classes.

Of FER2013's pictures 1 % correlate by over 0.90 with any of 500 others. Copies turned by 5 degrees, cropped by 8 % or moved by 4 % do so by
0.95 (median 0.98)."""
_GRID, _SHIFT = 20, 2
"""Side of the small pictures that are compared, and the largest shift that is tried."""
_MANY = 2000
"""From so many pictures on every other shift is tried."""


@dataclass(frozen=True, slots=True)
class Copies:
    """``groups`` (n,): a number for each picture, the same for near copies. ``contradictions``: pairs of one shot in two classes."""

    groups: Classes
    contradictions: tuple[tuple[int, int], ...]


def near_copies(images: Pixels, classes: Classes, together: Sequence[str] = ()) -> Copies:
    """Pictures (n, H, W) uint8 of a class that show the same shot, also cropped, mirrored or lighter, as groups.

    Pictures of a class with the same text in ``together`` are in one group; "" belongs to none.
    """
    group, contradictions = np.arange(len(images)), set()
    for one, other, alike in _pairs(images):
        if classes[one] == classes[other]:
            _join(group, one, other)
        elif alike >= IDENTICAL:
            contradictions.add((min(one, other), max(one, other)))
    first: dict[tuple[str, int], int] = {}
    for index, part in enumerate(together):
        if part:
            _join(group, first.setdefault((part, int(classes[index])), index), index)
    return Copies(np.array([_root(group, index) for index in range(len(group))], np.int64), tuple(sorted(contradictions)))


def _pairs(images: Pixels) -> Iterable[tuple[int, int, float]]:
    """Index pairs of pictures that correlate by `SAME` or more, and by how much."""
    small = np.stack([cv2.resize(image, (_GRID, _GRID), interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)
    middle = _vectors(small[:, _SHIFT:-_SHIFT, _SHIFT:-_SHIFT])
    inside, shifts = _GRID - 2 * _SHIFT, range(0, 2 * _SHIFT + 1, 1 if len(images) <= _MANY else 2)
    for mirrored, y, x in itertools.product((small, small[:, :, ::-1]), shifts, shifts):
        shifted = _vectors(mirrored[:, y : y + inside, x : x + inside])
        for begin in range(0, len(images), 1024):
            alike = shifted[begin : begin + 1024] @ middle.T
            rows, columns = np.nonzero(alike >= SAME)
            yield from ((begin + int(r), int(c), float(alike[r, c])) for r, c in zip(rows, columns, strict=True) if begin + r != c)


def _vectors(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pictures (n, h, w) as vectors of mean 0 and length 1: brightness and contrast do not count."""
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3), np.float32)


def _root(group: Classes, index: int) -> int:
    while group[index] != index:
        group[index] = group[group[index]]
        index = int(group[index])
    return index


def _join(group: Classes, one: int, other: int) -> None:
    a, b = _root(group, one), _root(group, other)
    group[max(a, b)] = min(a, b)


def held_back(groups: Classes, classes: Classes, seed: int) -> npt.NDArray[np.bool_]:
    """About a fifth of the pictures, (n,) bool, whole groups of every class that has two or more."""
    fold = folds(groups, classes, 5, seed)

    def worth(each: int) -> tuple[int, float]:
        return len(set(classes[fold == each])), -abs(float(np.mean(fold == each)) - 1 / 5)

    return np.asarray(fold == max(range(5), key=worth))


def folds(groups: Classes, classes: Classes, count: int, seed: int) -> Classes:
    """A fold 0..``count``-1 for each picture, (n,): groups stay whole, and every class is spread evenly over the folds."""
    random = np.random.default_rng(seed)
    names, group_of = np.unique(groups, return_inverse=True)
    has = np.zeros((len(names), int(classes.max()) + 1))
    np.add.at(has, (group_of, classes), 1)
    share = has / np.maximum(has.sum(axis=0), 1)
    held = np.zeros((count, has.shape[1]))
    fold = np.zeros(len(names), np.int64)
    # Large groups first, so that small ones even out what these leave uneven.
    for group in sorted(random.permutation(len(names)), key=lambda each: -share[each].max()):
        of = has[group] > 0
        least = held[:, of].sum(axis=1) + 1e-3 * held.sum(axis=1)
        fold[group] = int(random.choice(np.flatnonzero(least <= least.min() + 1e-9)))
        held[fold[group]] += share[group]
    return fold[group_of]
