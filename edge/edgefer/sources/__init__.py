"""Sources of frames, by the scheme of their spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from edgefer.spec import parse_spec, resolve
from edgefer.types import Frame

__all__ = ["SOURCES", "Source", "open_source"]

SOURCES = {
    "picamera": "edgefer.sources.picamera:PiCamera",
    "opencv": "edgefer.sources.opencv:Camera",
    "file": "edgefer.sources.opencv:File",
    "rtsp": "edgefer.sources.opencv:Stream",
    "http": "edgefer.sources.opencv:Stream",
    "https": "edgefer.sources.opencv:Stream",
    "images": "edgefer.sources.images:Images",
    "synthetic": "edgefer.sources.synthetic:Synthetic",
}
"""Scheme -> "module:Class", imported on use. A class is called with the spec and raises `SourceError`."""


class Source(Protocol):
    """Frames, one after the other; closing twice is safe."""

    live: bool
    """Frames come at their own pace: a slow run drops some to stay live. Otherwise every frame is processed."""
    tracked: bool
    """Neighbouring frames show the same scene, so faces are followed from one to the next."""
    description: str
    """For people: what it is, size and rate where known."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Release the camera or the file."""

    # Where a live source has it: ``repeats``, true where one picture may come again and again on purpose, instead of for a fault.
    # Where a source has it, the static ``check(spec)``, which raises without opening anything.


def open_source(text: str) -> Source:
    """Open the source a spec names; raises `SettingsError` for a bad spec, `SourceError` where it cannot be opened."""
    spec = parse_spec(text)
    source: Source = resolve(SOURCES, spec.scheme, "source")(spec)
    return source


def pick_source(say: Callable[[str], None]) -> str:
    """The spec of the first camera here: picamera2's, else a V4L2 device that gives a frame, else the demonstration.

    ``say`` is told when there is no camera.
    """
    if _has_picamera():
        return "picamera:"
    from edgefer.sources.opencv import V4L2, open_capture

    devices = [path for path in Path("/dev").glob("video*") if path.name.removeprefix("video").isdecimal()]
    for device in sorted(devices, key=lambda path: (len(path.name), path.name))[:8]:
        number = device.name.removeprefix("video")
        capture = open_capture(int(number), V4L2)
        # Codecs and metadata devices are /dev/video* too: only a frame proves a camera.
        found = capture.isOpened() and capture.read()[0]
        capture.release()
        if found:
            return f"opencv:{number}"
    say(f"no camera found (no picamera2 camera, no frame from /dev/video*): showing drawn faces, '{DEMONSTRATION}'")
    return DEMONSTRATION


DEMONSTRATION = "synthetic:?seconds=60"


def _has_picamera() -> bool:
    from edgefer.sources.picamera import count_cameras, libraries

    try:
        picamera2, _ = libraries()
    except Exception:  # whatever is wrong with it, there is no camera to be had this way; `doctor` says what
        return False
    return count_cameras(picamera2) > 0
