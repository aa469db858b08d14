"""What ``make own`` says about a folder and a model of few pictures: counts, warnings, mistakes, pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgefer.model.classifier import Classifier
from edgefer.types import Pixels, Scores
from train.folder import Folder, common_name
from train.head import Estimate
from train.metrics import Classes
from train.plots import tiles

FEW = 20
"""Pictures of a class below which it is warned."""
_ALIKE = 0.15
"""Share of two classes' pictures that are taken for the other, from which they look alike."""
_SHOWN = 32
"""Pictures of a class on the sheet."""


def counts(folder: Folder) -> list[str]:
    """A line for each class: how many pictures, and how they were got."""
    rows = []
    for label in folder.labels:
        mine = [picture.how for picture in folder.pictures if picture.label == label]
        how = [
            (mine.count(one), words) for one, words in (("photograph", "from photographs"), ("cut", "cut faces"), ("clip", "from clips"))
        ]
        rows.append(f"  {label}: {len(mine):,} pictures ({', '.join(f'{number:,} {words}' for number, words in how if number) or 'none'})")
    return rows


def warnings_of(folder: Folder, groups: Classes) -> list[str]:
    """What makes every figure doubtful: few pictures, or only copies of one shot."""
    found, classes = [], folder.classes
    for index, label in enumerate(folder.labels):
        mine = classes == index
        number, different = int(mine.sum()), len(np.unique(groups[mine]))
        if number < FEW:
            found.append(f"{label}: only {number} pictures; from {FEW} on a class begins to be learned, 100 are good")
        clips = {picture.part.rpartition(" ")[0] for picture in folder.pictures if picture.label == label}
        if len(clips) == 1 and "" not in clips:
            found.append(f"{label}: all of one clip, so the figures below flatter it; film another one, of other people, in other light")
        elif number and different < min(5, number):
            found.append(
                f"{label}: its {number} pictures are {different} different shots; the figures below flatter it. Take some in other light, "
                "on another day, of other people"
            )
    return found


def alike(estimate: Estimate, classes: Classes, labels: tuple[str, ...]) -> list[str]:
    """Pairs of classes that are often taken for each other."""
    answers = estimate.scores.argmax(axis=1)
    confused = np.zeros((len(labels), len(labels)))
    np.add.at(confused, (classes, answers), 1)
    share = confused / np.maximum(confused.sum(axis=1, keepdims=True), 1)
    found = []
    for one in range(len(labels)):
        for other in range(one + 1, len(labels)):
            if (share[one, other] + share[other, one]) / 2 >= _ALIKE:
                a, b = labels[one], labels[other]
                found.append(
                    f"{a} and {b} look alike to it ({100 * share[one, other]:.0f} % of {a} is taken for {b}, "
                    f"{100 * share[other, one]:.0f} % the other way): more pictures of both help, or one class for both"
                )
    return found


def shipped_answers(folder: Folder, held: npt.NDArray[np.bool_], scores: Scores) -> list[str]:
    """How the default model does on the held-back pictures of classes that it has too, beside the new one."""
    classifier = Classifier()
    theirs = [common_name(label) for label in folder.labels]
    both = [index for index, label in enumerate(theirs) if label in classifier.labels]
    classes = folder.classes[held]
    of_both = np.isin(classes, both)
    if not of_both.any():
        return []
    spec, chosen = classifier.card.input, folder.images[held][of_both]
    rim = (chosen.shape[1] - spec.width_px) // 2
    answers = classifier(chosen[:, rim:-rim, rim:-rim]).argmax(axis=1)
    right = np.mean([classifier.labels[answer] == theirs[index] for answer, index in zip(answers, classes[of_both], strict=True)])
    mine = np.mean(scores.argmax(axis=1)[of_both] == classes[of_both])
    return [
        f"of {', '.join(folder.labels[index] for index in both)} (pictures held back) the shipped model {classifier.card.name} "
        f"recognises {100 * right:.0f} %, yours {100 * mine:.0f} %"
    ]


def sheet(images: Pixels, classes: Classes, held: npt.NDArray[np.bool_], labels: tuple[str, ...], path: Path) -> None:
    """What it learns from, and what it is checked on: some pictures of each class. Shows faces: do not publish it."""
    rows = []
    for index, label in enumerate(labels):
        for checked, words in ((False, "to learn from"), (True, "to check")):
            chosen = np.flatnonzero((classes == index) & (held == checked))
            at = np.unique(np.linspace(0, max(0, len(chosen) - 1), min(_SHOWN, len(chosen))).round().astype(int))
            rows.append((f"{label}: {len(chosen)} {words}", images[chosen[at]]))
    tiles(rows, _SHOWN, path)
