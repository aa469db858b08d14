"""The exported model on emulated microcontrollers: the same scores to the byte over the serial line, and instructions counted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command import in_process
from micro import nano
from pi.micro_boards import FIRMWARE, MICROCONTROLLERS, Microcontroller, build, instructions, running
from PIL import Image

from edgefer.cli.main import main as edgefer

__all__ = ["nano"]

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
