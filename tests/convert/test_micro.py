"""The firmware of examples/micro as a process on this computer, asked by ``edgefer micro`` over a pseudo-terminal."""

from __future__ import annotations

import ctypes
import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import in_process, one_line
from micro import FIRMWARE, STRICT, nano, needs

from edgefer.cli.main import main as edgefer
from edgefer.model.classifier import Classifier
from edgefer.model.golden import golden_pictures
from edgefer.pipeline.crop import crop_face
from edgefer.types import Box

__all__ = ["nano"]


def built(model: Path, folder: Path) -> Path:
    """The firmware with an exported model, for this computer."""
    needs("gcc")
    sources = [FIRMWARE / "main.c", FIRMWARE / "serve.c", FIRMWARE / "emulated" / "port_host.c", model]
    subprocess.run(["gcc", *STRICT, "-O2", f"-DMODEL={model.stem}", f"-I{model.parent}", "-o", folder / "firmware", *sources], check=True)
    return folder / "firmware"


@pytest.fixture(scope="module")
def firmware(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware with the model nano."""
    return built(nano, tmp_path_factory.mktemp("firmware"))


@contextmanager
def board(program: Path) -> Iterator[str]:
    """The running firmware; gives the name of its serial line."""
    ours, line = pty.openpty()
    with subprocess.Popen([program], stdin=ours, stdout=ours) as process:
        os.close(ours)
        try:
            yield os.ttyname(line)
        finally:
            process.kill()
            os.close(line)


def test_a_board_with_the_same_scores_gets_a_table_a_row_and_json(firmware: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    for index, side in enumerate((48, 48, 64, 40)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), random.integers(0, 256, (side, side), np.uint8))
    with board(firmware) as port:
        done = in_process(edgefer, "micro", "--port", port, "--images", tmp_path, "--json")
        table = in_process(edgefer, "micro", "--port", port)
        row = in_process(edgefer, "micro", "--port", port, "--markdown")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model"], report["faces"], report["same"]) == ("nano", 6 + 4, 6 + 4)
    assert 0 < report["score_ms"] <= report["request_ms"]
    assert "6 of 6 faces" in table.stdout
    assert table.returncode == row.returncode == 0
    header, rule, cells = row.stdout.splitlines()
    assert header.count("|") == rule.count("|") == cells.count("|")


def test_a_request_that_another_program_left_unfinished_is_ended_first(firmware: Path) -> None:
    with board(firmware) as port:
        line = os.open(port, os.O_RDWR | os.O_NOCTTY)
        os.write(line, b"F" + golden_pictures(48, 48)[0].tobytes()[:700])
        done = in_process(edgefer, "micro", "--port", port)
        os.close(line)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 faces" in done.stdout


def test_a_board_with_another_file_of_the_model_is_one_line(nano: Path, tmp_path: Path) -> None:
    digest = Classifier("nano").sha256
    changed = tmp_path / nano.name
    changed.write_text(nano.read_text().replace(digest, f"0000{digest[4:]}"))
    shutil.copy(nano.with_suffix(".h"), tmp_path)
    with board(built(changed, tmp_path)) as port:
        done = in_process(edgefer, "micro", "--port", port)
    assert done.returncode == 1
    for fact in ("nano", "0000", digest[:8], "RECIPE=c", "--model"):
        assert fact in one_line(done.stderr)


def test_a_board_that_computes_another_score_is_reported(nano: Path, tmp_path: Path) -> None:
    changed = tmp_path / nano.name
    changed.write_text(
        nano.read_text().replace("in = arena + layers[i].to;", "in = arena + layers[i].to;\n        arena[layers[i].to] = 0;")
    )
    shutil.copy(nano.with_suffix(".h"), tmp_path)
    with board(built(changed, tmp_path)) as port:
        done = in_process(edgefer, "micro", "--port", port, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["same"] < report["faces"]


def test_the_crop_in_c_is_that_of_the_runtime_within_one_grey_level(tmp_path: Path) -> None:
    needs("gcc")
    subprocess.run(["gcc", *STRICT, "-O2", "-shared", "-fPIC", "-o", tmp_path / "crop.so", FIRMWARE / "crop.c"], check=True)
    crop, random = ctypes.CDLL(str(tmp_path / "crop.so")).crop_face, np.random.default_rng(26)
    for index in range(200):
        height, width = (int(side) for side in random.integers(40, 300, 2))
        w, h = (48, 48) if index % 8 == 0 else (int(side) for side in random.integers(1, 200, 2))
        # Over the frame's edges, and sometimes beyond its right or lower edge.
        x, y = int(random.integers(1 - min(w, h), width + 9)), int(random.integers(1 - min(w, h), height + 9))
        frame, face = random.integers(0, 256, (height, width)).astype(np.uint8), np.zeros((48, 48), np.uint8)
        crop(frame.ctypes.data_as(ctypes.c_void_p), width, height, x, y, w, h, face.ctypes.data_as(ctypes.c_void_p))
        wanted = crop_face(frame, Box(x, y, w, h), 0.0, 48, 48)
        assert np.abs(face.astype(int) - wanted).max() <= (w != h or w != 48), (width, height, x, y, w, h)


DECLARED = {
    "pico/stdlib.h": "#include <stdbool.h>\n#include <stdint.h>\nbool stdio_init_all(void);\n"
    "int getchar_timeout_us(uint32_t us);\nint putchar_raw(int byte);\nvoid stdio_flush(void);\nuint32_t time_us_32(void);\n",
    "pico/stdio_usb.h": "#include <stdbool.h>\ntypedef struct stdio_driver stdio_driver_t;\nextern stdio_driver_t stdio_usb;\n"
    "void stdio_set_translate_crlf(stdio_driver_t *driver, bool translate);\n",
    "Arduino.h": "#include <stddef.h>\n#include <stdint.h>\nextern struct Line { void begin(unsigned long); int read(); "
    "size_t write(const uint8_t *, size_t); } Serial;\nvoid yield();\nunsigned long micros();\n",
}
"""What the Pico SDK and Arduino declare of the functions used; neither is installed here."""


@pytest.mark.parametrize(
    ("compiler", "options", "source"),
    [("gcc", STRICT, "pico2/port_pico2.c"), ("g++", ("-xc++", "-include", "Arduino.h"), "arduino/edgefer_micro/edgefer_micro.ino")],
)
def test_the_ports_compile_against_the_declarations_they_use(compiler: str, options: tuple[str, ...], source: str, tmp_path: Path) -> None:
    needs(compiler)
    for name, text in DECLARED.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(
        [compiler, "-Wall", "-Werror", "-fsyntax-only", f"-I{tmp_path}", f"-I{FIRMWARE}", *options, FIRMWARE / source], check=True
    )
