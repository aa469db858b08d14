"""Checks of the cameras: libcamera, V4L2 devices, permissions."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

from edgefer.cli.checks.target import Finding, Target
from edgefer.native_stderr import silence_native_stderr


def libcamera(target: Target) -> Finding:
    """Whether this Python can import the system's picamera2 and libcamera, and why not."""
    module, error = import_picamera2()
    if module:
        return Finding("pass", "picamera2 and libcamera can be imported")
    system = target.root / "usr/lib/python3/dist-packages"
    if not any((system / name).exists() for name in ("libcamera", "picamera2")):
        if target.is_pi:
            return Finding("warn", "picamera2 is not installed: USB cameras and streams only", "sudo apt install python3-picamera2")
        return Finding("pass", "not installed and not needed: this is no Raspberry Pi; USB cameras and streams work")
    reinstall = "'make pi-install', or python3 -m venv --system-site-packages"
    if str(system) not in map(str, sys.path):
        return Finding("fail", f"the system has it, but {system} is not in the path of this Python", reinstall)
    suffix = importlib.import_module("sysconfig").get_config_var("SOABI") or ""
    built = sorted((system / "libcamera").glob("_libcamera*.so"))
    if built and not any(suffix in path.name for path in built):
        return Finding("fail", f"{built[0].name} is for another Python than this {platform.python_version()}", reinstall)
    return Finding("fail", f"cannot be imported: {error}", "sudo apt install --reinstall python3-picamera2 python3-libcamera")


CODECS = ("bcm2835", "rpi", "pispbe", "rp1-cfe", "unicam")
"""Names of a Pi's own /dev/video* devices: decoders and image processors, not cameras."""


def camera(target: Target) -> Finding:
    """Which cameras there are, and whether this user may open them."""
    devices = sorted(target.root.glob("dev/video[0-9]*"))
    names = {device: target.read(f"sys/class/video4linux/{device.name}/name").strip() for device in devices}
    usb = {device: name for device, name in names.items() if not name.startswith(CODECS)}
    # libcamera uses the media controller.
    needed = [*(usb or names), *(sorted(target.root.glob("dev/media[0-9]*")) if target.is_pi else [])]
    if closed := [str(device) for device in needed if not os.access(device, os.R_OK | os.W_OK)]:
        return Finding("fail", f"no permission for {', '.join(closed)}", "sudo usermod -aG video $USER, then log in again")
    module, _ = import_picamera2()
    try:
        with silence_native_stderr():
            listed = module.Picamera2.global_camera_info() if module else []
    except Exception as error:  # of many types, libcamera's own
        return Finding("fail", f"libcamera cannot list cameras: {error}", "sudo reboot")
    # libcamera lists USB cameras too.
    found = [f"Pi camera {camera.get('Model', '?')}" for camera in listed if "/usb" not in camera["Id"]]
    links = {link.resolve(): link for link in sorted(target.root.glob("dev/v4l/by-id/*"))}
    found += [f"/dev/{device.name} {name}{_lasting(links.get(device.resolve()))}" for device, name in usb.items()]
    if found:
        return Finding("pass", ", ".join(found))
    fix = "rpicam-hello --list-cameras" if target.is_pi else "plug one in, or name a stream: edgefer run --source rtsp://…"
    return Finding("warn", "none; edgefer runs its synthetic demonstration", fix)


def _lasting(link: Path | None) -> str:
    """The spec with the name that stays the same after a restart."""
    return f" (opencv:/dev/v4l/by-id/{link.name})" if link else ""


def import_picamera2() -> tuple[Any, Exception | None]:
    """The module picamera2, or the error of its import."""
    try:
        with silence_native_stderr():
            importlib.import_module("libcamera")
            return importlib.import_module("picamera2"), None
    except Exception as error:  # of many types, numpy's and libcamera's own
        return None, error
