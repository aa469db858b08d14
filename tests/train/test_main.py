from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import in_process, one_line
from PIL import Image
from toy import LABELS

from edgefer.files import only_user
from edgefer.model.card import read_card
from train.__main__ import main
from train.data import load
from train.evaluate import main as evaluate
from train.evaluate import scores_of
from train.metrics import measure, temperature

ROOT = Path(__file__).parents[2]


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    return in_process(main, *arguments)


def command(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The same as a user runs it."""
    return subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_run_leaves_a_model_with_its_card_figures_and_pictures(toy_run: Path, folder: Path) -> None:
    card = read_card(toy_run / "toy_recipe.keras")
    assert card.labels == LABELS
    assert card.provenance["recipe"] == "toy_recipe"
    assert len(card.provenance["recipe_sha256"]) == len(card.provenance["images_sha256"]) == 64
    assert card.provenance["data"] == folder.name
    assert str(folder) not in json.dumps(card.provenance), "no path of this machine travels in the card"
    report = json.loads((toy_run / "metrics.json").read_text())
    assert report["epochs"] == len(report["history"]) == 16
    assert report["macs"] == sum(report["macs_by_layer"].values())
    assert report["recipe"]["model"]["channels"] == [8, 16, 24]
    assert report["provenance"]["started"] <= report["ended"]
    for name in ("curves", "confusion", "mistakes"):
        assert np.asarray(Image.open(toy_run / f"{name}.png")).std() > 3


def test_a_kill_at_the_end_of_a_run_leaves_nothing_half_finished(toy_run: Path, folder: Path, tmp_path: Path) -> None:
    out, ends = tmp_path / "toy_recipe", ("metrics.json", "curves.png", "confusion.png", "toy_recipe.keras")
    shutil.copytree(toy_run, out)
    for name in ends:
        (out / name).unlink()
    killed = "import os; from train import plots; plots.mistakes = lambda *_: os.kill(0, 9); from train.__main__ import main; main()"
    arguments = ["--data", folder, "--recipe", ROOT / "tests/toy_recipe.toml", "--out", out]
    done = subprocess.run([sys.executable, "-c", killed, *map(str, arguments)], cwd=ROOT, check=False, start_new_session=True)
    assert done.returncode == -signal.SIGKILL
    assert [name for name in ends if (out / name).exists()] == [], "publish takes them as they are"


def test_the_model_recognises_expressions_of_people_who_are_not_in_training(toy_run: Path, folder: Path) -> None:
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


def test_evaluate_compares_a_model_with_the_taggers_too(toy_run: Path, folder: Path, votes: Path) -> None:
    done = in_process(evaluate, toy_run / "toy_recipe.keras", folder, "--ferplus", votes, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == [
        "validation",
        "validation without repeats",
        "validation, FER+ majority",
        "validation without repeats, FER+ majority",
    ]
    assert set(figures["validation"]) == {"images", "accuracy", "macro_f1", "ece", "recall"}
    # The toy votes lead to the label itself.
    assert figures["validation, FER+ majority"] == figures["validation"]


def test_evaluate_prints_the_scores_of_a_model(folder: Path) -> None:
    done = command("train.evaluate", "nano", folder)
    assert done.returncode == 0, done.stderr
    assert "validation without repeats" in done.stdout
    assert all(label in done.stdout for label in LABELS)
    assert "fer2013new.csv" in done.stdout, "the file that would add the taggers' votes"


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["--data", "/nowhere"], "/nowhere"),
        (["--data", ""], "Kaggle"),
        (["--data", "/nowhere", "--recipe", "huge"], "'huge'"),
        (["--data", "/nowhere", "--recipe", "/tmp"], "'/tmp'"),
    ],
)
def test_bad_input_is_one_clear_line_and_a_failure(arguments: list[str], fact: str) -> None:
    done = train(*arguments)
    assert done.returncode == 1
    assert fact in one_line(done.stderr)


def test_the_command_fails_in_one_line() -> None:
    done = command("train", "--data", "/nowhere")
    assert done.returncode == 1
    assert "/nowhere" in one_line(done.stderr)


@pytest.mark.parametrize("backend", ["jax", "nonsense"])
def test_a_backend_that_is_not_installed_is_one_clear_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    done = command("train", "--data", folder, "--recipe", "tiny", "--out", tmp_path / "run")
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert f"backend {backend} " in line
    assert "KERAS_BACKEND" in line


def test_missing_votes_are_named(folder: Path, tmp_path: Path) -> None:
    done = train("--data", folder, "--ferplus", tmp_path / "none.csv", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "none.csv" in one_line(done.stderr)


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_epochs_are_one_or_more(folder: Path, count: str) -> None:
    done = train("--data", folder, "--epochs", count)
    assert done.returncode == 2
    assert f"--epochs: '{count}'" in done.stderr


def test_a_folder_in_which_another_training_runs_is_refused(folder: Path, tmp_path: Path) -> None:
    with only_user(tmp_path):
        done = train("--data", folder, "--recipe", ROOT / "tests/toy_recipe.toml", "--out", tmp_path)
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert "another training" in line
    assert str(tmp_path) in line


def test_a_run_that_cannot_be_kept_is_refused_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = train("--data", folder, "--recipe", "tiny", "--out", tmp_path / "file")
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert str(tmp_path / "file") in line
    assert "OUT" in line
