"""Sources of frames, by the scheme of their spec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from edgefer import builtin
from edgefer.errors import SourceError
from edgefer.plug import Plug, Registry
from edgefer.types import Frame

__all__ = ["SOURCES", "Source", "open_source", "pick_source"]


class Source(Plug, ABC):
    """Frames, one after the other. A subclass has ``__iter__`` and `close`, and sets of the rest what differs.

    It is called with a checked `Spec`, and raises `SourceError` if it cannot be opened.
    """

    kind = "source"
    fault = SourceError
    live: bool = False
    """The frames come in real time: a slow run drops some to stay live. Otherwise every frame is processed."""
    tracked: bool = True
    """Neighbouring frames show the same scene, so that faces are followed from one to the next."""
    repeats: bool = False
    """The same picture may come again and again. Otherwise a live source that repeats one has failed."""
    pauses: bool = False
    """No frame for hours is no fault. Such a source is iterated in a thread, and `close` ends the iteration from another thread."""
    description: str = ""
    """For people: what it is, with size and rate if they are known."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames, numbered from 0; raises `SourceError` when the source fails."""

    @abstractmethod
    def close(self) -> None:
        """Release the camera or the file; safe to call twice."""


SOURCES: Registry[Source] = Registry("source", builtin.SOURCES)
"""edgefer's own sources, and those that other packages publish under ``edgefer.sources``."""


def open_source(text: str) -> Source:
    """Open the source a spec names; raises `SettingsError` for a bad spec, `SourceError` if it cannot be opened."""
    return SOURCES.open(text)


DEMONSTRATION = "synthetic:?seconds=60"


def pick_source(say: Callable[[str], None]) -> str:
    """The spec of the first camera here: picamera2's, else a V4L2 device that gives a frame, else the demonstration.

    ``say`` gets a line if there is no camera.
    """
    if _has_picamera():
        return "picamera:"
    from edgefer.sources.capture import V4L2, open_capture

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


def _has_picamera() -> bool:
    from edgefer.sources.picamera import count_cameras, libraries

    try:
        picamera2, _ = libraries()
    except Exception:  # whatever is wrong with it, it gives no camera; `doctor` shows the reason
        return False
    return count_cameras(picamera2) > 0
