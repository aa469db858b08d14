"""A device as a broker knows it: its topics, what it says of itself, and when it has something to say."""

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
"""A changed state waits until the last one is this old: what flickers is said once a second."""
FIRST_S = 5.0
"""Seconds after which the first frame rate is known and said."""
MIX_S = 60.0
"""Time constant of the expression mix: it speaks of the last minute or so."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device, ``<base>/<node>/…``."""

    base: str
    node: str

    @property
    def id(self) -> str:
        """Unique among all devices of a broker, of letters, digits, _ and - alone."""
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
        """Never retained: one change at a time as JSON."""
        return self / "event"


class State(msgspec.Struct, frozen=True):
    """What a device says of itself: the JSON on its state topic. A reader takes other versions' too: every field has a default."""

    time: float = 0.0
    """Of the frame, seconds since 1970."""
    expression: str = NO_FACE
    """Of the largest face, `uncertain`, or `no_face`."""
    score: float | None = None
    """Its probability, 0..1."""
    scores: dict[str, float] = {}
    faces: int = 0
    camera: str = "live"
    """A `CameraHow`; where it is ``silent``, no frame comes and nothing is known of faces."""
    mix: dict[str, float] = {}
    """Share, 0..1, of each expression over the last minute or so, `no_face` among them."""
    fps: float | None = None
    """Frames worked through a second since the state before."""
    temperature_c: float | None = None
    frames_dropped: int = 0
    """Frames thrown away to stay live, since the start."""
    events_dropped: int = 0
    """Events that never reached the broker, since the start."""
    version: str = ""
    model: str = ""
    model_sha256: str = ""


class Reporter:
    """Turns observations into messages: events at once, the state when it changed, else every ``every_s`` seconds.

    Time is an argument. Pictures of a folder have nothing to do with each other: they make states, but no events.
    """

    def __init__(self, topics: Topics, version: str, every_s: float, temperature_c: Callable[[], float | None]) -> None:
        self._topics, self._version, self._every_s, self._temperature_c = topics, version, every_s, temperature_c
        self._shown: dict[int, Face] = {}
        self._mix: dict[str, float] = {}
        self._mixed_s: float | None = None
        self._said: tuple[str, int, str] | None = None
        self._said_s = 0.0
        self._frames, self._fps = 0, None
        self._camera = "live"

    _fps: float | None
    _camera: CameraHow

    def events(self, observation: Observation) -> list[Message]:
        """A message for every face that appeared, left, or changed its expression."""
        frame = observation.frame
        if frame.name is not None:
            return []
        found, before = {face.track: face for face in observation.faces}, self._shown
        self._shown = found
        changes: list[tuple[str, Face, str | None]] = []
        for track, face in found.items():
            last = before.get(track)
            if last is None:
                changes.append((FACE_APPEARED, face, None))
            elif last.expression != face.expression:
                changes.append((face.expression, face, last.expression))
        changes += [(FACE_LEFT, before[track], None) for track in before.keys() - found]
        return [Message(self._topics.event, _event(kind, face, frame.time_s, was), retain=False, qos=0) for kind, face, was in changes]

    def state(self, observation: Observation, now_s: float, events_dropped: int, now: bool) -> list[Message]:
        """The state where it is due; ``now`` where it must be said in any case."""
        self._count(observation, now_s)
        if self._camera == "silent":  # a frame is the proof that it is not
            self._camera = "live"
        face = max(observation.faces, key=lambda face: face.box.area_px, default=None)
        model = observation.model
        gist = (face.expression if face else NO_FACE, len(observation.faces), model.sha256 if model else "")
        age_s = now_s - self._said_s
        due = self._said is None or age_s >= (FIRST_S if self._fps is None else self._every_s) or (gist != self._said and age_s >= CHANGE_S)
        if not (due or now):
            return []
        if self._said is not None and age_s >= CHANGE_S:
            self._fps = round(self._frames / age_s, 1)
        if self._said is None or age_s >= CHANGE_S:
            self._frames, self._said_s = 0, now_s
        self._said = gist
        state = State(
            time=round(observation.frame.time_s, 3),
            expression=gist[0],
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
        return [Message(self._topics.state, msgspec.json.encode(state), retain=True)]

    def camera(self, how: CameraHow, now_s: float) -> Message | None:
        """What the camera is up to: the next frame's state, said at once; where it is silent, and no frame comes, the state now."""
        self._camera, self._said = how, None
        if how != "silent":
            return None
        self._shown = {}
        state = State(time=round(now_s, 3), camera=how, temperature_c=self._temperature_c(), version=self._version)
        return Message(self._topics.state, msgspec.json.encode(state), retain=True)

    def _count(self, observation: Observation, now_s: float) -> None:
        """One more frame, and its expressions weighted by the time since the one before, which the past is faded by."""
        self._frames += 1
        passed_s = 0.0 if self._mixed_s is None else max(0.0, now_s - self._mixed_s)
        self._mixed_s = now_s
        fade = math.exp(-passed_s / MIX_S)
        self._mix = {name: kept for name, weight in self._mix.items() if (kept := weight * fade) > 1e-3}
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
