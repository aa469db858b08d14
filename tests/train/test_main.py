from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import one_line
from PIL import Image
from toy import LABELS

from edgefer.model.card import read_card
from train.data import load
from train.evaluate import scores_of
from train.metrics import measure, temperature

ROOT = Path(__file__).parents[2]


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_run_leaves_a_model_with_its_card_figures_and_pictures(toy_run: Path, folder: Path) -> None:
    card = read_card(toy_run / "toy_recipe.keras")
    assert card.labels == LABELS
    assert card.provenance["recipe"] == "toy_recipe"
    assert len(card.provenance["recipe_sha256"]) == len(card.provenance["images_sha256"]) == 64
    assert card.provenance["data"] == folder.name
    assert str(folder) not in json.dumps(card.provenance), "no path of this machine travels in the card"
    report = json.loads((toy_run / "metrics.json").read_text())
    assert report["epochs"] == len(report["history"]) == 50
    assert report["macs"] == sum(report["macs_by_layer"].values())
    assert report["recipe"]["model"]["channels"] == [8, 12, 16, 24]
    assert report["provenance"]["started"] <= report["ended"]
    for name in ("curves", "confusion", "mistakes"):
        assert np.asarray(Image.open(toy_run / f"{name}.png")).std() > 3


def test_a_kill_at_the_very_end_leaves_nothing_half_finished(toy_run: Path, folder: Path, tmp_path: Path) -> None:
    out, ends = tmp_path / "toy_recipe", ("metrics.json", "curves.png", "confusion.png", "toy_recipe.keras")
    shutil.copytree(toy_run, out)
    for name in ends:
        (out / name).unlink()
    killed = "import os; from train import plots; plots.mistakes = lambda *_: os.kill(0, 9); from train.__main__ import main; main()"
    arguments = ["--data", folder, "--recipe", ROOT / "tests/toy_recipe.toml", "--out", out]
    done = subprocess.run([sys.executable, "-c", killed, *map(str, arguments)], cwd=ROOT, check=False, start_new_session=True)
    assert done.returncode == -signal.SIGKILL
    assert [name for name in ends if (out / name).exists()] == [], "publish takes them as they are"


def test_the_model_learned_to_read_people_it_never_saw(toy_run: Path, folder: Path) -> None:
    model = toy_run / "toy_recipe.keras"
    validation = load(folder, LABELS).splits["validation"]
    figures = measure(scores_of(model, validation.images), validation.labels, LABELS)
    assert figures.accuracy >= 0.6, "seven classes: one in seven is chance"
    assert figures.accuracy == pytest.approx(read_card(model).metrics["validation_accuracy"], abs=1e-3)


def test_the_model_file_is_calibrated(toy_run: Path, folder: Path) -> None:
    validation = load(folder, LABELS).splits["validation"]
    divisor = temperature(scores_of(toy_run / "toy_recipe.keras", validation.images), validation.labels)
    assert divisor == pytest.approx(1, abs=0.02)
    assert json.loads((toy_run / "metrics.json").read_text())["temperature"] != pytest.approx(1, abs=0.02)


def test_evaluate_holds_a_model_against_the_taggers_too(toy_run: Path, folder: Path, votes: Path) -> None:
    command = [sys.executable, "-m", "train.evaluate", str(toy_run / "toy_recipe.keras"), str(folder), "--ferplus", str(votes), "--json"]
    figures = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert list(figures) == [
        "validation",
        "validation without repeats",
        "validation, FER+ majority",
        "validation without repeats, FER+ majority",
    ]
    # The toy votes lead to the label itself.
    assert figures["validation, FER+ majority"] == figures["validation"]


def test_evaluate_prints_what_a_model_scores(toy_run: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "train.evaluate", str(toy_run / "toy_recipe.keras"), str(folder)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "validation without repeats" in said
    assert "recall    angry" in said
    assert "fer2013new.csv" in said
    figures = json.loads(subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert set(figures["validation"]) == {"images", "accuracy", "macro_f1", "ece", "recall"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "/nowhere"], "no such file or folder"),
        (["--data", ""], "Kaggle"),
        (["--data", "/nowhere", "--recipe", "huge"], "no recipe 'huge'"),
        (["--data", "/nowhere", "--recipe", "/tmp"], "no recipe '/tmp'"),
    ],
)
def test_bad_input_is_one_clear_line_and_a_failure(arguments: list[str], said: str) -> None:
    done = train(*arguments)
    assert done.returncode == 1
    assert said in one_line(done.stderr)


@pytest.mark.parametrize("backend", ["jax", "nonsense"])
def test_a_backend_that_is_not_there_is_one_clear_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    done = train("--data", str(folder), "--recipe", "tiny", "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert f"train: Keras cannot load its backend {backend} (" in one_line(done.stderr)


def test_missing_votes_are_said_and_training_would_go_on_without(folder: Path, tmp_path: Path) -> None:
    done = train("--data", str(folder), "--ferplus", str(tmp_path / "none.csv"), "--out", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "none.csv: cannot be read" in one_line(done.stderr)


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_epochs_are_one_or_more(folder: Path, count: str) -> None:
    done = train("--data", str(folder), "--epochs", count)
    assert done.returncode == 2
    assert "is not a whole number of 1 or more" in done.stderr


def test_a_run_that_cannot_be_kept_is_refused_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = train("--data", str(folder), "--recipe", "tiny", "--out", str(tmp_path / "file"))
    assert done.returncode == 1
    assert "choose another OUT" in one_line(done.stderr)
