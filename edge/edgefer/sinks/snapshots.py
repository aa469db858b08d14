"""Annotated pictures in a folder, at most one every few seconds."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Annotated

import cv2
from msgspec import Meta

from edgefer.errors import SinkError
from edgefer.files import atomic_path
from edgefer.output import About, Sink
from edgefer.overlay import annotate
from edgefer.settings import Table
from edgefer.spec import Spec
from edgefer.types import Observation

_OURS = re.compile(r"\d{8}-\d{6}-\d{6,}\.jpg")
"""Names of the pictures of cameras and clips."""


class SnapshotOptions(Table, frozen=True):
    """When a picture is kept."""

    every_s: Annotated[float, Meta(ge=0)] = 5.0
    """Seconds from one picture to the next, in the source's own time; pictures of a folder are all kept."""
    keep: Annotated[int, Meta(ge=1)] = 1000
    """Pictures of cameras and clips that the folder keeps, those of earlier runs included; the oldest is deleted first."""


class Snapshots(Sink):
    """Annotated pictures in a folder, which is made if it is missing."""

    forms = ("snapshots:DIR",)
    options = SnapshotOptions

    def __init__(self, spec: Spec) -> None:
        options = spec.read(SnapshotOptions)
        self._folder = Path(spec.path)
        self._every_s, self._keep = options.every_s, options.keep
        self._last_s: float | None = None
        self._written = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{spec}: cannot make this folder: {error.strerror}") from None
        try:
            tempfile.TemporaryFile(dir=self._folder).close()
        except OSError as error:
            raise SinkError(f"{spec}: cannot write into this folder: {error.strerror}") from None
        # Those of this run come last, whatever the clock said before.
        self._kept = sorted(path for path in self._folder.iterdir() if _OURS.fullmatch(path.name))
        # One run's pictures never overwrite those of another.
        self._run = time.strftime("%Y%m%d-%H%M%S")

    def begin(self, about: About) -> str:
        """The folder."""
        return f"annotated pictures: {self._folder.resolve()}"

    def write(self, observation: Observation) -> None:
        """Keep the picture if it is due; raises `SinkError` if it cannot be written."""
        frame = observation.frame
        if frame.name is None and not self._due(observation):
            return
        self._last_s = frame.time_s
        stem = f"{self._run}-{frame.index:06d}" if frame.name is None else f"{frame.name}.edgefer"
        path = self._folder / f"{stem}.jpg"
        done, content = cv2.imencode(".jpg", annotate(observation))
        if not done:
            raise SinkError(f"{path}: the picture cannot be encoded")
        if frame.name is not None:  # it may be in a subfolder
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as draft:
            draft.write_bytes(content.tobytes())
        self._written = True
        if frame.name is None:
            self._kept.append(path)
            while len(self._kept) > self._keep:
                self._kept.pop(0).unlink(missing_ok=True)

    def _due(self, observation: Observation) -> bool:
        """The first picture waits for a face: a new face is shown only after it was found twice."""
        time_s = observation.frame.time_s
        if not self._written and observation.faces:
            return True
        if self._last_s is None:
            self._last_s = time_s
            return self._every_s == 0
        return not 0 <= time_s - self._last_s < self._every_s

    def close(self) -> None:
        """Nothing stays open."""
