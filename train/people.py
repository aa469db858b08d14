"""The people score: how a model does on what it was trained for, on what people see, and on faces of other collections.

Three parts of equal weight: accuracy on FER2013's validation split (original labels, without repeats), mean recall against what
most of FER+'s ten taggers said of the same pictures, and mean recall over collections that are not FER2013.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.errors import DataError
from edgefer.types import Pixels, Scores
from train.data import SIZE_PX, Dataset, Split, audit, ferplus_majority
from train.metrics import Classes

Scorer = Callable[[Pixels], Scores]
"""Pictures (n, H, W) uint8 -> probabilities (n, K)."""

CROSSET_NAME = "crosset.zip"

LEAST_VOTES = 5
"""FER+ votes, of ten, that make a majority."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Pictures of one collection: images (n, 48, 48) uint8, labels (n,) int."""

    images: Pixels
    labels: Classes


@dataclass(frozen=True, slots=True)
class People:
    """The parts of the score, 0..1, and its standard error."""

    original: float
    """Accuracy on validation without repeats."""
    ferplus: float
    """Mean recall on the same pictures against FER+'s majority."""
    ferplus_accuracy: float
    """Share of those pictures on which the answer is FER+'s majority; no part of the score."""
    sets: dict[str, float]
    """Mean recall on each other collection, over the classes that it has."""
    standard_error: float

    @property
    def cross(self) -> float:
        """Mean recall averaged over the other collections."""
        return float(np.mean(list(self.sets.values())))

    @property
    def score(self) -> float:
        """The mean of the three parts."""
        return (self.original + self.ferplus + self.cross) / 3

    def numbers(self) -> dict[str, float | dict[str, float]]:
        """Score, parts and sets, rounded."""
        named = {
            "score": self.score,
            "original": self.original,
            "ferplus": self.ferplus,
            "ferplus_accuracy": self.ferplus_accuracy,
            "cross": self.cross,
        }
        sets = {name: round(value, 4) for name, value in self.sets.items()}
        return {**{name: round(value, 4) for name, value in named.items()}, "standard_error": round(self.standard_error, 4), "sets": sets}


@dataclass(frozen=True, slots=True)
class Judges:
    """What the people score is measured on: validation without repeats, what FER+'s taggers see in it, and the other collections."""

    validation: Split
    majority: Classes
    """(n,) int; -1 where FER+ has no majority."""
    others: dict[str, Faces]

    def answers(self, scorer: Scorer) -> Answers:
        """What ``scorer`` answers on all of the pictures."""
        return Answers(self, scorer(self.validation.images), {name: scorer(faces.images) for name, faces in self.others.items()})


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's probabilities on the pictures of `Judges`."""

    judges: Judges
    validation: Scores
    others: dict[str, Scores]

    def through(self, change: Callable[[Scores], Scores]) -> Answers:
        """The same answers with every array of probabilities changed, for another prior for example."""
        return Answers(self.judges, change(self.validation), {name: change(scores) for name, scores in self.others.items()})

    @property
    def people(self) -> People:
        """The people score of these answers."""
        truths = {name: (scores, self.judges.others[name].labels) for name, scores in self.others.items()}
        return people(self.validation, self.judges.validation.labels, self.judges.majority, truths)


def judges(data: Dataset, votes: npt.NDArray[np.float32], crosset: Path) -> Judges:
    """What a model of this dataset is measured on, given FER+ votes and the zip of other collections."""
    split = data.splits["validation"].keep(audit(data).validation_unique)
    return Judges(split, sure_majority(split, votes, data.labels), load_crosset(crosset, data.labels))


def people(scores: Scores, labels: Classes, majority: Classes, cross: Mapping[str, tuple[Scores, Classes]]) -> People:
    """The score of probabilities (n, K) on validation without repeats, and of those on each other collection.

    ``labels`` and ``majority`` are (n,) classes; a majority of -1 leaves the picture out of the second part. ``cross`` maps the
    name of a collection to probabilities and classes.
    """
    answers, sure = scores.argmax(axis=1), majority >= 0
    right = answers == labels
    ferplus, ferplus_parts = _mean_recall(answers[sure], majority[sure])
    # A picture counts in both first parts: its two contributions are added before they are squared.
    parts = (right - right.mean()) / len(labels)
    parts[sure] += ferplus_parts
    variance, sets = float(np.sum(parts**2)), {}
    for name, (theirs, truth) in cross.items():
        sets[name], parts = _mean_recall(theirs.argmax(axis=1), truth)
        variance += float(np.sum(parts**2)) / len(cross) ** 2
    return People(float(right.mean()), ferplus, float(np.mean(answers[sure] == majority[sure])), sets, variance**0.5 / 3)


def _mean_recall(answers: Classes, truth: Classes) -> tuple[float, npt.NDArray[np.float64]]:
    """Mean recall over the classes in ``truth`` (n,), and what each picture moves it by, (n,); their squares sum to its variance."""
    right, counts = answers == truth, np.bincount(truth)
    recall = np.bincount(truth, right) / np.maximum(counts, 1)
    classes = np.count_nonzero(counts)
    return float(recall.sum() / classes), (right - recall[truth]) / (counts[truth] * classes)


def sure_majority(split: Split, votes: npt.NDArray[np.float32], labels: Sequence[str]) -> Classes:
    """The class that at least `LEAST_VOTES` FER+ taggers chose for each picture (n,); -1 where there is none, or a tie."""
    most = votes[split.rows].max(axis=1)
    return np.where(most >= LEAST_VOTES, ferplus_majority(split, votes, labels), -1)


def load_crosset(path: Path, labels: Sequence[str]) -> dict[str, Faces]:
    """The collections of a zip of ``<collection>/<class>/<picture>.png``, resized to 48x48, by name.

    Raises `DataError` naming the file or the entry. These faces are for measuring; never train on them.
    """
    found: dict[str, list[tuple[Pixels, int]]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                inside = PurePosixPath(name)
                if inside.suffix.lower() != ".png":
                    continue
                if len(inside.parts) != 3 or inside.parts[1] not in labels:
                    raise DataError(f"{path}: {name}: expected <collection>/<class>/<picture>.png, with a class of {', '.join(labels)}")
                image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
                if image is None:
                    raise DataError(f"{path}: {name}: corrupt picture; get the zip again")
                face = np.asarray(cv2.resize(image, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA), np.uint8)
                found.setdefault(inside.parts[0], []).append((face, labels.index(inside.parts[1])))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; pass the zip of other collections to measure the people score") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a zip ({error})") from None
    if not found:
        raise DataError(f"{path}: no pictures; expected <collection>/<class>/<picture>.png")
    return {name: Faces(np.stack([face for face, _ in faces]), np.array([label for _, label in faces])) for name, faces in found.items()}
