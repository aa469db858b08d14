"""The people score: its parts, its standard error, and the zip of other collections."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefer.errors import DataError
from train.people import load_crosset, people

LABELS = ("a", "b", "c")


def answers(*classes: int) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[list(classes)]


def test_the_score_is_the_mean_of_three_parts() -> None:
    validation = answers(0, 0, 1, 2)
    cross = {"posed": (answers(0, 1, 1), np.array([0, 1, 0])), "film": (answers(2, 2), np.array([2, 2]))}
    found = people(validation, np.array([0, 0, 1, 0]), np.array([0, 1, -1, 2]), cross)
    assert found.original == pytest.approx(3 / 4)
    assert found.ferplus == pytest.approx((1 + 0 + 1) / 3), "a majority of -1 does not count"
    assert found.ferplus_accuracy == pytest.approx(2 / 3)
    assert found.sets == {"posed": pytest.approx((0.5 + 1) / 2), "film": 1}, "mean recall over the classes that are there"
    assert found.score == pytest.approx((3 / 4 + 2 / 3 + (0.75 + 1) / 2) / 3)


def test_the_standard_error_is_what_repeated_samples_spread() -> None:
    random = np.random.default_rng(4)

    def sample() -> tuple[float, float]:
        truth = random.permutation(np.repeat([0, 1, 2], (300, 60, 40)))
        right = random.uniform(size=400) < np.array([0.9, 0.6, 0.4])[truth]
        scores = answers(*np.where(right, truth, (truth + 1) % 3))
        other = random.permutation(np.repeat([0, 1], (50, 30)))
        theirs = answers(*np.where(random.uniform(size=80) < 0.7, other, 2))
        found = people(scores, truth, truth, {"other": (theirs, other)})
        return found.score, found.standard_error

    scores, errors = np.array([sample() for _ in range(400)]).T
    assert errors.mean() == pytest.approx(scores.std(), rel=0.15)


def write_crosset(path: Path, *names: str) -> Path:
    picture = cv2.imencode(".png", np.full((96, 80), 77, np.uint8))[1].tobytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, picture)
    return path


def test_other_collections_are_read_by_name_and_resized(tmp_path: Path) -> None:
    found = load_crosset(write_crosset(tmp_path / "x.zip", "posed/a/1.png", "posed/c/2.png", "film/b/1.png", "README.md"), LABELS)
    assert sorted(found) == ["film", "posed"]
    assert found["posed"].images.shape == (2, 48, 48)
    assert found["posed"].labels.tolist() == [0, 2]


@pytest.mark.parametrize("name", ["posed/d/1.png", "a/1.png"])
def test_an_entry_that_fits_no_class_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        load_crosset(write_crosset(tmp_path / "x.zip", name), LABELS)


def test_a_missing_or_empty_zip_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.zip"):
        load_crosset(tmp_path / "none.zip", LABELS)
    with pytest.raises(DataError, match="no pictures"):
        load_crosset(write_crosset(tmp_path / "x.zip"), LABELS)
