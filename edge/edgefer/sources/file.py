"""Video files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2

from edgefer.errors import SourceError
from edgefer.sources import Source
from edgefer.sources.capture import open_capture
from edgefer.sources.mounting import VideoOptions, pixel_aspect
from edgefer.spec import Spec
from edgefer.types import Frame

_LOG = logging.getLogger(__name__)


class File(Source):
    """A video file that OpenCV can read: every frame.

    A frame's time is its position in the file, in seconds.
    """

    forms = ("file:PATH",)
    options = VideoOptions

    def __init__(self, spec: Spec) -> None:
        self._options, self._path = spec.read(VideoOptions), Path(spec.path)
        if not self._path.is_file():
            raise SourceError(f"{spec}: no such file")
        self._capture = open_capture(str(self._path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{spec}: not a video that OpenCV can read; try 'ffmpeg -i {self._path.name} clip.mp4'")
        self._pixel_aspect = pixel_aspect(self._capture)
        self._fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self._fps <= 1000:
            self._fps = 25.0
        size = (int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.description = f"{self._path}, {size[0]}x{size[1]}, {self._fps:.3g} frames a second{self._options.words}"

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, then the end; raises `SourceError` if there is none at all."""
        index = 0
        while True:
            found, picture = self._capture.read()
            if not found:
                break
            # Counted, not asked for: CAP_PROP_POS_MSEC jumps back in GIFs and in clips with edit lists.
            yield self._options.frame(index, index / self._fps, self._options.square(picture, self._pixel_aspect))
            index += 1
        if not index:
            raise SourceError(f"{self._path}: the video holds no frame that can be decoded")
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # The promise is an estimate from the length; a tenth less is a file cut short.
        if index < 0.9 * promised:
            _LOG.warning("%s: %d frames of %.0f could be read; the file is damaged or cut short", self._path, index, promised)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()
