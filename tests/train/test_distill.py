from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
from command import in_process, one_line
from toy import LABELS

from edgefer.model.card import read_card
from train import __main__ as command
from train.data import Split, load
from train.distill import ask
from train.evaluate import open_scorer
from train.pipeline import training_stream
from train.recipe import Recipe, load_recipe

STUDENT = Path(__file__).parents[1] / "toy_student.toml"


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe(str(STUDENT))


@pytest.fixture(scope="module")
def split(folder: Path) -> Split:
    return load(folder, LABELS).splits["train"]


def labels_of(split: Split) -> np.ndarray:
    return np.eye(7, dtype=np.float32)[split.labels]


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_the_target_is_the_teachers_answer_to_the_view_that_the_student_gets(
    toy_run: Path, recipe: Recipe, split: Split, tmp_path: Path, mixup: float
) -> None:
    sure = msgspec.structs.replace(recipe, mixup=mixup, distill=msgspec.structs.replace(recipe.distill, share=1.0))
    said = ask(sure, split.images, [toy_run / "toy_recipe.keras"], tmp_path)
    assert said.shape == (2, len(split), 7)
    stream, steps = training_stream(split.images, labels_of(split), sure, soft=said)
    teacher = open_scorer(toy_run / "toy_recipe.keras")
    for x, y in itertools.islice(stream, 2 * steps):
        # Rounding moves a picture by half a grey level at most.
        assert np.abs(teacher(np.asarray(x)[..., 0]) - y).max() < 0.02


def test_views_repeat_in_the_same_order(toy_run: Path, recipe: Recipe, split: Split, tmp_path: Path) -> None:
    said = ask(recipe, split.images, [toy_run / "toy_recipe.keras"], tmp_path)
    stream, steps = training_stream(split.images, labels_of(split), recipe, soft=said)
    pixels = [np.asarray(x) for x, _ in itertools.islice(stream, 3 * steps)]
    assert np.array_equal(pixels[0], pixels[2 * steps])
    assert not np.array_equal(pixels[0], pixels[steps])


def test_labels_and_teachers_have_their_shares_of_the_target(recipe: Recipe, split: Split) -> None:
    silent = np.zeros((2, len(split), 7), np.float32)
    stream, steps = training_stream(split.images, labels_of(split), msgspec.structs.replace(recipe, mixup=1.0), soft=silent)
    targets = np.concatenate([y for _, y in itertools.islice(stream, steps)])
    assert targets.sum(axis=1) == pytest.approx(1 - recipe.distill.share)
    assert ((targets > 1e-3).sum(axis=1) == 2).any(), "a blend of two labels"
    stream, _ = training_stream(split.images, labels_of(split), recipe, soft=silent + np.eye(7, dtype=np.float32)[3])
    _, targets = next(iter(stream))
    assert targets[:, 3].min() == pytest.approx(recipe.distill.share)


def test_a_teacher_answers_once_and_again_when_the_views_change(
    toy_run: Path, recipe: Recipe, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(how: Recipe) -> str:
        ask(how, split.images, [toy_run / "toy_recipe.keras"], tmp_path)
        return capsys.readouterr().out

    assert "asking toy_recipe: view 2/2" in asked(recipe)
    assert asked(recipe) == ""
    other = msgspec.structs.replace(recipe, augment=msgspec.structs.replace(recipe.augment, shift=0.1))
    assert "asking" in asked(other)
    kept = max(tmp_path.glob("toy_recipe-*.npz"), key=lambda file: file.stat().st_mtime_ns)
    kept.write_bytes(kept.read_bytes()[:1000])
    assert "asking" in asked(other), "a damaged file is asked for again"


def train(out: Path, folder: Path, recipe: Path = STUDENT) -> subprocess.CompletedProcess[str]:
    return in_process(command.main, "--data", folder, "--recipe", recipe, "--out", out)


def test_a_student_is_trained_by_the_same_command(toy_run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "toy_recipe").symlink_to(toy_run)
    done = train(tmp_path / "toy_student", folder)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "toy_student" / "metrics.json").read_text())
    assert report["epochs"] == 3
    card = read_card(tmp_path / "toy_student" / "toy_student.keras")
    assert len(card.provenance["teacher toy_recipe"]) == 64


@pytest.mark.slow
def test_a_missing_teacher_is_trained_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "master.toml").write_text("epochs = 1\n[model]\nchannels = [4, 4]\nblocks = [1]\n")
    (tmp_path / "pupil.toml").write_text((tmp_path / "master.toml").read_text() + '[distill]\nteachers = ["master"]\nviews = 1\n')
    done = train(tmp_path / "runs" / "pupil", folder, tmp_path / "pupil.toml")
    assert done.returncode == 0, done.stderr
    assert any("pupil" in line and "master" in line for line in done.stdout.splitlines())
    assert (tmp_path / "runs" / "master" / "master.keras").is_file()
    assert (tmp_path / "runs" / "pupil" / "pupil.keras").is_file()


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ('[distill]\nteachers = ["nobody"]', "'nobody'"),
        ('start = "pupil"', "pupil -> pupil"),
    ],
)
def test_a_recipe_that_builds_on_an_unknown_one_or_on_itself_is_one_line(folder: Path, tmp_path: Path, text: str, fact: str) -> None:
    (tmp_path / "pupil.toml").write_text(text)
    done = train(tmp_path / "runs" / "pupil", folder, tmp_path / "pupil.toml")
    assert done.returncode == 1
    assert fact in one_line(done.stderr)
    assert not (tmp_path / "runs").exists()


def test_a_published_teacher_is_used_where_there_is_no_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MODELS", tmp_path / "models")
    own, published = tmp_path / "runs/master/master.keras", tmp_path / "models/master/master.keras"
    assert command.run_of("master", tmp_path / "runs/pupil") == own, "neither is there: the one that training would make"
    for path in (published, own):
        path.parent.mkdir(parents=True)
        path.touch()
        assert command.run_of("master", tmp_path / "runs/pupil") == path
