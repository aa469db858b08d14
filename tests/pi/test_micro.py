"""The exported model on emulated microcontrollers: the same scores to the byte over the serial line, and instructions counted."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import in_process
from micro import nano
from networks import varied_faces
from pi.emulation import BUILD, run
from pi.micro_boards import FIRMWARE, MICROCONTROLLERS, Microcontroller, build, instructions, running
from PIL import Image

from convert.c_export import NAMES, scores_of
from convert.pack import kind, unpacked
from edgefer.cli.main import main as edgefer
from edgefer.model.card import split_card
from edgefer.model.store import find_model

__all__ = ["nano"]

TFLITE_MICRO = "tflite-micro==0.dev20261023182759"

MOST_INSTRUCTIONS_A_MAC = {"mps2-an505": 3.0, "mps3-an547": 3.0, "riscv-virt": 4.5}
"""The Cortex cores have DSP instructions. `docs/micro.md` has the counts."""


@pytest.fixture(params=MICROCONTROLLERS)
def board(request: pytest.FixtureRequest) -> Microcontroller:
    return MICROCONTROLLERS[request.param]


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder of 24 pictures: noise, coarse noise, and sizes that are resized."""
    random, folder = np.random.default_rng(26), tmp_path / "crops"
    folder.mkdir()
    for index in range(24):
        side, coarse = (48, 48, 60, 40)[index % 4], (1, 6, 12)[index % 3]
        noise = random.integers(0, 256, (side // coarse + 1, side // coarse + 1), np.uint8)
        picture = np.repeat(np.repeat(noise, coarse, axis=0), coarse, axis=1)[:side, :side]
        Image.fromarray(picture).save(folder / f"{index:02}.png")
    return folder


def test_a_board_gives_the_same_scores_to_the_byte(board: Microcontroller, nano: Path, crops: Path, tmp_path: Path) -> None:
    program = build(board, nano, tmp_path / "firmware.elf", FIRMWARE / "main.c", FIRMWARE / "serve.c")
    with running(board, program) as port:
        done = in_process(edgefer, "micro", "--port", port, "--images", crops, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["faces"], report["same"]) == (6 + 24, 6 + 24)
    assert report["board"].startswith("QEMU")


def test_a_face_costs_no_more_instructions_than_was_promised(board: Microcontroller, nano: Path, tmp_path: Path) -> None:
    macs = re.search(r"_macs = (\d+)", nano.with_suffix(".h").read_text())
    assert macs
    assert instructions(board, nano, tmp_path) <= MOST_INSTRUCTIONS_A_MAC[board.name] * int(macs[1])


@pytest.fixture(scope="module")
def tflite_micro() -> Iterator[Any]:
    """The runtime of TensorFlow Lite Micro's own package, installed in a folder of its own."""
    folder = BUILD / "tflite-micro"
    if not folder.is_dir():
        fresh = BUILD / ".tflite-micro"
        try:
            run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", fresh, TFLITE_MICRO)
        except RuntimeError as error:
            pytest.skip(f"{TFLITE_MICRO} cannot be installed here: {str(error).splitlines()[-1]}")
        fresh.rename(folder)
    sys.path.append(str(folder))
    try:
        yield importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    finally:
        sys.path.remove(str(folder))


@pytest.mark.parametrize(("name", "arena_kb"), [("nano", 144), ("small", 288)])
def test_tensorflow_lite_micro_gives_the_same_scores_to_the_byte(name: str, arena_kb: int, tflite_micro: Any) -> None:
    """In the arena that docs/micro.md states, with the operators that it lists."""
    path, faces = find_model(name), varied_faces()
    graph, _ = split_card(path.read_bytes(), str(path))
    interpreter = tflite_micro.Interpreter.from_bytes(graph, arena_size=1000 * arena_kb)
    scores = []
    for face in faces:
        interpreter.set_input(face[None, :, :, None], 0)
        interpreter.invoke()
        scores.append(interpreter.get_output(0)[0].tolist())
    assert scores == scores_of(graph, faces, path)
    page = (FIRMWARE.parents[1] / "docs" / "micro.md").read_text(encoding="utf-8")
    content = unpacked(graph)
    operators = {NAMES[kind(content, operator)] for operator in content.subgraphs[0].operators}
    assert [operator for operator in operators if f"`{operator}`" not in page] == []
