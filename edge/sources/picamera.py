"""The Raspberry Pi camera through picamera2: luma straight from the low-resolution stream's Y plane."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from edge.errors import MissingLibrary, SourceError
from edge.plug import Spec
from edge.settings import Table, checked
from edge.types import Frame, Pixels


class PiCameraOptions(Table, frozen=True):
    """What the camera is asked for."""

    width: Annotated[int, Meta(ge=64, le=4096)] = 640
    height: Annotated[int, Meta(ge=64, le=4096)] = 480
    fps: Annotated[float, Meta(gt=0, le=240)] = 30.0
    camera: Annotated[int, Meta(ge=0)] = 0
    """Number of the camera on boards with several."""
    rotation: Literal[0, 180] = 0
    """Degrees by which the camera hangs turned."""
    buffers: Annotated[int, Meta(ge=2, le=16)] = 4
    """Frame buffers: they come out of the CMA memory, of which a Zero 2 W has little."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """Seconds to wait for a frame."""


class PiCamera:
    """``picamera:``, or ``picamera:?width=320&height=240&fps=15``.

    Only the ``lores`` stream is read, and of it only the luma plane, which the camera's processor delivers scaled:
    nothing is converted or resized on the CPU.
    """

    live = True
    tracked = True

    def __init__(self, spec: Spec) -> None:
        options = checked(spec.options, PiCameraOptions, spec.text, strict=False)
        self._timeout_s, self._name = options.timeout_s, spec.text
        picamera2, libcamera = _libraries()
        known = picamera2.Picamera2.global_camera_info()
        if options.camera >= len(known):
            asked = f"camera {options.camera} asked for, {len(known)} found"
            raise SourceError(f"{spec.text}: {asked}; check the ribbon cable, then 'rpicam-hello --list-cameras'")
        try:
            self._camera = picamera2.Picamera2(options.camera)
        except (RuntimeError, IndexError) as error:
            advice = "another program may hold it, 'fuser /dev/media*' shows which"
            raise SourceError(f"{spec.text}: the camera cannot be opened ({error}); {advice}") from None
        self._started = False
        try:
            self._start(options, libcamera)
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise SourceError(f"{spec.text}: the camera refused this size, rate or format: {error}") from None

    def _start(self, options: PiCameraOptions, libcamera: Any) -> None:
        size, frame_us = (options.width, options.height), round(1e6 / options.fps)
        turned = options.rotation == 180
        configuration = self._camera.create_video_configuration(
            main={"size": size},
            # YUV420 is the only lores format a Pi 4 and older can give.
            lores={"size": size, "format": "YUV420"},
            buffer_count=options.buffers,
            transform=libcamera.Transform(hflip=turned, vflip=turned),
            # The sensor itself runs slower, instead of frames made and thrown away.
            controls={"FrameDurationLimits": (frame_us, frame_us)},
        )
        self._camera.configure(configuration)
        got = self._camera.stream_configuration("lores")
        (self._width, self._height), self._stride = got["size"], got["stride"]
        self._camera.start()
        self._started = True
        self.description = f"Pi camera {options.camera}, {self._width}x{self._height} {got['format']}, {options.fps:.3g} frames a second"

    def __iter__(self) -> Iterator[Frame]:
        """Frames for ever; raises `SourceError` when none comes within the timeout."""
        index = 0
        while True:
            try:
                planes = self._camera.capture_array("lores", wait=self._timeout_s)
            except TimeoutError:
                raise SourceError(f"{self._name}: no frame for {self._timeout_s:g} s; the camera hangs, start edgefer again") from None
            yield Frame(index, time.time(), luma_plane(planes, self._width, self._height, self._stride))
            index += 1

    def close(self) -> None:
        """Stop and release the camera; safe to call twice."""
        if self._started:
            self._started = False
            self._camera.stop()
        self._camera.close()


def luma_plane(planes: Pixels, width: int, height: int, stride: int) -> Pixels:
    """The (height, width) uint8 luma of a YUV420 or NV12 buffer, whose rows are ``stride`` bytes long.

    Both formats begin with the whole Y plane. Rows are padded to what the hardware likes (704 becomes 768 on a Pi 5).
    The buffer goes back to the camera, so this is a copy.
    """
    rows = planes.reshape(-1)[: stride * height].reshape(height, stride)
    return np.ascontiguousarray(rows[:, :width])


def _libraries() -> tuple[Any, Any]:
    try:
        import libcamera
        import picamera2
    except ImportError as error:
        if sys.prefix != sys.base_prefix:
            advice = "make the venv with 'python3 -m venv --system-site-packages' and the system's own python3"
        else:
            advice = "'sudo apt install python3-picamera2', and use the system's own python3"
        raise MissingLibrary(f"picamera2 is not here ({error}): {advice}") from None
    except (RuntimeError, ValueError) as error:
        # numpy 2 in the venv against apt's picamera2: "numpy.dtype size changed".
        raise MissingLibrary(f"picamera2 cannot be imported ({error}): hold numpy at the system's version in this venv") from None
    return picamera2, libcamera
