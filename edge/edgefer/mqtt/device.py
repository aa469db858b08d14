"""A device on a broker: its topics, its state, and the messages that observations give."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edgefer.mqtt.connection import Message
from edgefer.mqtt.throttle import DeadBand, Shown, StateThrottle
from edgefer.types import NO_FACE, Face, Model, Observation

ONLINE, OFFLINE = b"online", b"offline"
FACE_APPEARED, FACE_LEFT = "face_appeared", "face_left"
FIRST_S = 5.0
"""Shortest time over which the frame rate is measured."""
FPS_STEP, FPS_SHARE, TEMPERATURE_STEP_C = 1.0, 0.25, 3.0
"""A smaller change of the frame rate, absolute and relative, or of the temperature is not published."""
BLIND = ("starting", "silent", "missing", "paused")
"""States of a camera that gives no frame: nothing is known about faces."""
MIX_S = 60.0
"""Time constant of the expression mix: about the last minute."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device, ``<base>/<node>/…``."""

    base: str
    node: str

    @property
    def id(self) -> str:
        """Unique among the devices of a broker; letters, digits, _ and - only."""
        # Where the base has no _, the first _ ends it. Otherwise edgefer/floor1 + kitchen and edgefer + floor1_kitchen would be the same.
        if re.fullmatch(r"[a-zA-Z0-9-]+", self.base):
            return self.plain_id
        return f"{self.plain_id}_{hashlib.sha256(f'{self.base}/{self.node}'.encode()).hexdigest()[:6]}"

    @property
    def plain_id(self) -> str:
        """The id of version 0.1, which was not always unique."""
        return re.sub(r"[^a-zA-Z0-9_-]", "_", f"{self.base}_{self.node}")

    def __truediv__(self, leaf: str) -> str:
        return f"{self.base}/{self.node}/{leaf}"

    @property
    def status(self) -> str:
        """Retained: online or offline; offline is also the last will."""
        return self / "status"

    @property
    def state(self) -> str:
        """Retained: `State` as JSON."""
        return self / "state"

    @property
    def device(self) -> str:
        """Retained: the id of the device that publishes here, as JSON."""
        return self / "device"

    @property
    def event(self) -> str:
        """Not retained: one change as JSON."""
        return self / "event"


class State(msgspec.Struct, frozen=True):
    """The JSON on the state topic. Every field has a default, so that a reader accepts the states of other versions."""

    time: float = 0.0
    """Time of the frame, seconds since 1970."""
    expression: str = NO_FACE
    """Of the largest face, `uncertain`, or `no_face`."""
    score: float | None = None
    """Its probability, 0..1."""
    scores: dict[str, float] = {}
    faces: int = 0
    camera: str = "live"
    """A `CameraHow`, ``paused``, or ``starting`` before the first frame; unless it is ``live``, nothing is known about faces."""
    mix: dict[str, float] = {}
    """Share, 0..1, of each expression and of `no_face` in about the last minute."""
    fps: float | None = None
    """Frames processed per second; a small change is not published, and none within five minutes."""
    temperature_c: float | None = None
    frames_dropped: int = 0
    """Frames dropped to stay live, since the start."""
    events_dropped: int = 0
    """Events that did not reach the broker, since the start."""
    version: str = ""
    model: str = ""
    model_sha256: str = ""


class Telemetry:
    """Turns observations into messages: an event for each change, the state when `StateThrottle` says so or every ``every_s`` seconds.

    The pictures of a folder are unrelated: they give states, but no events.
    """

    def __init__(self, topics: Topics, version: str, every_s: float, temperature_c: Callable[[], float | None]) -> None:
        self._topics, self._version, self._every_s, self._temperature_c = topics, version, every_s, temperature_c
        self._faces: dict[int, Face] = {}
        self._mix: dict[str, float] = {}
        self._mixed_s: float | None = None
        self._throttle = StateThrottle()
        self._frames = 0
        self._counted_s: float | None = None
        self._fps, self._temperature = DeadBand(FPS_STEP, FPS_SHARE), DeadBand(TEMPERATURE_STEP_C)
        self._camera = "starting"
        self.model: Model | None = None
        """The model in use."""

    def events(self, observation: Observation) -> list[Message]:
        """A message for each face that appeared, left, or changed its expression."""
        frame = observation.frame
        if frame.name is not None:
            return []
        faces, before = {face.track: face for face in observation.faces}, self._faces
        self._faces = faces
        changes: list[tuple[str, Face, str | None]] = []
        for track, face in faces.items():
            last = before.get(track)
            if last is None:
                changes.append((FACE_APPEARED, face, None))
            elif last.expression != face.expression:
                changes.append((face.expression, face, last.expression))
        changes += [(FACE_LEFT, before[track], None) for track in before.keys() - faces]
        return [Message(self._topics.event, _event(kind, face, frame.time_s, was), retain=False, qos=0) for kind, face, was in changes]

    def state(self, observation: Observation, now_s: float, events_dropped: int, now: bool) -> list[Message]:
        """The state where it is due, or in any case with ``now``; call it for every frame."""
        self._frames += 1
        self._mix_in(observation, now_s)
        if self.blind:  # a frame shows that it is not
            self._camera = "live"
        self.model = observation.model
        shown = self._throttle.due(Shown.of(observation), now_s, FIRST_S if self._fps.value is None else self._every_s, now)
        if shown is None:
            return []
        self._measure(now_s)
        return [self._message(self._state(observation, shown, events_dropped))]

    @property
    def blind(self) -> bool:
        """Whether the camera gives no frame."""
        return self._camera in BLIND

    def camera(self, how: str, now_s: float) -> Message | None:
        """A change of the camera: a state at once where it gives no frame; else the next frame's state is due."""
        self._camera = how
        self._throttle.reset()
        if not self.blind:
            return None
        self._faces, self._counted_s = {}, None
        return self.blind_state(now_s)

    def blind_state(self, now_s: float) -> Message:
        """A state without a frame, at ``now_s`` seconds since 1970."""
        model = self.model
        return self._message(
            State(
                time=round(now_s, 3),
                camera=self._camera,
                temperature_c=self._temperature.value,
                version=self._version,
                model=model.name if model else "",
                model_sha256=model.sha256 if model else "",
            )
        )

    def _measure(self, now_s: float) -> None:
        """The frame rate since the last measurement, and the temperature."""
        if self._counted_s is None:
            self._frames, self._counted_s = 0, now_s
        elif (age_s := now_s - self._counted_s) >= FIRST_S:
            self._fps.update(round(self._frames / age_s, 1), now_s)
            self._frames, self._counted_s = 0, now_s
        if (measured_c := self._temperature_c()) is not None:
            self._temperature.update(measured_c, now_s)

    def _state(self, observation: Observation, shown: Shown, events_dropped: int) -> State:
        model = observation.model
        return State(
            time=round(observation.frame.time_s, 3),
            expression=shown.expression,
            score=None if shown.score is None else round(shown.score, 4),
            scores={label: round(score, 4) for label, score in shown.scores.items()},
            faces=shown.faces,
            camera=self._camera,
            mix=_shares(self._mix),
            fps=self._fps.value,
            temperature_c=self._temperature.value,
            frames_dropped=observation.frame.dropped,
            events_dropped=events_dropped,
            version=self._version,
            model=model.name if model else "",
            model_sha256=model.sha256 if model else "",
        )

    def _message(self, state: State) -> Message:
        return Message(self._topics.state, msgspec.json.encode(state), retain=True)

    def _mix_in(self, observation: Observation, now_s: float) -> None:
        """An exponential moving average over time: each frame weighs as much as the time since the one before."""
        passed_s = 0.0 if self._mixed_s is None else max(0.0, now_s - self._mixed_s)
        self._mixed_s = now_s
        fade = math.exp(-passed_s / MIX_S)
        self._mix = {name: faded for name, weight in self._mix.items() if (faded := weight * fade) > 1e-3}
        for name in [face.expression for face in observation.faces] or [NO_FACE]:
            self._mix[name] = self._mix.get(name, 0.0) + (min(passed_s, MIX_S) or 1e-2)


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: round(weight / total, 3) for name, weight in sorted(weights.items(), key=lambda entry: -entry[1])}


def _event(kind: str, face: Face, time_s: float, was: str | None) -> bytes:
    event = {
        "event_type": kind,
        "time": round(time_s, 3),
        "track": face.track,
        "expression": face.expression,
        "score": round(face.score, 4),
    }
    return msgspec.json.encode(event if was is None else {**event, "was": was})
