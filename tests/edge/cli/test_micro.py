"""``edgefer micro`` without a board; tests/convert/test_micro.py has the firmware."""

from __future__ import annotations

import os
import pty
import threading
from contextlib import suppress

import pytest
from command import in_process, one_line

from edgefer.cli.main import main as edgefer
from edgefer.cli.serial_board import fletcher16


@pytest.mark.parametrize(("port", "facts"), [("/dev/ttyNONE", ["no such device", "/dev/tty"]), ("/dev/null", ["not a serial line"])])
def test_a_port_that_is_no_serial_line_is_one_line(port: str, facts: list[str]) -> None:
    done = in_process(edgefer, "micro", "--port", port)
    assert done.returncode == 1
    assert all(fact in one_line(done.stderr) for fact in [port, *facts])


def test_a_device_with_another_program_is_one_line_that_shows_what_it_sends() -> None:
    ours, line = pty.openpty()

    def other() -> None:
        with suppress(OSError):  # the end of the test
            while asked := os.read(ours, 65536):
                if b"?" in asked:
                    os.write(ours, b"MicroPython v1.26\r\n>>> \n")

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    port = os.ttyname(line)
    done = in_process(edgefer, "micro", "--port", port)
    os.close(line)
    thread.join(30)
    os.close(ours)
    assert done.returncode == 1
    assert all(fact in one_line(done.stderr) for fact in (port, ">>>", "docs/micro.md"))


def test_the_flag_port_is_required() -> None:
    done = in_process(edgefer, "micro")
    assert done.returncode == 2
    assert "--port" in done.stderr


@pytest.mark.parametrize(("content", "checksum"), [(b"", 0), (b"abcde", 0xC8F0), (b"abcdefgh", 0x0627), (b"\xff" * 2306, 0)])
def test_the_checksum_is_fletchers(content: bytes, checksum: int) -> None:
    assert fletcher16(content) == checksum
