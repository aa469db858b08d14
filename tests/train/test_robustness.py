from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import in_process, one_line
from toy import LABELS

from train.data import Split, load
from train.robustness import VARIATIONS, main, robustness

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def split(folder: Path) -> Split:
    return load(folder, LABELS).splits["validation"]


def varied(name: str, image: np.ndarray) -> np.ndarray:
    return VARIATIONS[name](image, np.random.default_rng(5))


@pytest.mark.parametrize("name", VARIATIONS)
def test_every_variation_but_the_first_changes_the_picture_and_keeps_its_shape(name: str, split: Split) -> None:
    image = split.images[0]
    found = varied(name, image)
    assert (found.shape, found.dtype) == (image.shape, np.uint8)
    assert np.array_equal(found, image) == (name == "as they are")


def test_darker_and_brighter_shift_by_their_levels_within_0_to_255() -> None:
    image = np.array([[0, 100, 250]], np.uint8)
    assert varied("60 levels darker", image).tolist() == [[0, 40, 190]]
    assert varied("60 levels brighter", image).tolist() == [[60, 160, 255]]


@pytest.mark.parametrize(("name", "pixels"), [("box moved by 5 %", 2.4), ("box moved by 10 %", 4.8)])
def test_a_moved_box_moves_the_face_by_the_same_distance(name: str, pixels: float) -> None:
    image = np.zeros((48, 48), np.uint8)
    image[22:26, 22:26] = 255
    ys, xs = np.nonzero(varied(name, image) > 60)
    assert np.hypot(ys.mean() - 23.5, xs.mean() - 23.5) == pytest.approx(pixels, abs=0.6)


def test_a_larger_box_shows_a_smaller_face() -> None:
    image = np.zeros((48, 48), np.uint8)
    image[9:39, 9:39] = 255
    assert (varied("box 15 % too large", image)[24] > 127).sum() == pytest.approx(30 / 1.15, abs=1)
    assert (varied("box 15 % too small", image)[24] > 127).sum() == pytest.approx(30 * 1.15, abs=1)


def test_what_is_measured_is_repeatable_and_begins_with_the_plain_accuracy(toy_run: Path, split: Split) -> None:
    found = robustness(toy_run / "toy_recipe.keras", split)
    assert list(found) == list(VARIATIONS)
    accuracy = json.loads((toy_run / "metrics.json").read_text())["validation"]["accuracy"]
    assert found["as they are"] == pytest.approx(accuracy, abs=1e-3)
    assert found == robustness(toy_run / "toy_recipe.keras", split)


def test_the_command_prints_a_column_a_model(folder: Path) -> None:
    command = [sys.executable, "-m", "train.robustness", "nano", "small", folder]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "42 images  nano-int8.tflite  small-int8.tflite" in printed
    assert len(printed.splitlines()) == 1 + len(VARIATIONS)


@pytest.mark.parametrize(
    ("arguments", "fact"), [(["small", ""], "Kaggle"), (["small", "/nowhere"], "/nowhere"), (["/no.tflite", "/nowhere"], "/no.tflite")]
)
def test_bad_input_is_one_line(arguments: list[str], fact: str) -> None:
    done = in_process(main, *arguments)
    assert done.returncode == 1
    assert fact in one_line(done.stderr)
