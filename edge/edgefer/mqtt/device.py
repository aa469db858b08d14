"""A device on a broker: its topics, its state, and the messages that observations give."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edgefer.mqtt.connection import Message
from edgefer.types import NO_FACE, CameraHow, Face, Observation

ONLINE, OFFLINE = b"online", b"offline"
FACE_APPEARED, FACE_LEFT = "face_appeared", "face_left"
CHANGE_S = 1.0
"""Shortest time between two states: a flickering expression is published once a second."""
FIRST_S = 5.0
"""Seconds after which the first frame rate is published."""
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
    """A `CameraHow`; while it is ``silent``, no frame comes and nothing is known about faces."""
    mix: dict[str, float] = {}
    """Share, 0..1, of each expression and of `no_face` in about the last minute."""
    fps: float | None = None
    """Frames processed per second since the last state."""
    temperature_c: float | None = None
    frames_dropped: int = 0
    """Frames dropped to stay live, since the start."""
    events_dropped: int = 0
    """Events that did not reach the broker, since the start."""
    version: str = ""
    model: str = ""
    model_sha256: str = ""


class Telemetry:
    """Turns observations into messages: an event for each change, the state when it changes or every ``every_s`` seconds.

    The pictures of a folder are unrelated: they give states, but no events.
    """

    def __init__(self, topics: Topics, version: str, every_s: float, temperature_c: Callable[[], float | None]) -> None:
        self._topics, self._version, self._every_s, self._temperature_c = topics, version, every_s, temperature_c
        self._faces: dict[int, Face] = {}
        self._mix: dict[str, float] = {}
        self._mixed_s: float | None = None
        self._last: tuple[str, int, str] | None = None
        """Expression, faces and model of the last state; None where the next state is due at once."""
        self._last_s = 0.0
        self._frames = 0
        self._fps: float | None = None
        self._camera: CameraHow = "live"

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
        if self._camera == "silent":  # a frame shows that it is not
            self._camera = "live"
        face = max(observation.faces, key=lambda face: face.box.area_px, default=None)
        current = (face.expression if face else NO_FACE, len(observation.faces), observation.model.sha256 if observation.model else "")
        if not (now or self._due(current, now_s)):
            return []
        self._measure_fps(now_s)
        self._last = current
        return [self._message(self._state(observation, face, events_dropped))]

    def camera(self, how: CameraHow, now_s: float) -> Message | None:
        """A change of the camera: a state at once where it is silent, since no frame follows; else the next frame's state is due."""
        self._camera, self._last = how, None
        if how != "silent":
            return None
        self._faces = {}
        return self._message(State(time=round(now_s, 3), camera=how, temperature_c=self._temperature_c(), version=self._version))

    def _due(self, current: tuple[str, int, str], now_s: float) -> bool:
        age_s = now_s - self._last_s
        longest_s = FIRST_S if self._fps is None else self._every_s
        return self._last is None or age_s >= longest_s or (current != self._last and age_s >= CHANGE_S)

    def _measure_fps(self, now_s: float) -> None:
        """The frame rate since the last state; states within a second share one measurement."""
        age_s = now_s - self._last_s
        if self._last is not None and age_s >= CHANGE_S:
            self._fps = round(self._frames / age_s, 1)
        if self._last is None or age_s >= CHANGE_S:
            self._frames, self._last_s = 0, now_s

    def _state(self, observation: Observation, face: Face | None, events_dropped: int) -> State:
        model = observation.model
        return State(
            time=round(observation.frame.time_s, 3),
            expression=face.expression if face else NO_FACE,
            score=round(face.score, 4) if face else None,
            scores={label: round(score, 4) for label, score in face.scores.items()} if face else {},
            faces=len(observation.faces),
            camera=self._camera,
            mix=_shares(self._mix),
            fps=self._fps,
            temperature_c=self._temperature_c(),
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
