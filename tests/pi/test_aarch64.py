"""The same pictures here and on emulated boards, with every runtime there is: the same faces, labels and, within 1/256, scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge.sources.synthetic import Scene, SyntheticOptions
from pi.emulation import BOARDS, LIBCAMERA, edge_requirements, emulated, needs, root, site

PLAIN = "import sys; from edge.__main__ import main; sys.exit(main(sys.argv[1:]))"
WITHOUT_XNNPACK = (
    "import functools, ai_edge_litert.interpreter as litert; none = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES; "
    f"litert.Interpreter = functools.partial(litert.Interpreter, experimental_op_resolver_type=none); {PLAIN}"
)
OLD_RUNTIME = ("tflite-runtime==2.14.0", "numpy==1.26.4", "opencv-python-headless==4.11.0.86", "msgspec==0.22.0")
"""What a 32-bit Bookworm has, here in 64 bits."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, two drawn faces each, with different expressions."""
    folder = tmp_path_factory.mktemp("faces")
    scene = Scene(SyntheticOptions(size="480x320", faces=2))
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), scene.draw(110 * index))
    return folder


def observations(command: list[str], faces: Path) -> list[dict[str, Any]]:
    arguments = ["run", "--source", f"images:{faces}", "--sink", "jsonl:-"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def checks(command: list[str]) -> dict[str, str]:
    """What ``edgefer doctor`` finds, by name."""
    done = subprocess.run([*command, "doctor", "--json"], capture_output=True, text=True, timeout=300, check=False)
    return {check["name"]: f"{check['state']}: {check['found']}" for check in json.loads(done.stdout)["checks"]}


@pytest.fixture(scope="module")
def here(faces: Path) -> list[dict[str, Any]]:
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    found = observations([sys.executable, "-c", PLAIN], faces)
    assert [len(line["faces"]) for line in found] == [2] * 6
    return found


@pytest.mark.parametrize(
    ("processor", "release", "program", "runtime", "xnnpack"),
    [
        ("cortex-a53", "trixie", PLAIN, "ai_edge_litert", "pass"),
        ("cortex-a76", "trixie", PLAIN, "ai_edge_litert", "pass"),
        ("cortex-a72", "trixie", WITHOUT_XNNPACK, "ai_edge_litert", "warn"),
        ("cortex-a72", "bookworm", PLAIN, "tflite_runtime", "warn"),
    ],
    ids=["LiteRT, A53", "LiteRT, A76", "LiteRT without XNNPACK, A72", "tflite-runtime, A72"],
)
def test_an_emulated_board_gives_the_same_answers(
    processor: str, release: str, program: str, runtime: str, xnnpack: str, here: list[dict[str, Any]], faces: Path
) -> None:
    needs("qemu-aarch64-static", "mmdebstrap")
    old = release == "bookworm"
    base = root("bookworm", "arm64") if old else root("trixie", "arm64", *LIBCAMERA)
    wheels = site(release, "aarch64", *(OLD_RUNTIME if old else edge_requirements()))
    command = [*emulated(base, BOARDS[processor], release, [wheels]), "-c", program]
    found = checks(command)
    assert runtime in found["runtime"]
    assert found["xnnpack"].startswith(xnnpack)
    there = observations(command, faces)
    assert len(there) == len(here)
    for ours, theirs in zip(here, there, strict=True):
        assert [face["expression"] for face in theirs["faces"]] == [face["expression"] for face in ours["faces"]]
        for mine, other in zip(ours["faces"], theirs["faces"], strict=True):
            assert other["box"] == mine["box"]
            for label, score in mine["scores"].items():
                # Four decimals are written.
                assert abs(other["scores"][label] - score) <= 1 / 256 + 0.0001, (label, mine, other)
