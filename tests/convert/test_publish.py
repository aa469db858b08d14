from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import in_process, one_line
from PIL import Image
from toy import LABELS

from convert.__main__ import main as convert
from convert.publish import main
from edgefer.model.card import read_card
from edgefer.model.classifier import Classifier
from edgefer.model.golden import golden_answers
from train.data import FERPLUS_NAME

ROOT = Path(__file__).parents[2]


def publish(*arguments: object) -> subprocess.CompletedProcess[str]:
    return in_process(main, *arguments)


@pytest.fixture(scope="module")
def finished(toy_run: Path, toy_int8: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its int8 file."""
    folder = tmp_path_factory.mktemp("publish") / "toy_recipe"
    shutil.copytree(toy_run, folder)
    shutil.copy(toy_int8, folder)
    return folder


@pytest.fixture(scope="module")
def data(folder: Path, votes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy pictures with their votes in the same folder, where people put them."""
    copied = tmp_path_factory.mktemp("data") / "fer2013"
    shutil.copytree(folder, copied)
    shutil.copy(votes, copied / FERPLUS_NAME)
    return copied


@pytest.fixture(scope="module")
def models(finished: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published model, by the command as a user runs it."""
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "convert.publish", finished, "--data", data, "--models", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_published_model_has_its_files_figures_and_pictures_and_no_picture_of_the_dataset(models: Path) -> None:
    found = {path.name for path in (models / "toy_recipe").iterdir()}
    pictures = {"confusion.png", "coverage.png", "curves.png", "reliability.png", "robustness.png"}
    assert found == {"README.md", "metrics.json", "toy_recipe.keras", "toy_recipe-int8.tflite", *pictures}
    for name in pictures:
        assert np.asarray(Image.open(models / "toy_recipe" / name)).std() > 3


def test_the_model_card_has_the_measured_figures(models: Path) -> None:
    card, figures = (models / "toy_recipe" / "README.md").read_text(), json.loads((models / "toy_recipe" / "metrics.json").read_text())
    int8 = figures["files"]["toy_recipe-int8.tflite"]
    assert f"{100 * int8['views']['validation without repeats']['accuracy']:.2f} %" in card
    assert f"{100 * int8['robustness']['blur, sigma 2 px']:.1f} %" in card
    assert all(f"| {label} |" in card for label in LABELS)
    assert all(f"| {layer} |" in card for layer in figures["macs_by_layer"])
    assert f"{figures['uncertain_below']:.2f} the daemon says" in card
    assert "{{" not in card
    assert "{%" not in card
    assert figures["uncertain_below"] == read_card(models / "toy_recipe" / "toy_recipe-int8.tflite").uncertain_below


def test_the_digests_are_those_of_the_files(models: Path) -> None:
    lines = (models / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 2
    for digest, path in (line.split("  ") for line in lines):
        assert hashlib.sha256((models / path).read_bytes()).hexdigest() == digest


def test_the_golden_answers_are_those_of_the_published_file(models: Path) -> None:
    path = models / "toy_recipe" / "toy_recipe-int8.tflite"
    kept = json.loads((models / "golden.json").read_text())
    assert kept == {hashlib.sha256(path.read_bytes()).hexdigest(): golden_answers(Classifier(path))}


def test_the_comparison_lists_every_file(models: Path) -> None:
    page = (models / "README.md").read_text()
    assert "| `toy_recipe-int8.tflite` |" in page
    assert "| `toy_recipe.keras` |" in page


@pytest.mark.slow
def test_the_reports_network_is_compared_with_every_model_published_before_or_after_it(
    models: Path, toy_run: Path, data: Path, tmp_path: Path
) -> None:
    both = tmp_path / "models"
    shutil.copytree(models, both)
    report = tmp_path / "report"
    shutil.copytree(toy_run, report)
    (report / "toy_recipe.keras").rename(report / "report.keras")
    card = both / "toy_recipe" / "README.md"
    assert "report-int8.tflite" not in card.read_text()
    chart = card.with_name("robustness.png").read_bytes()
    for done in (
        in_process(convert, report / "report.keras", "--max-loss", 10, "--min-agreement", 0.8),
        publish(report, "--models", both, "--data", data),
    ):
        assert done.returncode == 0, done.stderr
    variation = json.loads((both / "report" / "metrics.json").read_text())["files"]["report-int8.tflite"]["robustness"]
    assert f"| {100 * variation['blur, sigma 2 px']:.1f} % |" in card.read_text()
    assert "| `report-int8.tflite` | `toy_recipe-int8.tflite` |" in card.read_text()
    assert card.with_name("robustness.png").read_bytes() != chart


def test_a_published_model_is_replaced_only_when_asked_and_one_made_by_hand_is_left_out_of_the_comparison(
    models: Path, finished: Path, data: Path
) -> None:
    before = (models / "toy_recipe" / "metrics.json").stat().st_mtime_ns
    done = publish(finished, "--data", data, "--models", models)
    assert done.returncode == 1
    assert "--replace" in one_line(done.stderr)
    assert (models / "toy_recipe" / "metrics.json").stat().st_mtime_ns == before
    # What a kill leaves while the old model is being removed.
    (models / ".old-toy_recipe").mkdir()
    (models / ".old-toy_recipe" / "metrics.json").touch()
    (models / "by_hand").mkdir()
    (models / "by_hand" / "metrics.json").write_text('{"name": "by_hand", "macs": 1}')
    done = publish(finished, "--data", data, "--models", models, "--replace")
    assert done.returncode == 0, done.stderr
    assert (models / "toy_recipe" / "metrics.json").stat().st_mtime_ns > before
    assert not list(models.glob(".*"))
    assert "| `toy_recipe-int8.tflite` |" in (models / "README.md").read_text()


def test_a_run_with_a_missing_figure_is_one_line(finished: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "toy_recipe")
    figures = json.loads((tmp_path / "toy_recipe" / "metrics.json").read_text())
    del figures["temperature"]
    (tmp_path / "toy_recipe" / "metrics.json").write_text(json.dumps(figures))
    done = publish(tmp_path / "toy_recipe", "--data", data, "--models", tmp_path / "models")
    assert done.returncode == 1
    assert "metrics.json" in one_line(done.stderr)
    assert not (tmp_path / "models" / "toy_recipe").exists()


def test_missing_input_is_one_line_and_nothing_is_published(finished: Path, folder: Path, tmp_path: Path) -> None:
    for run_folder, pictures, fact in (
        (tmp_path / "none", folder, "make train RECIPE=none"),
        (finished, folder, FERPLUS_NAME),
        (finished, "/nowhere", "/nowhere"),
    ):
        done = publish(run_folder, "--data", pictures, "--models", tmp_path / "models")
        assert done.returncode == 1
        assert fact in one_line(done.stderr)
    assert not (tmp_path / "models").exists()
