"""``opencv:N`` on a real /dev/video0: the kernel's virtual camera, in a virtual machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from pi.emulation import LIBCAMERA, edge_requirements, needs, root, site
from pi.machine import in_machine

PROGRAM = """
import itertools, sys
from edgefer.errors import SourceError
from edgefer.sources import open_source, pick_source
print(pick_source(print))
for text in sys.argv[1:]:
    try:
        source = open_source(text)
        frames = list(itertools.islice(source, 3))
        print(source.description, len({frame.luma.tobytes() for frame in frames}), frames[-1].luma.shape, sep=" | ")
        source.close()
    except SourceError as error:
        print(error)
"""


def test_size_format_and_rate_are_negotiated_with_a_v4l2_camera_and_said(tmp_path: Path) -> None:
    needs("qemu-system-x86_64", "mmdebstrap", "busybox", "cpio", "depmod", "xz")
    wheels = site("trixie", "x86_64", *edge_requirements())
    specs = ("opencv:0?width=320&height=180&fourcc=YUYV&fps=25", "opencv:0?width=1000&height=700&fourcc=NV12", "opencv:3")
    command = ["python3", "-c", PROGRAM, *specs]
    said, status = in_machine(
        root("trixie", "amd64", *LIBCAMERA), command, {"PYTHONPATH": f"/mnt:/mnt/edge:/media/{wheels.name}"}, tmp_path
    )
    if not said:
        pytest.fail((tmp_path / "console").read_text(errors="replace")[-2000:])
    assert status == 0, said
    assert said.splitlines() == [
        "opencv:0",
        "camera 0, 320x180 YUYV, 25 frames a second | 3 | (180, 320)",
        "camera 0, 1280x720 NV12, 30 frames a second (1000x700 NV12, 30 frames a second asked for) | 3 | (720, 1280)",
        "opencv:3: no camera answers at /dev/video3: there is /dev/video0",
    ]
