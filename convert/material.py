"""Pictures to calibrate and compare with: FER2013, the crops that ``make own`` kept, any folder by class, or drawn faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edgefer.errors import DataError
from edgefer.luma import luma_of
from edgefer.pipeline.crop import crop_face
from edgefer.sources.synthetic import BLEND_S, HOLD_S, Scene, SyntheticOptions
from edgefer.types import Box, Pixels
from train.data import SIZE_PX, Dataset, Split, load
from train.folder import class_folders, common_name, read_folder
from train.near_copies import held_back, near_copies
from train.recipe import load_recipe

SMALL = 500
"""With fewer validation pictures one of them is too much of a point: a file is judged on `VARIED` pictures instead."""
VARIED = 1000
_DRAWN_PEOPLE = 40


def read(path: Path, labels: Sequence[str]) -> Dataset:
    """A dataset of 48x48 pictures with exactly these classes."""
    if path.suffix == ".npz":
        return _kept(path, labels)
    try:
        return load(path, labels)
    except DataError:
        if not path.is_dir() or not set(labels) <= class_folders(path):
            raise
    return _of_folder(path, SIZE_PX, labels)


def read_for(path: Path, labels: Sequence[str], height_px: int, width_px: int) -> Dataset:
    """FER2013 or any folder by class, with the classes that a foreign model has by the same or a common name, in its order and size."""
    known = load_recipe("compact").labels
    try:
        data = load(path, known)
    except DataError:
        if not path.is_dir() or len(_same(sorted(class_folders(path)), labels)) < 2:
            raise
        data = _of_folder(path, max(height_px, width_px), None)
    same = _same(data.labels, labels)
    if len(same) < 2:
        raise DataError(
            f"{path}: has {', '.join(data.labels)}; the model has {', '.join(labels)}: two or more classes in common are needed. "
            "Rename the folders, or leave DATA out: the file is then converted without a comparison on real faces"
        )
    index = np.array([same.get(label, -1) for label in range(len(data.labels))])
    splits = {}
    for name, split in data.splits.items():
        chosen = index[split.labels] >= 0
        if name == "train":  # only to calibrate with
            chosen &= np.isin(np.arange(len(split)), np.random.default_rng(2013).permutation(len(split))[:VARIED])
        kept = split.keep(chosen)
        whole = Box(0, 0, kept.images.shape[2], kept.images.shape[1])
        images = np.stack([crop_face(image, whole, 0.0, height_px, width_px) for image in kept.images])
        splits[name] = replace(kept, images=images, labels=index[kept.labels])
    return Dataset(path, tuple(labels), splits, data.notes)


def _same(theirs: Sequence[str], labels: Sequence[str]) -> dict[int, int]:
    """Index in ``theirs`` -> index in ``labels`` of the class with the same or a common name."""
    names = [common_name(label) for label in labels]
    return {index: names.index(common_name(label)) for index, label in enumerate(theirs) if common_name(label) in names}


def _kept(path: Path, labels: Sequence[str]) -> Dataset:
    """The crops that ``make own`` kept beside its model."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            images, classes, held, theirs = (kept[name] for name in ("images", "classes", "held", "labels"))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not the crops that 'make own' kept ({error}); run make own again, or pass DATA=folder") from None
    if list(map(str, theirs)) != list(labels):
        raise DataError(f"{path}: holds {', '.join(map(str, theirs))}, the model has {', '.join(labels)}; run make own again")
    return _divided(path, images, classes, held, tuple(labels))


def _of_folder(path: Path, size_px: int, labels: Sequence[str] | None) -> Dataset:
    """A folder by class; a fifth is validation, by groups of near copies, where it has no split of its own."""
    folder = read_folder(path, size_px, lambda line: print(line, flush=True))
    order = tuple(labels or folder.labels)
    classes = np.array([order.index(picture.label) for picture in folder.pictures])
    rim = (folder.images.shape[1] - size_px) // 2
    held = np.array([picture.split == "validation" for picture in folder.pictures])
    if not held.any():
        held = held_back(near_copies(folder.images, classes, [picture.part for picture in folder.pictures]).groups, classes, 2013)
    return _divided(path, folder.images[:, rim:-rim, rim:-rim], classes, held, order)


def _divided(path: Path, images: Pixels, classes: np.ndarray, held: np.ndarray, labels: tuple[str, ...]) -> Dataset:
    names = np.array([f"picture {index}" for index in range(len(images))])
    parts = {"train": ~held, "validation": held}
    splits = {name: Split(images[of], classes[of], np.full(int(of.sum()), -1), tuple(names[of])) for name, of in parts.items()}
    return Dataset(path, labels, splits)


def enlarged(validation: Split, train: Split) -> Split:
    """``validation``, or if it is small, it with pictures of ``train`` and varied ones of both, `VARIED` or more."""
    if len(validation) >= SMALL:
        return validation
    chosen = np.random.default_rng(2013).permutation(len(train))[:SMALL]
    images, labels = (np.concatenate([a, b[chosen]]) for a, b in ((validation.images, train.images), (validation.labels, train.labels)))
    rounds = -(-VARIED // len(images))
    many = np.concatenate([_varied(images, turn) for turn in range(rounds)])
    return Split(many, np.tile(labels, rounds), np.full(len(many), -1), ("",) * len(many))


def _varied(images: Pixels, turn: int) -> Pixels:
    """Pictures (n, H, W) as they are (turn 0), else mirrored in every other turn, lighter or darker, and shifted by some pixels."""
    if not turn:
        return images
    random = np.random.default_rng(turn)
    flipped = images[:, :, ::-1] if turn % 2 else images
    height, width = images.shape[1:]
    moved = []
    for image in flipped:
        x, y = random.uniform(-0.06, 0.06, 2) * (width, height)
        gain, offset = random.uniform(0.8, 1.2), random.uniform(-25, 25)
        shifted = cv2.warpAffine(image, np.array([[1, 0, x], [0, 1, y]]), (width, height), borderMode=cv2.BORDER_REPLICATE)
        moved.append(np.clip(gain * (shifted.astype(np.float32) - 128) + 128 + offset, 0, 255).astype(np.uint8))
    return np.stack(moved)


def drawn_faces(height_px: int, width_px: int) -> Pixels:
    """Drawn people with every expression, cropped as found, (n, H, W) uint8: to calibrate with where there is no dataset."""
    faces = []
    for seed in range(_DRAWN_PEOPLE):
        scene = Scene(SyntheticOptions(size="320x240", seed=seed))
        for slot in range(7):
            index = round((slot * (HOLD_S + BLEND_S) + 0.3 * HOLD_S) * 30)
            (truth,) = scene.truth(index)
            faces.append(crop_face(luma_of(scene.draw(index)), truth.box, 0.0, height_px, width_px))
    return np.stack(faces)
