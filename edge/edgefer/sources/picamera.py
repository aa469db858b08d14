"""The Raspberry Pi camera through picamera2: luma straight from the low-resolution stream's Y plane."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import time
from collections.abc import Collection, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from edgefer.errors import MissingLibrary, SourceError
from edgefer.sources import Source
from edgefer.sources.mounting import MountingOptions
from edgefer.spec import Spec
from edgefer.types import Frame, Pixels

Size = tuple[int, int]


class PiCameraOptions(MountingOptions, frozen=True):
    """What the camera is asked for."""

    width: Annotated[int, Meta(ge=64, le=4096)] = 640
    """Width of the pictures."""
    height: Annotated[int, Meta(ge=64, le=4096)] = 480
    """Height of the pictures."""
    fps: Annotated[float, Meta(gt=0, le=240)] = 30.0
    """Frames a second."""
    camera: Annotated[int, Meta(ge=0)] = 0
    """Number of the camera on boards with several."""
    buffers: Annotated[int, Meta(ge=2, le=16)] = 4
    """Frame buffers: they lie in the CMA memory, of which a Zero 2 W has little."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """Seconds to wait for a frame."""


class PiCamera(Source):
    """A Raspberry Pi camera, through picamera2.

    Only the ``lores`` stream is read, and of it only the luma plane, which the camera's processor delivers scaled:
    nothing is converted or resized on the CPU.
    """

    forms = ("picamera:",)
    options = PiCameraOptions
    live = True

    def __init__(self, spec: Spec) -> None:
        self._options = options = spec.read(PiCameraOptions)
        self._name = str(spec)
        picamera2, libcamera = libraries()
        known = count_cameras(picamera2)
        if options.camera >= known:
            asked = f"Pi camera {options.camera} asked for, {known} found"
            raise SourceError(f"{spec}: {asked}; check the cable, then 'rpicam-hello --list-cameras'; a USB camera is opencv:0")
        try:
            self._camera = picamera2.Picamera2(options.camera)
        except (RuntimeError, IndexError) as error:
            advice = "another program may hold it, 'fuser /dev/media*' shows which"
            raise SourceError(f"{spec}: the camera cannot be opened ({_root(error)}); {advice}") from None
        self._closed = False
        try:
            self._start(options, libcamera)
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise SourceError(f"{spec}: the camera refused this size, rate or format: {_root(error)}") from None

    def _start(self, options: PiCameraOptions, libcamera: Any) -> None:
        size, frame_us = (options.width, options.height), round(1e6 / options.fps)
        configuration = self._camera.create_video_configuration(
            # Left to itself, the camera takes the mode nearest in size, which often shows only the middle of the sensor.
            sensor=self._sensor(size, libcamera),
            # Not read, but a camera's first stream cannot be left out: in the format that takes the least memory.
            main={"size": size, "format": "YUV420"},
            # YUV420 is the only lores format a Pi 4 and older can give.
            lores={"size": size, "format": "YUV420"},
            buffer_count=options.buffers,
            # Luma of 0..255, as the models know it: the default for video is 16..235.
            colour_space=libcamera.ColorSpace.Sycc(),
            # The sensor itself runs slower, instead of frames made and thrown away.
            controls={"FrameDurationLimits": (frame_us, frame_us)},
        )
        self._camera.configure(configuration)
        got = self._camera.stream_configuration("lores")
        if got["format"] not in ("YUV420", "NV12"):
            raise ValueError(f"YUV420 asked for, {got['format']} given")
        self._width, self._height = got["size"]
        self._camera.start()
        fastest_us, slowest_us = self._camera.camera_controls["FrameDurationLimits"][:2]
        fps = 1e6 / min(max(frame_us, fastest_us), slowest_us)
        self.description = (
            f"Pi camera {options.camera}, {self._width}x{self._height} {got['format']}, {fps:.3g} frames a second{options.words}"
        )

    def _sensor(self, size: tuple[int, int], libcamera: Any) -> dict[str, tuple[int, int]]:
        """The mode to ask of the sensor; empty: its own choice.

        picamera2's ``sensor_modes`` knows what each mode shows, but sets the camera to each and takes the memory for it.
        """
        raw = self._camera.camera.generate_configuration([libcamera.StreamRole.Raw])
        if not raw:
            return {}
        formats = raw.at(0).formats
        modes = {(mode.width, mode.height) for pixels in formats.pixel_formats for mode in formats.sizes(pixels)}
        mode = full_view(modes, self._camera.sensor_resolution, size)
        return {"output_size": mode} if mode else {}

    def __iter__(self) -> Iterator[Frame]:
        """Frames until closed; raises `SourceError` when none comes within the timeout."""
        index, how = 0, self._options
        while not self._closed:
            try:
                planes = self._camera.capture_array("lores", wait=how.timeout_s)
            except CancelledError:
                return
            except TimeoutError:
                raise SourceError(f"{self._name}: no frame for {how.timeout_s:g} s; the camera hangs, start edgefer again") from None
            yield Frame(index, time.time(), luma_plane(planes, self._width, self._height, how))
            index += 1

    def close(self) -> None:
        """Stop and release the camera; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        # picamera2 serves in order: its stop() would wait for ever behind a frame that never comes. close() stops too.
        self._camera.cancel_all_and_flush()
        self._camera.close()


def count_cameras(picamera2: Any) -> int:
    """Pi cameras that picamera2, the module, knows: USB cameras are listed too, but have one stream and no YUV420."""
    return sum("/usb" not in camera["Id"] for camera in picamera2.Picamera2.global_camera_info())


def full_view(modes: Collection[Size], sensor: Size, size: Size) -> Size | None:
    """The smallest mode, (width, height), that has ``size`` and shows all that the sensor sees; None if there is none.

    A mode of the sensor's full, half or quarter size does: pixels are binned. All known modes of other sizes show a part.
    """
    whole = [mode for mode in modes for n in (1, 2, 4) if all(abs(n * a - b) <= 0.01 * b for a, b in zip(mode, sensor, strict=True))]
    return min((mode for mode in whole if mode[0] >= size[0] and mode[1] >= size[1]), default=None)


def luma_plane(planes: Pixels, width: int, height: int, mounting: MountingOptions) -> Pixels:
    """The luma, a turned and flipped copy, of YUV420 or NV12 planes as picamera2 gives them, (3/2 height, row) uint8.

    Both begin with the whole Y plane. A row of YUV420 is as long as the hardware likes (704 becomes 768 on a Pi 5), one
    of NV12 is cut to the width: hence the array's own rows count, not the stride.
    """
    plane = planes[:height, :width]
    luma = mounting.turn(plane)
    return plane.copy() if luma is plane else luma


def _root(error: BaseException) -> BaseException:
    """What began it: picamera2 wraps its errors, and the outermost says only that something failed."""
    return _root(error.__cause__) if error.__cause__ else error


def libraries() -> tuple[Any, Any]:
    """The modules picamera2 and libcamera; raises `MissingLibrary` saying what is wrong with this Python or this system."""
    # What it has to tell on standard error, edgefer says in its own words.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    try:
        import libcamera
        import picamera2
    except ImportError as error:
        raise MissingLibrary(f"picamera2 is not here ({error}): {remedy()}") from None
    except (RuntimeError, ValueError) as error:
        # numpy 2 in the venv against apt's picamera2: "numpy.dtype size changed".
        raise MissingLibrary(f"picamera2 cannot be imported ({error}): hold numpy at the system's version in this venv") from None
    return picamera2, libcamera


def remedy(packages: Path = Path("/usr/lib/python3/dist-packages"), suffix: str = sysconfig.get_config_var("EXT_SUFFIX")) -> str:
    """What to do where picamera2 cannot be imported; ``packages`` is where apt puts it, ``suffix`` what this Python can load."""
    built_for = [file.name.removeprefix("_libcamera") for file in packages.glob("libcamera/_libcamera.*.so")]
    if not built_for or not (packages / "picamera2").is_dir():
        return "'sudo apt install python3-picamera2', on Raspberry Pi OS, and a venv made with --system-site-packages"
    if suffix not in built_for:
        theirs = re.sub(r".*?cpython-(\d)(\d+).*", r"\1.\2", built_for[0])
        ours = ".".join(map(str, sys.version_info[:2]))
        return (
            f"it is for the system's Python {theirs}, this is {ours}: make the venv with '/usr/bin/python3 -m venv --system-site-packages'"
        )
    if sys.prefix != sys.base_prefix:
        return "this venv does not see it: make it again with '/usr/bin/python3 -m venv --system-site-packages'"
    return "'sudo apt install --reinstall python3-picamera2'"
