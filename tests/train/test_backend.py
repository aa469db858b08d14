"""Training by Keras' backend JAX, in an environment that has no TensorFlow."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy import LABELS

from train.data import audit, load
from train.evaluate import scores_of
from train.pipeline import training_stream
from train.recipe import load_recipe

ROOT = Path(__file__).parents[2]
STUDENT = ROOT / "tests" / "toy_student.toml"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def by_jax(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs Python in a new environment that has JAX and no TensorFlow; gives what it prints."""
    folder = tmp_path_factory.mktemp("jax")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", ROOT / "requirements/jax.txt"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "edge")))}
    own["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")  # the second training compiles nothing

    def run(*arguments: str) -> str:
        environment = {**os.environ, **own}
        done = subprocess.run([python, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with pytest.raises(AssertionError, match="No module named 'tensorflow'"):
        run("-c", "import tensorflow")
    return run


def test_the_command_trains_a_student_without_tensorflow(by_jax: Callable[..., str], folder: Path, toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "toy_recipe").mkdir()
    (tmp_path / "toy_recipe" / "toy_recipe.keras").symlink_to(toy_run / "toy_recipe.keras")
    out = tmp_path / "toy_student"
    command = ["-m", "train", "--data", str(folder), "--recipe", str(STUDENT), "--out", str(out)]
    by_jax(*command, "--epochs", "2")
    assert "epoch 1/3" not in by_jax(*command), "it goes on from a checkpoint of JAX's"
    report = json.loads((out / "metrics.json").read_text())
    assert report["epochs"] == 3
    assert report["provenance"]["backend"] == "jax"
    validation = load(folder, LABELS).splits["validation"]
    scores = scores_of(out / "toy_student.keras", validation.images)  # by TensorFlow, in this process
    assert (scores.argmax(axis=1) == validation.labels).mean() == pytest.approx(report["validation"]["accuracy"], abs=1e-3)


def test_both_backends_see_the_same_pictures(by_jax: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    show = """
import itertools, sys
import numpy as np
from pathlib import Path
from train.data import audit, load
from train.pipeline import training_stream
from train.recipe import load_recipe
recipe, data = load_recipe("small"), load(Path(sys.argv[1]), load_recipe("small").labels)
train = data.splits["train"].keep(audit(data).train_keep)
stream, steps = training_stream(train.images, np.eye(7, dtype=np.float32)[train.labels], recipe)
np.savez(sys.argv[2], *[np.asarray(part) for pair in itertools.islice(stream, steps) for part in pair])
"""
    by_jax("-c", show, str(folder), str(tmp_path / "seen.npz"))
    recipe, data = load_recipe("small"), load(folder, LABELS)
    train = data.splits["train"].keep(audit(data).train_keep)
    stream, steps = training_stream(train.images, np.eye(7, dtype=np.float32)[train.labels], recipe)
    ours = [np.asarray(part) for pair in itertools.islice(stream, steps) for part in pair]
    with np.load(tmp_path / "seen.npz") as theirs:
        assert len(theirs) == len(ours) > 2
        for ours_, theirs_ in zip(ours, theirs.values(), strict=True):
            assert np.abs(ours_ - theirs_).max() < 0.5
