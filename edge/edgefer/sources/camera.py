"""V4L2 cameras, such as USB webcams, through OpenCV."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
from msgspec import Meta

from edgefer.errors import SourceError
from edgefer.sources import Source
from edgefer.sources.camera_health import Stillness
from edgefer.sources.capture import V4L2, Capture, FrozenSeconds, stream_format
from edgefer.sources.mounting import VideoOptions
from edgefer.spec import Spec
from edgefer.types import Frame

Size = Annotated[int, Meta(ge=16, le=8192)]


class CameraOptions(VideoOptions, frozen=True):
    """What a V4L2 camera is asked for; it may give something else, which `Camera.description` names."""

    width: Size = 640
    """Width of the pictures that the camera is asked for."""
    height: Size = 480
    """Height of the pictures."""
    fps: Annotated[float, Meta(gt=0, le=1000)] = 30.0
    """Frames a second."""
    fourcc: str = "MJPG"
    """Pixel format of four letters: USB cameras need MJPG for 30 frames a second."""
    frozen_s: FrozenSeconds = 6.0
    """Seconds of one and the same picture after which the camera has failed; 0: never."""


class Camera(Source):
    """A V4L2 camera, such as a USB webcam: number N is ``/dev/videoN``; a link of ``/dev/v4l/by-id`` stays the same after a restart."""

    forms = ("opencv:N", "opencv:/dev/PATH")
    options = CameraOptions
    live = True

    def __init__(self, spec: Spec) -> None:
        self._options = options = spec.read(CameraOptions)
        self._name, self._frozen_s, self.repeats = str(spec), options.frozen_s, not options.frozen_s
        device = Path(spec.path if spec.path.startswith("/") else f"/dev/video{spec.path}")
        real = device.resolve()
        number = re.fullmatch(r"/dev/video(\d{1,3})", str(real))
        self._capture = Capture(int(number[1]) if number else str(real), V4L2)
        if not self._capture.cv2.isOpened():
            raise SourceError(f"{spec}: no camera answers at {device}: {_why_not(device)}")
        for key, value in (
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc)),
            (cv2.CAP_PROP_FRAME_WIDTH, options.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
            (cv2.CAP_PROP_FPS, options.fps),
        ):
            self._capture.cv2.set(key, value)
        asked = f"{options.width}x{options.height} {options.fourcc}, {options.fps:.3g} frames a second"
        given = stream_format(self._capture.cv2)
        self.description = f"camera {spec.path}, {given}{options.words}" + (f" ({asked} asked for)" if given != asked else "")

    @classmethod
    def check(cls, spec: Spec) -> None:
        """Raises `SettingsError` or `SourceError` for a spec that cannot be opened; opens nothing."""
        fourcc = spec.read(CameraOptions).fourcc
        if not re.fullmatch(r"[0-9]{1,3}|/dev/.+", spec.path):
            raise SourceError(f"{spec}: a camera is a number or a device, as in opencv:0 or opencv:/dev/video0; a clip is file:PATH")
        if not re.fullmatch(r"[ -~]{4}", fourcc):
            raise SourceError(f"{spec}: fourcc is four letters such as MJPG or YUYV, found {fourcc!r}")

    def __iter__(self) -> Iterator[Frame]:
        """Frames until closed; raises `SourceError` when the camera fails, or repeats one picture."""
        still, index = Stillness(), 0
        while (picture := self._capture.read()) is not None:
            frame = self._options.frame(index, time.time(), self._options.square(picture))
            yield frame
            index += 1
            if 0 < self._frozen_s < still.lasts_s(frame.luma, time.monotonic()):
                raise SourceError(
                    f"{self._name}: the same picture for {self._frozen_s:g} s; is it still plugged in? (on purpose: frozen_s=0)"
                )
        if not self._capture.closed.is_set():
            raise SourceError(f"{self._name}: the camera stopped giving frames; is it still plugged in?")

    def close(self) -> None:
        """Release the camera."""
        self._capture.close()


BY_ID = Path("/dev/v4l/by-id")
"""Links to cameras whose names hold maker, model and serial number: unlike numbers they stay the same after a restart."""


def lasting_name(spec: str) -> str:
    """The spec of a camera by its link in `BY_ID`, if it has one; any other spec as it is."""
    number = re.fullmatch(r"opencv:(\d{1,3})(\?.*)?", spec)
    if not number:
        return spec
    links = [link for link in sorted(BY_ID.glob("*")) if link.resolve() == Path(f"/dev/video{number[1]}")]
    return f"opencv:{links[0]}{number[2] or ''}" if links else spec


def _why_not(device: Path) -> str:
    """Why a V4L2 device may not have opened, and what to do."""
    if not device.exists():
        others = [str(other) for other in (*sorted(Path("/dev").glob("video*")), *sorted(BY_ID.glob("*")))]
        return f"there is {', '.join(others)}" if others else "no camera is plugged in, or its driver is missing"
    if not os.access(device, os.R_OK | os.W_OK):
        return "no permission; 'sudo usermod -aG video $USER', then log in again"
    return f"another program may hold it ('fuser {device}' shows which), or it is not a camera ('v4l2-ctl --list-devices')"
