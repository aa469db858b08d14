"""The bundle for the Pi under emulated boards: what it holds is enough, and answers as here."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from pi.container import call, make_bundle

from edgefer.sources.synthetic import Scene, SyntheticOptions

emulation = pytest.importorskip("pi.emulation")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    scene = Scene(SyntheticOptions(size="320x240"))
    for index in range(4):
        cv2.imwrite(str(folder / f"face{index}.png"), scene.draw(150 * index + 20))
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    emulation.needs("mmdebstrap", "qemu-aarch64-static")
    folder = tmp_path_factory.mktemp("bundle")
    subprocess.run(["tar", "xf", make_bundle("aarch64"), "--strip-components=1", "-C", folder], check=True)
    return folder / "wheels"


def installed(wheels: Path, release: str, to: Path) -> Path:
    """The bundle's wheels for a release's Python in a folder: pip takes nothing from anywhere else."""
    python = emulation.PYTHONS[release]
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in emulation.MANYLINUX]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        f"--find-links={wheels}",
        f"--target={to}",
        "--only-binary=:all:",
    ]
    where = [f"--python-version={python}", "--implementation=cp", f"--abi=cp{python.replace('.', '')}", "--abi=abi3", "--abi=none"]
    # Markers are this machine's: what edgefer itself asks of an x86-64 is not asked of the bundle.
    names = ["msgspec", "ai-edge-litert", "numpy", "opencv-python-headless"]
    done = call(*pip, *where, "--platform=manylinux2014_aarch64", *platforms, *names)
    assert done.returncode == 0, done.stderr
    done = call(*pip, "--upgrade", "--no-deps", *wheels.glob("edgefer-*.whl"))
    assert done.returncode == 0, done.stderr
    return to


def answers(command: list[str], pictures: Path, **more: str) -> list[dict[str, Any]]:
    done = call(
        *command, "-m", "edgefer", "run", "--source", f"images:{pictures}", "--sink", "jsonl:-", cwd="/", env={**os.environ, **more}
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares x86-64 with an emulated aarch64")
@pytest.mark.parametrize(
    ("release", "board", "runtime"),
    [
        ("bookworm", "cortex-a53", "ai_edge_litert"),
        ("trixie", "cortex-a76", "ai_edge_litert"),
        ("bookworm", "cortex-a72", "tflite_runtime"),
    ],
)
def test_the_bundle_alone_is_fit_and_answers_as_here(
    wheels: Path, pictures: Path, tmp_path: Path, release: str, board: str, runtime: str
) -> None:
    site = installed(wheels, release, tmp_path / "site")
    if runtime == "tflite_runtime":
        subprocess.run(["rm", "-r", site / "ai_edge_litert"], check=True)
        folders = [emulation.site(release, "aarch64", "tflite-runtime==2.14.0", alone=True), site]
    else:
        folders = [site]
    root = emulation.root(release, "arm64")
    command = emulation.emulated(root, emulation.BOARDS[board], release, folders)
    done = call(*command, "-m", "edgefer", "doctor", "--json", cwd="/")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["runtime"]["found"] == runtime
    assert checks["model"]["state"] == "pass", checks["model"]
    assert checks["xnnpack"]["state"] == ("pass" if runtime == "ai_edge_litert" else "warn")
    there, here = answers(command, pictures), answers([sys.executable], pictures, PYTHONPATH=str(emulation.REPOSITORY / "edge"))
    assert any(line["faces"] for line in here)
    emulation.alike(here, there)
