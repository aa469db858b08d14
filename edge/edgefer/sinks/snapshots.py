"""Annotated pictures in a folder, at most one every few seconds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import cv2
from msgspec import Meta

from edgefer.errors import SinkError
from edgefer.files import atomic_path
from edgefer.overlay import annotate
from edgefer.settings import Table, checked
from edgefer.spec import Spec
from edgefer.types import Observation


class SnapshotOptions(Table, frozen=True):
    """When a picture is kept."""

    every_s: Annotated[float, Meta(ge=0)] = 5.0
    """Seconds of the source's own time from one picture to the next; pictures of a folder are all kept."""
    keep: Annotated[int, Meta(ge=1)] = 1000
    """Pictures of a camera or a clip kept by this run; the oldest goes first, so that a disk never fills."""


class Snapshots:
    """``snapshots:DIR`` or ``snapshots:DIR?every_s=2&keep=100``; makes the folder."""

    main_thread = False

    def __init__(self, spec: Spec) -> None:
        options = self.check(spec)
        self.folder = Path(spec.path)
        self._every_s, self._keep = options.every_s, options.keep
        self._last_s: float | None = None
        self._kept: list[Path] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{spec}: cannot make this folder: {error.strerror}") from None
        try:
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise SinkError(f"{spec}: cannot write into this folder: {error.strerror}") from None
        # One run's pictures never overwrite another's.
        self._run = time.strftime("%Y%m%d-%H%M%S")

    @staticmethod
    def check(spec: Spec) -> SnapshotOptions:
        """The options; raises `SettingsError` or `SinkError` for a spec that could not be opened. Makes nothing."""
        options = checked(spec.options, SnapshotOptions, str(spec), strict=False)
        if not spec.path:
            raise SinkError(f"{spec}: no folder given; write snapshots:DIR")
        return options

    def write(self, observation: Observation) -> None:
        """Keep the picture if it is time; raises `SinkError` when it cannot be written."""
        frame = observation.frame
        if frame.name is None and not self._due(observation):
            return
        self._last_s = frame.time_s
        stem = f"{self._run}-{frame.index:06d}" if frame.name is None else f"{frame.name}.edgefer"
        path = self.folder / f"{stem}.jpg"
        done, content = cv2.imencode(".jpg", annotate(observation))
        if not done:
            raise SinkError(f"{path}: the picture cannot be encoded")
        with atomic_path(path) as draft:
            draft.write_bytes(content.tobytes())
        self._kept.append(path)
        if frame.name is None and len(self._kept) > self._keep:
            self._kept.pop(0).unlink(missing_ok=True)

    def _due(self, observation: Observation) -> bool:
        """The first picture waits for a face: a new face is shown only once it was found twice."""
        time_s = observation.frame.time_s
        if not self._kept and observation.faces:
            return True
        if self._last_s is None:
            self._last_s = time_s
            return self._every_s == 0
        return not 0 <= time_s - self._last_s < self._every_s

    def close(self) -> None:
        """Nothing stays open."""
