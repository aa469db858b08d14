"""What the web page may show of this moment: state, faces and pictures, each only as far as the privacy switch allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Literal, get_args

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edgefer.errors import SinkError
from edgefer.history.store import History
from edgefer.observation_json import to_json
from edgefer.output import About
from edgefer.overlay import annotate
from edgefer.types import Box, Observation
from edgefer.web.health import Health, Vitals

Show = Literal["totals", "faces", "pixelated", "pictures"]
SHOWS: tuple[Show, ...] = get_args(Show)
"""From the least to the most: sums over time only; boxes and scores; with coarse pictures; with clear ones."""

EVERY_S = 0.1
"""The page is shown at most ten observations a second; what comes between is not encoded."""
TODAY_S = 5.0
"""How old today's sums may be."""
MAX_SIDE_PX, QUALITY = 960, 80
"""Longer side and JPEG quality of a picture."""
MOSAIC, FACE_MOSAIC = 40, 6
"""Blocks across a pixelated picture, and across a face in it. The whole picture is coarse, so that a face that was not found is, too."""


class State(msgspec.Struct, frozen=True):
    """The page's view of the run."""

    time: float
    version: str
    source: str
    model: str
    labels: tuple[str, ...]
    """The model's classes, in its order; answers may also be "uncertain"."""
    show: Show
    allowed: tuple[Show, ...]
    """What the switch may be set to: nothing above what the configuration allows."""
    today: dict[str, float]
    """Seconds of face by expression since local midnight."""
    vitals: Vitals
    observation: msgspec.Raw | None
    """The last one shown, as in `edgefer.observation_json`; None while nothing may be shown, or there is none."""


_NOBODY = About(version="", source="", model=dict, sinks=())


class Live:
    """Takes observations from the sink's thread; the server's threads ask. ``wake`` is called when there is something new."""

    def __init__(self, health: Health, history: History, most: Show, clock: Callable[[], float] = time.monotonic) -> None:
        self.health, self.history, self.about = health, history, _NOBODY
        self.allowed = SHOWS[: SHOWS.index(most) + 1]
        self.show: Show = most
        self.wake: Callable[[], None] = lambda: None
        self._clock, self._lock = clock, threading.Lock()
        self._observation: Observation | None = None
        self._published_s = float("-inf")
        self._pictures: dict[bool, tuple[Observation, Show, bytes]] = {}
        self._today: tuple[float, dict[str, float]] = float("-inf"), {}

    def add(self, observation: Observation) -> None:
        """Take one observation, and show it if the last one was shown long enough."""
        now_s = self._clock()
        if now_s - self._published_s >= EVERY_S:
            self._observation, self._published_s = observation, now_s
            self.wake()

    def switch(self, show: Show) -> bool:
        """Show more or less from now on; False, and nothing changed, where the configuration forbids it."""
        if show not in self.allowed:
            return False
        self.show = show
        self.wake()
        return True

    def faces(self) -> bytes | None:
        """The last observation as JSON; None where nothing of single faces may be shown, or there is none."""
        observation = self._observation
        return None if observation is None or self.show == "totals" else to_json(observation)

    def state(self, faces: bool = True) -> bytes:
        """The `State` as JSON, with the last observation or without."""
        about, model = self.about, self.about.model()
        observation = self.faces() if faces else None
        return msgspec.json.encode(
            State(
                time=round(time.time(), 3),
                version=about.version,
                source=about.source,
                model=model.get("name", ""),
                labels=tuple(model.get("labels", ())),
                show=self.show,
                allowed=self.allowed,
                today=self._sums_of_today(),
                vitals=self.health.look(about.sinks),
                observation=msgspec.Raw(observation) if observation else None,
            )
        )

    def _sums_of_today(self) -> dict[str, float]:
        with self._lock:
            asked_s, sums = self._today
            if self._clock() - asked_s > TODAY_S:
                midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
                # Where the history cannot be read now, what it said last stands.
                with suppress(SinkError):
                    found = self.history.totals(midnight, time.time() + EVERY_S)
                    sums = {expression: round(seconds, 1) for expression, seconds in found.items()}
                self._today = self._clock(), sums
            return sums

    def picture(self, boxes: bool) -> tuple[int, bytes] | None:
        """Index and JPEG of the last observation shown, with or without boxes drawn; None where no picture may be shown.

        Encoded when somebody asks, once for all who do.
        """
        with self._lock:
            observation, show = self._observation, self.show
            if observation is None or show not in ("pixelated", "pictures"):
                return None
            kept = self._pictures.get(boxes)
            if kept is None or kept[0] is not observation or kept[1] != show:
                self._pictures[boxes] = kept = observation, show, _encode(observation, show == "pixelated", boxes)
            return observation.frame.index, kept[2]


def _encode(observation: Observation, pixelated: bool, boxes: bool) -> bytes:
    frame = observation.frame
    bgr = np.asarray(cv2.cvtColor(frame.luma, cv2.COLOR_GRAY2BGR), np.uint8) if frame.bgr is None else frame.bgr
    if pixelated:
        bgr = pixelate(bgr, [face.box for face in observation.faces])
    if boxes:
        bgr = annotate(replace(observation, frame=replace(frame, bgr=bgr)))
    scale = MAX_SIDE_PX / max(bgr.shape[:2])
    shown = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else bgr
    return bytes(cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def pixelate(bgr: npt.NDArray[np.uint8], faces: list[Box]) -> npt.NDArray[np.uint8]:
    """A new (H, W, 3) picture in coarse blocks, each face in coarser ones still."""
    coarse = _mosaic(bgr, MOSAIC)
    for box in faces:
        # A quarter more on every side: hair and chin tell who it is, too.
        grown = slice(max(0, box.y - box.h // 4), box.y + box.h * 5 // 4), slice(max(0, box.x - box.w // 4), box.x + box.w * 5 // 4)
        if coarse[grown].size:
            coarse[grown] = _mosaic(coarse[grown], FACE_MOSAIC)
    return coarse


def _mosaic(bgr: npt.NDArray[np.uint8], across: int) -> npt.NDArray[np.uint8]:
    height, width = bgr.shape[:2]
    block = max(1, round(max(height, width) / across))
    small = cv2.resize(bgr, (max(1, width // block), max(1, height // block)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
