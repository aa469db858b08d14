"""The same pictures here and on emulated boards, with every runtime there is: the same faces, labels and, within 1/256, scores."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from pi.emulation import BOARDS, LIBCAMERA, alike, edge_requirements, emulated, needs, root, site

from edgefer.sources.synthetic import Scene, SyntheticOptions

PLAIN = "import sys; from edgefer.cli.main import main; main(['doctor', '--json']); sys.exit(main(sys.argv[1:]))"
WITHOUT_XNNPACK = (
    "import functools, ai_edge_litert.interpreter as litert; none = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES; "
    f"litert.Interpreter = functools.partial(litert.Interpreter, experimental_op_resolver_type=none); {PLAIN}"
)
OLD_RUNTIME = ("tflite-runtime==2.14.0", "numpy==1.26.4", "opencv-python-headless==4.11.0.86", "msgspec==0.22.0")
"""What a 32-bit Bookworm has, here in 64 bits."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, two drawn faces each, with different expressions."""
    folder = tmp_path_factory.mktemp("faces")
    scene = Scene(SyntheticOptions(size="320x240", faces=2))
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), scene.draw(110 * index))
    return folder


def answers(command: list[str], faces: Path, **more: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What ``edgefer doctor`` finds, by name, and the observations of ``edgefer run``."""
    arguments = ["run", "--source", f"images:{faces}", "--sink", "jsonl:-"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=600, check=False, **more)
    assert done.returncode == 0, done.stderr
    report, end = json.JSONDecoder().raw_decode(done.stdout)
    lines = done.stdout[end:].split("\n")
    return {check["name"]: f"{check['state']}: {check['found']}" for check in report["checks"]}, [
        json.loads(line) for line in lines if line
    ]


@functools.cache
def here(faces: Path) -> list[dict[str, Any]]:
    """This machine's observations."""
    path = os.pathsep.join(path for path in sys.path if path)
    _, found = answers([sys.executable, "-c", PLAIN], faces, env={**os.environ, "PYTHONPATH": path})
    assert [len(line["faces"]) for line in found] == [2] * 4
    return found


@pytest.mark.parametrize(
    ("processor", "program", "runtime"),
    [
        ("cortex-a53", PLAIN, "ai_edge_litert"),
        ("cortex-a76", PLAIN, "ai_edge_litert"),
        ("cortex-a72", WITHOUT_XNNPACK, "ai_edge_litert"),
        ("cortex-a72", PLAIN, "tflite_runtime"),
    ],
    ids=["LiteRT, A53", "LiteRT, A76", "LiteRT without XNNPACK, A72", "tflite-runtime, A72"],
)
def test_an_emulated_board_gives_the_same_answers(processor: str, program: str, runtime: str, faces: Path) -> None:
    needs("qemu-aarch64-static", "mmdebstrap")
    old, fast = runtime == "tflite_runtime", (program, runtime) == (PLAIN, "ai_edge_litert")
    release, base = ("bookworm", root("bookworm", "arm64")) if old else ("trixie", root("trixie", "arm64", *LIBCAMERA))
    wheels = site(release, "aarch64", *(OLD_RUNTIME if old else edge_requirements()))
    found, there = answers([*emulated(base, BOARDS[processor], release, [wheels]), "-c", program], faces)
    assert runtime in found["runtime"]
    assert found["xnnpack"].startswith("pass" if fast else "warn")
    alike(here(faces), there)
