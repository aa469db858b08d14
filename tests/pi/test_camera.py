"""``picamera:`` end to end: drawn faces in libcamera's virtual camera, the real picamera2, detection, int8, JSON lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from pi.camera import APT, TURNED, UPRIGHT, camera_command, scene
from pi.emulation import HERE, LIBCAMERA, needs, root

from edgefer.sources.picamera import remedy
from edgefer.types import Box

PATIENCE_S = 300
"""For a busy machine; an emulated one is slower yet."""


@pytest.fixture(autouse=True)
def what_is_needed() -> None:
    needs("mmdebstrap", "bwrap", "gcc")


def run(*arguments: str, architecture: str = "amd64", until: int = 0, cameras: bool = True, **variables: str) -> tuple[list[Any], str, int]:
    """Observations of ``edgefer run`` with the virtual camera, its words and its exit status; not what it says of the camera's state.

    It is told to stop when ``until`` lines had as many faces as the scene.
    """
    command = camera_command(architecture, str(HERE / "virtual_camera.py"), "run", "--sink", "jsonl:-", *arguments, cameras=cameras)
    lines: list[Any] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}, cwd="/"
    ) as process:
        assert process.stdout
        assert process.stderr
        late = threading.Timer(PATIENCE_S, _stop, [process.pid])
        late.start()
        for line in process.stdout:
            said = json.loads(line)
            if "faces" in said:
                lines.append(said)
            if until and sum(bool(seen["faces"]) for seen in lines) >= until:
                _stop(process.pid)
                until = 0
        late.cancel()
        return lines, process.stderr.read(), process.wait(PATIENCE_S)


def _stop(process: int) -> None:
    """Tell edgefer to stop; bubblewrap, where it is inside that, does not pass a signal on."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    os.kill(int(children[0]) if children else process, signal.SIGTERM)


def error(*arguments: str, **more: Any) -> str:
    """The one line a run that cannot go on ends with."""
    _, said, status = run(*arguments, **more)
    assert status == 1, said
    assert "Traceback" not in said
    return said.splitlines()[-1]


def fits(line: dict[str, Any], number: int, scale: float = 1.0, mirrored: bool = False) -> bool:
    """Whether the boxes of a line are where the scene's faces are, and no others."""
    found = [Box(*face["box"]) for face in line["faces"]]
    wanted = []
    for truth in scene(number).truth(0):
        x, y, w, h = (round(scale * side) for side in (truth.box.x, truth.box.y, truth.box.w, truth.box.h))
        wanted.append(Box(line["size"][0] - x - w if mirrored else x, y, w, h))
    return len(found) == len(wanted) and all(max(box.iou(face) for face in found) > 0.6 for box in wanted)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_drawn_faces_before_a_pi_camera_come_out_as_json_with_the_right_boxes(architecture: str) -> None:
    if architecture == "arm64":
        needs("qemu-aarch64-static", "aarch64-linux-gnu-gcc")
    spec = "picamera:?width=320&height=240&fps=10&timeout_s=60"
    lines, said, status = run("--source", spec, architecture=architecture, until=4, VIRTUAL_FPS="10" if architecture == "amd64" else "2")
    assert status == 0, said
    assert "Pi camera 0, 320x240 NV12, 10 frames a second" in said
    assert all(line["size"] == [320, 240] for line in lines)
    shown = [line for line in lines if line["faces"]]
    assert len(shown) >= 4
    assert all(fits(line, UPRIGHT, scale=0.5) for line in shown), shown
    for face in shown[-1]["faces"]:
        assert sum(face["scores"].values()) == pytest.approx(1, abs=0.02)


def test_a_camera_on_its_side_is_turned_upright() -> None:
    lines, said, status = run("--source", f"picamera:?camera={TURNED}&rotation=90", until=3)
    assert status == 0, said
    assert "turned by 90" in said
    assert lines[0]["size"] == [480, 640]
    assert fits(lines[-1], TURNED), lines[-1]


def test_a_camera_upside_down_before_a_mirror_is_put_right() -> None:
    lines, said, status = run("--source", "picamera:?rotation=180&vflip=true", until=3)
    assert status == 0, said
    assert fits(lines[-1], UPRIGHT, mirrored=True), lines[-1]


def test_without_a_camera_or_with_too_high_a_number_one_line_says_what_to_do() -> None:
    assert "Pi camera 0 asked for, 0 found; check the cable" in error("--source", "picamera:", cameras=False)
    assert "Pi camera 2 asked for, 2 found" in error("--source", "picamera:?camera=2")


def test_a_camera_that_hangs_is_given_up_after_its_timeout() -> None:
    lines, said, status = run("--source", "picamera:?timeout_s=1", VIRTUAL_FRAMES="6")
    assert (len(lines) <= 6, status) == (True, 1)
    assert "no frame for 1 s; the camera hangs" in said.splitlines()[-1]


def program(text: str) -> str:
    """What a Python program prints where the virtual camera is."""
    command = camera_command("amd64", "-c", f"from virtual_camera import bridge; bridge(30, -1)\n{text}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_camera_in_use_is_said_and_is_free_again_once_closed() -> None:
    said = program(
        "from edgefer.errors import SourceError\n"
        "from edgefer.sources import open_source\n"
        "first = open_source('picamera:')\n"
        "try: open_source('picamera:')\n"
        "except SourceError as error: print(error)\n"
        "first.close(); first.close()\n"
        "second = open_source('picamera:?width=320&height=240&buffers=2')\n"
        "print(next(iter(second)).luma.shape); second.close()\n"
    )
    assert "another program may hold it" in said
    assert "(240, 320)" in said


def test_a_size_that_the_camera_does_not_give_is_answered_with_what_it_gives() -> None:
    said = program(
        "from edgefer.sources import open_source\n"
        "source = open_source('picamera:?width=500&height=400')\n"
        "print(source.description, next(iter(source)).luma.shape); source.close()\n"
    )
    width, height = said.split(", ")[1].split()[0].split("x")
    assert f"({height}, {width})" in said


def test_a_venv_that_hides_picamera2_and_a_wrong_python_are_told_apart() -> None:
    text = (
        "from edgefer.errors import MissingLibrary\nfrom edgefer.sources import open_source\n"
        "try: open_source('picamera:')\nexcept MissingLibrary as error: print(error)"
    )
    script = f"import subprocess, sys, venv; venv.create('/tmp/v'); sys.exit(subprocess.call(['/tmp/v/bin/python', '-c', {text!r}]))"
    done = subprocess.run(camera_command("amd64", "-c", script), capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "No module named 'libcamera'" in done.stdout
    assert "this venv does not see it: make it again with '/usr/bin/python3 -m venv --system-site-packages'" in done.stdout
    packages = root("trixie", "amd64", *LIBCAMERA) / APT
    assert "it is for the system's Python 3.13, this is" in remedy(packages, ".cpython-311-x86_64-linux-gnu.so")
