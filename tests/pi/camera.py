"""Real picamera2 on real libcamera, whose virtual camera plays drawn faces: what it needs, and the command to run edgefer on it."""

from __future__ import annotations

import functools
import shutil

import cv2
import numpy as np
from pi.emulation import BOARDS, BUILD, HERE, LIBCAMERA, REPOSITORY, edge_requirements, emulated, root, shared_library, site

from edgefer.sources.synthetic import Scene, SyntheticOptions

PICAMERA2 = "picamera2==0.3.38"
NEEDED_BY_PICAMERA2 = (
    "numpy==2.4.6", "piexif", "pillow", "simplejpeg", "videodev2", "av", "libarchive-c", "tqdm", "jsonschema", "OpenEXR",
)  # fmt: skip
"""Its wheels; the rest of what it asks for is stood in for by `virtual_camera`."""
APT = "usr/lib/python3/dist-packages"
"""Where apt puts libcamera's Python side and, on Raspberry Pi OS, picamera2."""
FRAMES = BUILD / "frames"
CAMERA = """\
"{name}":
  supported_formats:
  - {{width: 640, height: 480, frame_rates: [5, 60]}}
  - {{width: 320, height: 240, frame_rates: [5, 60]}}
  frames:
    path: "{folder}/"
  location: "CameraLocationFront"
  model: "{name}"
"""


UPRIGHT, TURNED = 0, 1
"""Numbers of the two cameras: picamera2 sorts them by their names, backwards."""


@functools.cache
def scene(number: int) -> Scene:
    """What a camera shows; camera 1 hangs on its side, and its pictures stand upright after a turn by 90 degrees clockwise."""
    return Scene(SyntheticOptions(faces=2, still=True) if number == UPRIGHT else SyntheticOptions(size="480x640", still=True))


def camera_command(architecture: str, *program: str, cameras: bool = True) -> list[str]:
    """The command that runs a Python program for ``amd64`` or ``arm64`` where picamera2 finds the virtual cameras, or none."""
    _draw()
    base = root("trixie", architecture, *LIBCAMERA)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[architecture]
    sites = [site("trixie", machine, *names) for names in (edge_requirements(), NEEDED_BY_PICAMERA2)]
    sites.append(HERE)
    if not (apt := base / APT / "picamera2").exists():
        shutil.copytree(site("trixie", machine, PICAMERA2, alone=True) / "picamera2", apt)
    preload = str(shared_library(HERE / "memfd.c", compiler={"amd64": "gcc", "arm64": "aarch64-linux-gnu-gcc"}[architecture]))
    folder = base / "usr/share/libcamera/pipeline/virtual"
    text = "".join(CAMERA.format(name=name, folder=FRAMES / str(n)) for n, name in ((UPRIGHT, "upright"), (TURNED, "turned")))
    (folder / "virtual.yaml").write_text(f"%YAML 1.1\n---\n{text}", encoding="utf-8")
    if architecture == "arm64":
        return [*emulated(base, BOARDS["cortex-a72"], "trixie", sites, environment={"LD_PRELOAD": preload}), *program]
    links = [word for name in ("bin", "lib", "lib64", "sbin") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    places = [word for place in (REPOSITORY, BUILD) for word in ("--ro-bind", str(place), str(place))]
    nothing = [] if cameras else ["--tmpfs", f"/{folder.relative_to(base)}"]
    return [
        "bwrap", "--ro-bind", str(base / "usr"), "/usr", "--ro-bind", str(base / "etc"), "/etc", *links, "--tmpfs", "/tmp",
        "--proc", "/proc", "--dev", "/dev", "--ro-bind", "/sys", "/sys", *places, *nothing, "--setenv", "LD_PRELOAD", preload,
        "--setenv", "PYTHONPATH", ":".join(map(str, (*sites, REPOSITORY, REPOSITORY / "edge"))), "python3", *program,
    ]  # fmt: skip


@functools.cache
def _draw() -> None:
    """Pictures of both scenes with a sensor's noise."""
    noise = np.random.default_rng(1)
    for number in (UPRIGHT, TURNED):
        folder, bgr = FRAMES / str(number), scene(number).draw(0)
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(4):
            noisy = np.clip(bgr + noise.normal(0, 2, bgr.shape), 0, 255).astype(np.uint8)
            picture = noisy if number == UPRIGHT else cv2.rotate(noisy, cv2.ROTATE_90_COUNTERCLOCKWISE)
            cv2.imwrite(str(folder / f"{index}.jpg"), picture)
