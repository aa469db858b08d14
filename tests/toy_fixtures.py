"""The toy dataset, drawn once, and a model trained on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toy import Picture, draw_pictures, write_csv, write_folder, write_votes, write_zip


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    return draw_pictures()


@pytest.fixture(scope="session")
def folder(pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(pictures, tmp_path_factory.mktemp("toy") / "folder")


@pytest.fixture(scope="session")
def zipped(folder: Path) -> Path:
    return write_zip(folder, folder.with_name("toy.zip"))


@pytest.fixture(scope="session")
def table(pictures: list[Picture], folder: Path) -> Path:
    return write_csv(pictures, folder.with_name("fer2013.csv"))


@pytest.fixture(scope="session")
def votes(pictures: list[Picture], folder: Path) -> Path:
    return write_votes(pictures, folder.with_name("votes.csv"))


@pytest.fixture(scope="session")
def toy_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the toy dataset, trained once for all tests, as a user would train it."""
    out, root = tmp_path_factory.mktemp("runs") / "toy_recipe", Path(__file__).parents[1]
    command = [sys.executable, "-m", "train", "--data", folder, "--recipe", root / "tests/toy_recipe.toml", "--out", out]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return out
