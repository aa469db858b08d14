"""What a run learns from: the pictures that are kept, their targets, faces without labels, and what the run is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgefer.errors import SettingsError
from edgefer.types import Pixels
from train.data import (
    FERPLUS_NAME,
    UNLABELLED_NAME,
    Audit,
    Dataset,
    Split,
    audit,
    faces,
    find_beside,
    find_ferplus,
    load,
    load_ferplus,
    load_unlabelled,
    targets,
    with_rim,
)
from train.people import CROSSET_NAME, Judges, judges
from train.recipe import Recipe

LEAST_FREQUENCY = 1e-4
"""A class without training pictures counts as this rare: its logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Material:
    """Pictures with targets to train on, and pictures to measure on."""

    data: Dataset
    found: Audit
    votes_path: Path | None
    images: Pixels
    """(n, 48, 48), or with a rim (n, 60, 60); the last `unlabelled` have no label."""
    wanted: npt.NDArray[np.float32]
    """(n, K) targets; zero where there is no label."""
    unlabelled: int
    validation: Split
    """Validation without repeats."""
    truth: npt.NDArray[np.float32]
    """(n, K): its labels."""
    judged_by: Judges | None
    """What the people score is measured on, where FER+ votes and other collections are at hand."""

    @property
    def frequency(self) -> npt.NDArray[np.float64]:
        """Each class's share of the labelled pictures' targets, (K,)."""
        shares = np.maximum(self.wanted[: len(self.wanted) - self.unlabelled].mean(axis=0, dtype=np.float64), LEAST_FREQUENCY)
        return np.asarray(shares / shares.sum())


def gather(recipe: Recipe, path: Path, ferplus: str | None, faces_zip: str | None) -> Material:
    """Read and check what ``recipe`` needs from the dataset at ``path`` and beside it; prints what is found and what is missing."""
    data = load(path, recipe.labels)
    found = audit(data)
    print("\n".join(found.lines), flush=True)
    votes_path = find_ferplus(path, ferplus) if recipe.ferplus or ferplus else None
    votes = load_ferplus(votes_path) if votes_path else None
    if votes_path:
        print(f"FER+ votes: {votes_path}")
    elif recipe.ferplus:
        print(f"no FER+ votes: training on the original labels alone; with {FERPLUS_NAME} of microsoft/FERPlus the recipe does better")
    train = data.splits["train"].keep(found.train_keep)
    if votes is not None and recipe.ferplus:
        kept = faces(train, votes)
        print(f"{int((~kept).sum())} training images that FER+'s taggers call no face are left out")
        train = train.keep(kept)
    validation = data.splits["validation"].keep(found.validation_unique)
    images, wanted = train.images, targets(train, recipe.labels, votes, recipe.ferplus)
    unlabelled = _unlabelled(recipe, path, faces_zip)
    more = "" if unlabelled is None else f" and {len(unlabelled):,} faces without labels"
    print(f"recipe {recipe.name}: training on {len(train):,} images{more}, choosing on {len(validation):,}", flush=True)
    if unlabelled is not None:
        images = np.concatenate([with_rim(images), unlabelled])
        wanted = np.concatenate([wanted, np.zeros((len(unlabelled), wanted.shape[1]), np.float32)])
    crosset = find_beside(path, CROSSET_NAME)
    return Material(
        data=data,
        found=found,
        votes_path=votes_path,
        images=images,
        wanted=wanted,
        unlabelled=0 if unlabelled is None else len(unlabelled),
        validation=validation,
        truth=targets(validation, recipe.labels, None, 0),
        judged_by=judges(data, votes, crosset) if votes is not None and crosset else None,
    )


def _unlabelled(recipe: Recipe, path: Path, faces_zip: str | None) -> Pixels | None:
    """Faces without labels for a recipe that wants some; None where there are none, which is printed."""
    if not recipe.distill.unlabelled:
        return None
    if not recipe.distill.teachers or recipe.mixup:
        raise SettingsError(f"{recipe.name}: faces without labels need distill.teachers to label them, and mixup = 0")
    found = find_beside(path, UNLABELLED_NAME, faces_zip)
    if found is None:
        print(f"no {UNLABELLED_NAME}: training without unlabelled faces; any zip of face crops will do (--faces)")
        return None
    return load_unlabelled(found)
