"""Pictures in a folder, each on its own: no face is followed from one to the next."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edgefer.errors import SourceError
from edgefer.native_stderr import silence_native_stderr
from edgefer.sources import Source
from edgefer.sources.mounting import MountingOptions
from edgefer.spec import Spec
from edgefer.types import Frame

_LOG = logging.getLogger(__name__)
_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}


class Images(Source):
    """The pictures of a folder in the order of their names, each on its own; or one picture file.

    A file that is no picture is skipped with a warning: one bad photo must not end a batch of thousands.
    """

    forms = ("images:DIR",)
    options = MountingOptions
    tracked = False

    def __init__(self, spec: Spec) -> None:
        self._options, path = spec.read(MountingOptions), Path(spec.path)
        if path.is_file():
            self._files = [path]
        elif path.is_dir():
            self._files = sorted(file for file in path.iterdir() if file.suffix.lower() in _ENDINGS)
        else:
            raise SourceError(f"{spec}: no such folder; give one that holds pictures")
        if not self._files:
            raise SourceError(f"{spec}: no pictures in this folder; looked for {', '.join(sorted(_ENDINGS))}")
        self.description = f"{len(self._files)} pictures of {path}{self._options.words}"
        self.unreadable = 0

    def __iter__(self) -> Iterator[Frame]:
        """One frame a picture; its time is its number."""
        index = 0
        for file in self._files:
            bgr = _decode(file)
            if bgr is None:
                _LOG.warning("%s: not a picture that can be read; skipped", file)
                self.unreadable += 1
                continue
            yield self._options.frame(index, float(index), bgr, os.fsencode(file.name).decode(errors="replace"))
            index += 1
        if not index:
            raise SourceError(f"{self._files[0].parent}: none of {len(self._files)} pictures could be read")

    def close(self) -> None:
        """Nothing stays open."""


def _decode(file: Path) -> cv2.typing.MatLike | None:
    """The picture as (H, W, 3) uint8 BGR; None if it is no picture, or claims a size that no camera has."""
    try:
        with silence_native_stderr():
            # From memory: OpenCV's own reading of files crashes on names that are not UTF-8.
            return cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
