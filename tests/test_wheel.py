"""The runtime as a user installs it: the wheel in its own environment, without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV") and not key.startswith("PYTEST_")}
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("edgefer-*.whl")
    return path


@pytest.fixture(scope="module")
def lean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new environment with the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("lean")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    python = folder / "bin" / "python"
    install(python, "-r", ROOT / "requirements/edge.txt", wheel)
    return python


def install(python: Path, *packages: object) -> None:
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages, cwd=python.parent)


def test_the_wheel_holds_the_runtime_and_the_default_model_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"edgefer"}
    for needed in (
        "models/SHA256SUMS",
        "models/golden.json",
        "models/small/small-int8.tflite",
        "models/nano/nano-int8.tflite",
        "haarcascade_frontalface_default.xml",
    ):
        assert f"edgefer/assets/{needed}" in names
    for needed in ("deploy/config.toml", "deploy/grafana.json", "web/index.html"):
        assert f"edgefer/assets/{needed}" in names
    requires = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert not any("tensorflow" in line or "keras" in line for line in requires)
    assert wheel.stat().st_size <= 1_500_000


@pytest.mark.slow
def test_every_edge_test_passes_from_the_wheel_without_tensorflow(lean_python: Path, tmp_path: Path) -> None:
    pins = {line.partition("==")[0]: line for line in (ROOT / "requirements/dev.txt").read_text().splitlines()}
    install(lean_python, pins["pytest"], pins["pytest-xdist"], pins["hypothesis"])
    where = run(lean_python, "-c", "import edgefer; print(edgefer.__file__)", cwd=tmp_path)
    assert "site-packages" in where
    missing = "import importlib.util as u; print([n for n in ('tensorflow', 'keras', 'train', 'convert') if u.find_spec(n)])"
    assert run(lean_python, "-c", missing, cwd=tmp_path).strip() == "[]"
    options = ["-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider", "-n", "auto", "--dist", "loadfile"]
    output = run(lean_python, "-m", "pytest", *options, ROOT / "tests" / "edge", cwd=tmp_path)
    assert " passed" in output
    assert "failed" not in output


def test_the_installed_command_runs_the_demonstration_with_the_model_inside(lean_python: Path, tmp_path: Path) -> None:
    command = lean_python.parent / "edgefer"
    run(command, "run", "--source", "synthetic:?seconds=1&paced=false", "--sink", "jsonl:out.jsonl", cwd=tmp_path)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 30
    assert "site-packages" in run(command, "show", cwd=tmp_path)
