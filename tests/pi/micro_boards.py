"""Microcontrollers that QEMU emulates: the firmware of examples/micro built for them, run on a serial line, and counted."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pi.emulation import HERE, REPOSITORY, needs, run, shared_library

FIRMWARE = REPOSITORY / "examples" / "micro"
FLAGS = ("-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-nostartfiles", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections")


@dataclass(frozen=True, slots=True)
class Microcontroller:
    """A board, its compiler, and its processor's options."""

    name: str
    compiler: str
    options: tuple[str, ...]
    port: str
    emulator: str
    machine: str


MICROCONTROLLERS = {
    board.name: board
    for board in (
        Microcontroller(
            "mps2-an505", "arm-none-eabi-gcc", ("-mcpu=cortex-m33", "-mthumb", "--specs=nosys.specs"), "port_arm.c", "qemu-system-arm",
            "mps2-an505",
        ),
        Microcontroller(
            "mps3-an547", "arm-none-eabi-gcc", ("-mcpu=cortex-m55", "-mthumb", "-DAN547", "--specs=nosys.specs"), "port_arm.c",
            "qemu-system-arm", "mps3-an547",
        ),
        Microcontroller(
            "riscv-virt", "riscv64-unknown-elf-gcc", ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany", "--specs=picolibc.specs"),
            "port_riscv.c", "qemu-system-riscv32", "virt",
        ),
    )
}  # fmt: skip
"""The Pico 2's two kinds of cores (Cortex-M33, 32-bit RISC-V), and a Cortex-M55."""


def build(board: Microcontroller, model: Path, program: Path, *sources: Path, defines: tuple[str, ...] = ()) -> Path:
    """Compile an exported model ``<name>.c`` with ``sources`` for a board; returns ``program``."""
    needs(board.compiler, board.emulator)
    emulated = FIRMWARE / "emulated"
    run(
        board.compiler, *FLAGS, *board.options, *defines, f"-DMODEL={model.stem}", f"-I{model.parent}", f"-I{FIRMWARE}", f"-L{emulated}",
        f"-T{board.name}.ld", "-o", program, *sources, emulated / board.port, emulated / "start.c", model,
    )  # fmt: skip
    return program


def _command(board: Microcontroller, program: Path, *options: str) -> list[str]:
    return [board.emulator, "-M", board.machine, "-bios", "none", "-display", "none", "-monitor", "none", "-kernel", str(program), *options]


@contextmanager
def running(board: Microcontroller, program: Path) -> Iterator[str]:
    """The board with the firmware; gives the name of its serial line, a pseudo-terminal of QEMU."""
    command = _command(board, program, "-serial", "pty")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r"(/dev/pts/\d+)", line):
                    yield found[1]
                    return
            raise RuntimeError(f"{board.name}: QEMU ended: {''.join(lines)}")
        finally:
            process.kill()


def instructions(board: Microcontroller, model: Path, folder: Path) -> int:
    """Instructions of one face's scores on an emulated board: those of two faces less those of one, exact."""
    counted = []
    for faces in (1, 2):
        program = build(board, model, folder / f"count{faces}.elf", HERE / "micro_count.c", defines=(f"-DFACES={faces}",))
        counts = folder / f"counts{faces}"
        plugin = f"{shared_library(HERE / 'icount.c')},out={counts}"
        run(*_command(board, program, "-serial", "null", "-semihosting-config", "enable=on,target=native", "-plugin", plugin))
        counted.append(int(counts.read_text().split()[-1]))
    return counted[1] - counted[0]
