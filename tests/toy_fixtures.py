"""The toy dataset, a model trained on it, and its int8 file: each made once in a session."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import Picture, draw_pictures, write_csv, write_folder, write_votes, write_zip

ROOT = Path(__file__).parents[1]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The path ``name``, which ``make`` writes once for all workers of pytest-xdist. Tests only read it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has its own folder in the folder of the session
    with (root / f"{name}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if not lock.read():
            make(root / name)
            lock.write("made")
    return root / name


def command(module: str, *arguments: object) -> None:
    """Run ``python -m module`` as a user does; it must succeed."""
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    return draw_pictures()


@pytest.fixture(scope="session")
def folder(pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "folder", lambda path: write_folder(pictures, path))


@pytest.fixture(scope="session")
def zipped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "toy.zip", lambda path: write_zip(folder, path))


@pytest.fixture(scope="session")
def table(pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "fer2013.csv", lambda path: write_csv(pictures, path))


@pytest.fixture(scope="session")
def votes(pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "votes.csv", lambda path: write_votes(pictures, path))


@pytest.fixture(scope="session")
def toy_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the toy dataset, trained by the command."""
    recipe = ROOT / "tests/toy_recipe.toml"
    return made_once(tmp_path_factory, "toy_recipe", lambda out: command("train", "--data", folder, "--recipe", recipe, "--out", out))


@pytest.fixture(scope="session")
def toy_int8(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 file of the toy model, converted by the command."""
    model = toy_run / "toy_recipe.keras"
    return made_once(
        tmp_path_factory,
        "toy_recipe-int8.tflite",
        lambda out: command("convert", model, "--max-loss", 10, "--min-agreement", 0.8, "--out", out),
    )
