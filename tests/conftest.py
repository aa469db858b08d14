"""Fixtures of all tests. Nothing here needs TensorFlow: tests/edge also runs from the built wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Run

from edgefer.model.card import Card, InputSpec


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trainings and conversions first: at the end, one of them would keep one process busy and the others waiting."""
    heavy = {Path(__file__).parent / name for name in ("convert", "train")}
    items.sort(key=lambda item: item.path.parent not in heavy)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures for development; they are never part of the project."""
    path = Path(os.environ.get("EDGEFER_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("no shared development data here (set EDGEFER_SHARED_DATA)")
    return path


@pytest.fixture
def edgefer(tmp_path: Path) -> Run:
    """The command line as a user runs it: another process, in an empty folder."""

    def run(*arguments: str, cwd: Path = tmp_path, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgefer", *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment, check=False, **more)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture
def card() -> Card:
    return Card(name="toy", input=InputSpec(height_px=48, width_px=48), crop_margin=0.0, quantization="int8", labels=("yes", "no"))
