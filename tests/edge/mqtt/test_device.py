from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgefer.mqtt.connection import Message
from edgefer.mqtt.device import State, Telemetry, Topics
from edgefer.mqtt.homeassistant import discovery
from edgefer.types import Box, Face, Frame, Model, Observation

TOPICS = Topics("home", "desk")
LUMA = np.zeros((48, 48), np.uint8)
MODEL = Model("toy", "ab" * 32, ("happy", "sad"))


def seen(*faces: tuple[int, str], side: int = 10, time_s: float = 1000.0, name: str | None = None, model: Model = MODEL) -> Observation:
    faces_seen = tuple(Face(track, Box(0, 0, side + track, side), label, 0.912345, {label: 0.912345}) for track, label in faces)
    return Observation(Frame(0, time_s, LUMA, name=name, dropped=4), faces_seen, {}, model)


def telemetry(every_s: float = 30) -> Telemetry:
    return Telemetry(TOPICS, "1.2", every_s, lambda: 48.5)


def payloads(messages: list[Message]) -> list[Any]:
    return [json.loads(message.payload) for message in messages]


def kinds(telemetry: Telemetry, observation: Observation) -> list[tuple[str, int]]:
    return [(event["event_type"], event["track"]) for event in payloads(telemetry.events(observation))]


def test_a_state_has_every_field() -> None:
    (message,) = telemetry().state(seen((1, "sad"), (2, "happy")), 0.0, events_dropped=3, now=False)
    assert (message.topic, message.retain) == ("home/desk/state", True)
    assert json.loads(message.payload) == {
        "time": 1000.0, "expression": "happy", "score": 0.9123, "scores": {"happy": 0.9123}, "faces": 2, "camera": "live",
        "mix": {"sad": 0.5, "happy": 0.5},
        "fps": None, "temperature_c": 48.5, "frames_dropped": 4, "events_dropped": 3, "version": "1.2", "model": "toy",
        "model_sha256": "ab" * 32,
    }  # fmt: skip
    assert set(json.loads(message.payload)) == set(State.__struct_fields__)


def test_a_silent_camera_gives_a_state_without_faces_and_the_next_frame_a_state_at_once() -> None:
    found = telemetry()
    found.state(seen((1, "sad")), 0.0, 0, now=False)
    message = found.camera("silent", 1004.2)
    assert message
    (state,) = payloads([message])
    assert (state["camera"], state["faces"], state["expression"], state["time"]) == ("silent", 0, "no_face", 1004.2)
    (again,) = payloads(found.state(seen((1, "sad")), 0.1, 0, now=False))
    assert (again["camera"], again["faces"]) == ("live", 1)


def test_a_blocked_camera_and_its_end_are_in_the_next_frame_s_state() -> None:
    found = telemetry()
    found.state(seen(), 0.0, 0, now=False)
    for how in ("blocked", "live"):
        assert found.camera(how, 1004.2) is None
        (state,) = payloads(found.state(seen(), 0.1, 0, now=False))
        assert state["camera"] == how


def test_a_state_is_due_after_a_change_or_an_interval_and_at_most_once_a_second() -> None:
    found = telemetry(every_s=30)

    def times(*steps: tuple[float, Observation]) -> list[float]:
        return [now_s for now_s, observation in steps if found.state(observation, now_s, 0, now=False)]

    happy, sad = seen((1, "happy")), seen((1, "sad"))
    assert times((0, happy), (1, happy), (4.9, happy), (5, happy), (6, happy)) == [0, 5], "the first frame rate is known after five seconds"
    assert times((34.9, happy), (35, happy)) == [35]
    assert times((35.2, sad), (35.5, happy), (35.9, sad), (36, sad), (36.5, happy), (37, happy)) == [36, 37]
    assert times((38, seen())) == [38], "another number of faces is a change"
    assert times((39, seen(model=Model("toy", "cd" * 32, ("happy", "sad"))))) == [39], "and so is another model"
    assert found.state(seen(), 39.1, 0, now=True), "with now it is always due"


def test_the_frame_rate_is_measured_since_the_last_state() -> None:
    found, states = telemetry(every_s=10), []
    for index in range(300):
        states += payloads(found.state(seen(), index / 10, 0, now=False))
    assert [state["fps"] for state in states] == [None, 10.0, 10.0, 10.0]


def test_the_mix_covers_about_the_last_minute_at_any_frame_rate() -> None:
    def mix(fps: int) -> dict[str, float]:
        found, last = telemetry(), None
        for index in range(300 * fps):
            now_s = index / fps
            last = found.state(seen((1, "sad" if now_s < 240 else "happy")), now_s, 0, now=True)
        assert last
        shares: dict[str, float] = payloads(last)[0]["mix"]
        return shares

    slow, fast = mix(1), mix(10)
    assert slow["happy"] == pytest.approx(1 - np.exp(-1), abs=0.03), "a minute of happy after minutes of sad"
    assert slow["happy"] == pytest.approx(fast["happy"], abs=0.02)
    assert sum(slow.values()) == pytest.approx(1, abs=0.01)


def test_a_face_that_appears_leaves_or_changes_is_an_event() -> None:
    found = telemetry()
    assert kinds(found, seen((1, "happy"))) == [("face_appeared", 1)]
    assert kinds(found, seen((1, "happy"))) == []
    assert kinds(found, seen((1, "sad"), (2, "happy"))) == [("sad", 1), ("face_appeared", 2)]
    assert kinds(found, seen((2, "happy"))) == [("face_left", 1)]
    assert kinds(found, seen()) == [("face_left", 2)]


def test_an_event_is_not_retained_and_holds_the_expression_before() -> None:
    found = telemetry()
    found.events(seen((1, "happy")))
    (message,) = found.events(seen((1, "sad"), time_s=1001.5))
    assert (message.topic, message.retain) == ("home/desk/event", False)
    assert json.loads(message.payload) == {
        "event_type": "sad", "time": 1001.5, "track": 1, "expression": "sad", "score": 0.9123, "was": "happy"
    }  # fmt: skip


def test_pictures_of_a_folder_give_states_but_no_events() -> None:
    found = telemetry()
    assert found.events(seen((1, "happy"), name="a.jpg")) == []
    assert found.state(seen((1, "happy"), name="a.jpg"), 0.0, 0, now=False)


def test_home_assistant_knows_every_state_and_event() -> None:
    config = json.loads(discovery("homeassistant", TOPICS, MODEL, "1.2", "Pi").payload)
    found = telemetry()
    for observation in (seen((1, "happy")), seen((1, "uncertain")), seen((1, "sad")), seen()):
        (state,) = payloads(found.state(observation, 0.0, 0, now=True))
        assert state["expression"] in config["components"]["expression"]["options"]
        for kind, _ in kinds(found, observation):
            assert kind in config["components"]["event"]["event_types"]


def test_home_assistant_s_templates_show_the_state() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="jinja2, which Home Assistant's templates are written for, is not installed")
    config = json.loads(discovery("homeassistant", TOPICS, MODEL, "1.2", "Pi").payload)
    found = telemetry()

    def rendered(observation: Observation) -> dict[str, str]:
        (state,) = payloads(found.state(observation, 0.0, 0, now=True))
        templates = {name: entity["value_template"] for name, entity in config["components"].items() if "value_template" in entity}
        return {name: jinja2.Template(text).render(value_json=state) for name, text in templates.items()}

    face = {"expression": "happy", "score": "91.2", "faces": "1", "present": "ON"}
    device = {"camera": "OFF", "fps": "None", "temperature": "48.5", "model": "toy abababababab"}
    assert rendered(seen((1, "happy"))) == face | device
    assert rendered(seen()) == {"expression": "no_face", "score": "None", "faces": "0", "present": "OFF"} | device, (
        "Home Assistant reads None as unknown"
    )


def test_an_id_holds_letters_digits_and_dashes_only() -> None:
    assert Topics("home/upstairs", "desk-1").id == "home_upstairs_desk-1"
