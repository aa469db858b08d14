"""The Raspberry Pi camera through picamera2: luma straight from the low-resolution stream's Y plane."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Annotated, Any, Literal

from msgspec import Meta

from edge.errors import MissingLibrary, SourceError
from edge.plug import Spec, without_path
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
    """Degrees by which the camera hangs turned; undone while the luma is copied, as not every sensor can."""
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
        without_path(spec)
        options = checked(spec.options, PiCameraOptions, spec.text, strict=False)
        self._timeout_s, self._name = options.timeout_s, spec.text
        picamera2, libcamera = _libraries()
        known = count_cameras(picamera2)
        if options.camera >= known:
            asked = f"Pi camera {options.camera} asked for, {known} found"
            raise SourceError(f"{spec.text}: {asked}; check the cable, then 'rpicam-hello --list-cameras'; a USB camera is opencv:0")
        try:
            self._camera = picamera2.Picamera2(options.camera)
        except (RuntimeError, IndexError) as error:
            advice = "another program may hold it, 'fuser /dev/media*' shows which"
            raise SourceError(f"{spec.text}: the camera cannot be opened ({_root(error)}); {advice}") from None
        self._closed, self._turned = False, options.rotation == 180
        try:
            self._start(options, libcamera)
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise SourceError(f"{spec.text}: the camera refused this size, rate or format: {_root(error)}") from None

    def _start(self, options: PiCameraOptions, libcamera: Any) -> None:
        size, frame_us = (options.width, options.height), round(1e6 / options.fps)
        configuration = self._camera.create_video_configuration(
            main={"size": size},
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
        self.description = f"Pi camera {options.camera}, {self._width}x{self._height} {got['format']}, {fps:.3g} frames a second"

    def __iter__(self) -> Iterator[Frame]:
        """Frames until closed; raises `SourceError` when none comes within the timeout."""
        index = 0
        while not self._closed:
            try:
                planes = self._camera.capture_array("lores", wait=self._timeout_s)
            except CancelledError:
                return
            except TimeoutError:
                raise SourceError(f"{self._name}: no frame for {self._timeout_s:g} s; the camera hangs, start edgefer again") from None
            yield Frame(index, time.time(), luma_plane(planes, self._width, self._height, self._turned))
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


def luma_plane(planes: Pixels, width: int, height: int, turned: bool = False) -> Pixels:
    """The (height, width) uint8 luma, a copy, of YUV420 or NV12 planes as picamera2 gives them, (3/2 height, row) uint8.

    Both begin with the whole Y plane. A row of YUV420 is as long as the hardware likes (704 becomes 768 on a Pi 5), one
    of NV12 is cut to the width: hence the array's own rows count, not the stride. ``turned`` turns by 180 degrees.
    """
    luma = planes[:height, :width]
    return (luma[::-1, ::-1] if turned else luma).copy()


def _root(error: BaseException) -> BaseException:
    """What began it: picamera2 wraps its errors, and the outermost says only that something failed."""
    return _root(error.__cause__) if error.__cause__ else error


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
