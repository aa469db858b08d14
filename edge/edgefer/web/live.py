"""What the web page may show now: state, faces and pictures, each as far as the privacy level allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from edgefer.errors import SinkError
from edgefer.history.store import History
from edgefer.history.timespec import midnight
from edgefer.observation_json import Observation as ObservationFields
from edgefer.observation_json import observation_fields
from edgefer.output import About
from edgefer.types import Observation
from edgefer.web.answers import LEVELS, Ignored, Model, Privacy, PrivacyLevel, State
from edgefer.web.health import Health
from edgefer.web.picture import encode

MIN_INTERVAL_S = 0.1
"""Shortest time between two observations that the page shows; those in between are not encoded."""
TODAY_S = 5.0
"""Longest age of today's sums."""


def _no_model() -> Mapping[str, object]:
    return {"name": "", "sha256": "", "labels": []}


class Live:
    """Observations come from the sink's thread, requests from the server's. ``on_change`` is called when there is something new."""

    def __init__(self, health: Health, history: History, most: PrivacyLevel, clock: Callable[[], float] = time.monotonic) -> None:
        self.health, self.history = health, history
        self.about = About(version="", source="", model=_no_model, sinks=())
        self.allowed = LEVELS[: LEVELS.index(most) + 1]
        self.level: PrivacyLevel = most
        self.on_change: Callable[[], None] = lambda: None
        self._clock, self._lock = clock, threading.Lock()
        self._observation: Observation | None = None
        self._published_s = float("-inf")
        self._pictures: dict[bool, tuple[Observation, PrivacyLevel, bytes]] = {}
        self._today: tuple[float, dict[str, float]] = float("-inf"), {}

    def add(self, observation: Observation) -> None:
        """Show an observation, unless another was shown less than `MIN_INTERVAL_S` ago."""
        now_s = self._clock()
        if now_s - self._published_s >= MIN_INTERVAL_S:
            self._observation, self._published_s = observation, now_s
            self.on_change()

    def set_level(self, level: str) -> bool:
        """Change the privacy level; False, and no change, where the configuration forbids it."""
        allowed = next((one for one in self.allowed if one == level), None)
        if allowed is None:
            return False
        self.level = allowed
        self.on_change()
        return True

    def privacy(self) -> Privacy:
        """The privacy level in use."""
        return Privacy(show=self.level, allowed=self.allowed)

    @property
    def shows_pictures(self) -> bool:
        """Whether the privacy level in use allows pictures."""
        return self.level in ("pixelated", "pictures")

    def ignored(self) -> Ignored:
        """The regions in which faces are ignored."""
        regions = self.about.regions
        if regions is None:
            return Ignored(regions=[], editable=False, why_not_kept="")
        return Ignored(
            regions=[list(region) for region in regions.regions], editable=self.shows_pictures, why_not_kept=regions.why_not_kept
        )

    def observation(self) -> ObservationFields | None:
        """The last observation; None where the privacy level hides single faces, or there is none."""
        observation = self._observation
        return None if observation is None or self.level == "totals" else observation_fields(observation)

    def state(self, with_observation: bool = True) -> State:
        """How the run is doing, with the last observation or without."""
        about, model = self.about, self.about.model()
        return State(
            time=round(time.time(), 3),
            version=about.version,
            source=about.source,
            model=model["name"],
            labels=tuple(model["labels"]),
            show=self.level,
            allowed=self.allowed,
            today=self._today_by_expression(),
            vitals=self.health.vitals(about.sinks),
            observation=self.observation() if with_observation else None,
        )

    def model(self) -> Model:
        """The model in use, without its path: readers of the page need not know the folders of this machine."""
        facts = self.about.model()
        return msgspec.convert({name: facts[name] for name in Model.__struct_fields__ if name in facts}, Model)

    def _today_by_expression(self) -> dict[str, float]:
        with self._lock:
            updated_s, sums = self._today
            if self._clock() - updated_s > TODAY_S:
                now_s = time.time()
                # Where the history cannot be read now, the last sums stay.
                with suppress(SinkError):
                    found = self.history.totals(midnight(now_s).timestamp(), now_s + MIN_INTERVAL_S)
                    sums = {expression: round(seconds, 1) for expression, seconds in found.items()}
                self._today = self._clock(), sums
            return sums

    def picture(self, boxes: bool) -> tuple[int, bytes] | None:
        """Index and JPEG of the last observation shown, with or without boxes; None where the privacy level allows none.

        Encoded on request, once for all readers.
        """
        with self._lock:
            observation, level = self._observation, self.level
            if observation is None or not self.shows_pictures:
                return None
            last = self._pictures.get(boxes)
            if last is None or last[0] is not observation or last[1] != level:
                self._pictures[boxes] = last = observation, level, encode(observation, level == "pixelated", boxes)
            return observation.frame.index, last[2]
