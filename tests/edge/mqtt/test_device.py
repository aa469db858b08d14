from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from edgefer.mqtt.connection import Message
from edgefer.mqtt.device import State, Telemetry, Topics
from edgefer.mqtt.homeassistant import DeviceFacts, discovery, slug
from edgefer.types import Box, Face, Frame, Model, Observation

TOPICS = Topics("home", "desk")
LUMA = np.zeros((48, 48), np.uint8)
MODEL = Model("toy", "ab" * 32, ("happy", "sad"))


FACTS = DeviceFacts("1.2", board="Pi")


def seen(
    *faces: tuple[int, str], side: int = 10, time_s: float = 1000.0, name: str | None = None, model: Model = MODEL, score: float = 0.912345
) -> Observation:
    faces_seen = tuple(Face(track, Box(0, 0, side + track, side), label, score, {label: score}) for track, label in faces)
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
    for how in ("blocked", "frozen", "live"):
        assert found.camera(how, 1004.2) is None
        (state,) = payloads(found.state(seen(), 0.1, 0, now=False))
        assert state["camera"] == how


def times(found: Telemetry, *steps: tuple[float, Observation]) -> list[float]:
    """When states are sent."""
    return [now_s for now_s, observation in steps if found.state(observation, now_s, 0, now=False)]


def test_a_state_is_due_after_a_change_or_an_interval_and_changes_are_at_most_once_a_second() -> None:
    found = telemetry(every_s=30)
    happy, sad = seen((1, "happy")), seen((1, "sad"))
    steps = (0, happy), (1, happy), (4.9, happy), (5, happy), (6, happy)
    assert times(found, *steps) == [0, 5], "the first frame rate is known after five seconds"
    assert times(found, (34.9, happy), (35, happy)) == [35]
    two = seen((1, "happy"), (2, "sad"))
    assert times(found, (35.2, two), (35.4, happy), (36.8, two), (37, happy), (38.4, happy), (38.5, happy)) == [35.2, 38.5], "faces"
    assert times(found, (40, sad), (40.4, sad), (40.6, sad)) == [40.6], "a settled expression"
    assert times(found, (41, happy), (41.2, sad), (42, happy), (42.2, sad)) == [], "a flicker"
    assert times(found, (43, seen()), (44.4, seen()), (44.6, seen())) == [44.6], "nobody, for longer than a face is lost now and then"
    assert times(found, (45.6, seen(model=Model("toy", "cd" * 32, ("happy", "sad"))))) == [45.6], "another model"
    assert found.state(seen(), 45.7, 0, now=True), "with now it is always due"


def test_an_expression_stays_while_its_face_is_uncertain_for_less_than_two_seconds() -> None:
    found = telemetry()
    happy, uncertain = seen((1, "happy")), seen((1, "uncertain"), score=0.3)
    found.state(happy, 0.0, 0, now=False)
    assert times(found, (5, happy), (6, uncertain), (7.9, uncertain), (7.95, happy), (8.5, uncertain), (10.4, uncertain)) == [5]
    (state,) = payloads(found.state(uncertain, 10.5, 0, now=False))
    assert (state["expression"], state["score"]) == ("uncertain", 0.3)
    (other,) = payloads(found.state(seen((2, "sad"), score=0.3), 11.6, 0, now=False))
    assert other["expression"] == "sad", "the expression of another face is sent at once"


def scored(score: float) -> Observation:
    return seen((1, "happy"), score=score)


def test_the_score_follows_within_a_second_in_steps_of_five_points() -> None:
    found = telemetry()
    assert times(found, (0, scored(0.5)), (5, scored(0.5))) == [0, 5]
    assert times(found, (5.2, scored(0.9)), (5.9, scored(0.9)), (6.1, scored(0.9))) == [6.1]
    assert times(found, *((7 + n, scored(0.9 + 0.04 * (-1) ** n)) for n in range(20))) == [], "less than a step"
    assert times(found, (28, scored(0.8)), (28.4, scored(0.9)), (28.8, scored(0.8)), (29.2, scored(0.9))) == [], "a flicker"
    (state,) = payloads(found.state(scored(0.94), 36.1, 0, now=False))
    assert (state["score"], state["scores"]) == (0.9, {"happy": 0.9}), "a repeated state changes nothing"
    assert times(found, (36.5, scored(0.84)), (37.1, scored(0.84))) == [37.1]


def test_of_a_face_whose_score_never_rests_only_large_changes_are_sent() -> None:
    found = telemetry()
    steps = [(second / 2, scored(0.5 + 0.1 * (second // 4 % 2))) for second in range(240)]
    sent = [sent_s for sent_s in times(found, *steps) if sent_s > 30]
    assert len(sent) <= 15, "in a minute and a half"
    assert times(found, (120, scored(0.9)), (120.5, scored(0.9)), (121, scored(0.9)))


def test_frame_rate_and_temperature_change_in_steps_and_at_most_every_five_minutes() -> None:
    celsius = [50.0]
    found, states = Telemetry(TOPICS, "1.2", 10, lambda: celsius[0]), []
    now_s = 0.0
    for fps, temperature, seconds in ((10, 50, 320), (9, 52, 320), (5, 60, 320), (10, 60, 100)):
        celsius[0] = temperature
        for _ in range(seconds * fps):
            now_s += 1 / fps
            states += payloads(found.state(seen(), now_s, 0, now=False))
    assert [state["fps"] for state in states if state["fps"]][::30] == [10.0, 10.0, 10.0, 5.0]
    values = [(state["temperature_c"], round(state["fps"])) for state in states if state["fps"]]
    assert list(dict.fromkeys(values)) == [(50.0, 10), (60.0, 10), (60.0, 5)]


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
    config = json.loads(discovery("homeassistant", TOPICS, MODEL, FACTS).payload)
    found = telemetry()
    for observation in (seen((1, "happy")), seen((1, "uncertain")), seen((1, "sad")), seen()):
        (state,) = payloads(found.state(observation, 0.0, 0, now=True))
        assert state["expression"] in config["components"]["expression"]["options"]
        for kind, _ in kinds(found, observation):
            assert kind in config["components"]["event"]["event_types"]


def test_home_assistant_s_templates_show_the_state() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="jinja2, which Home Assistant's templates are written for, is not installed")
    config = json.loads(discovery("homeassistant", TOPICS, MODEL, FACTS).payload)
    found = telemetry()

    def shown(state: dict[str, Any]) -> dict[str, str]:
        keys = ("expression", "score", "faces", "present", "camera", "camera_state", "fps", "temperature", "model")
        components = config["components"]
        return {key: jinja2.Template(components[key]["value_template"]).render(value_json=state) for key in keys}

    def rendered(observation: Observation) -> dict[str, str]:
        (state,) = payloads(found.state(observation, 0.0, 0, now=True))
        return shown(state)

    starting = shown(json.loads(found.blind_state(1.0).payload))
    assert (starting["expression"], starting["present"], starting["model"], starting["camera"]) == ("None", "None", "None", "OFF")
    face = {"expression": "happy", "score": "91.2", "faces": "1", "present": "ON"}
    device = {"camera": "OFF", "camera_state": "live", "fps": "None", "temperature": "48.5", "model": "toy abababababab"}
    assert rendered(seen((1, "happy"))) == face | device
    assert rendered(seen()) == {"expression": "no_face", "score": "None", "faces": "0", "present": "OFF"} | device, (
        "Home Assistant reads None as unknown"
    )
    unknown = {"expression": "None", "score": "None", "faces": "None", "present": "None", "camera": "ON"}
    for how in ("frozen", "blocked"):
        found.camera(how, 0.0)
        assert rendered(seen()) == device | unknown | {"camera_state": how}, "a dead camera is not an empty room"
    for how in ("silent", "missing"):
        message = found.camera(how, 0.0)
        assert message
        assert shown(json.loads(message.payload)) == device | unknown | {"camera_state": how}
    event = jinja2.Template(config["components"]["event"]["value_template"]).render(value_json={"event_type": "happy", "track": 7})
    assert json.loads(event) == {"event_type": "happy"}


@pytest.mark.parametrize(
    ("name", "topics", "entity"),
    [
        ("", Topics("edgefer", "kitchen"), "sensor.edgefer_kitchen_score"),
        ("", Topics("edgefer", "raspberrypi-3f9a"), "sensor.edgefer_raspberrypi_3f9a_score"),
        ("", Topics("edgefer/floor1", "kitchen"), "sensor.edgefer_floor1_kitchen_score"),
        ("Living Room", Topics("edgefer", "living_room"), "sensor.living_room_score"),
        ("Küche", Topics("edgefer", "kuche"), None),
    ],
)
def test_old_and_new_cores_make_the_same_entity_ids(name: str, topics: Topics, entity: str | None) -> None:
    """An old one makes them of the names, a new one of default_entity_id where it is given."""
    config = json.loads(discovery("homeassistant", topics, MODEL, DeviceFacts("1.2", name)).payload)
    assert config["components"]["score"].get("default_entity_id") == entity
    named = {key: component for key, component in config["components"].items() if "name" in component}
    assert {"expression", "score", "faces", "present", "camera", "event", "fps", "temperature", "model", "pause"} <= set(named)
    for key, component in named.items():
        assert slug(component["name"]) == key
        if entity:
            assert component["default_entity_id"] == f"{component['platform']}.{slug(config['device']['name'])}_{key}"


def test_what_a_device_does_not_have_is_removed_from_home_assistant() -> None:
    components = json.loads(discovery("homeassistant", TOPICS, MODEL, DeviceFacts("1.2", thermometer=False)).payload)["components"]
    assert components["temperature"] == {"platform": "sensor"}
    assert components["image"] == {"platform": "image"}
    facts = DeviceFacts("1.2", image=True, updates=True, privacy_levels=("totals", "faces"))
    components = json.loads(discovery("homeassistant", TOPICS, MODEL, facts).payload)["components"]
    assert components["privacy"]["options"] == ["totals", "faces"]
    assert components["image"]["enabled_by_default"] is False
    assert components["temperature"]["device_class"] == "temperature"


def test_the_device_has_the_board_s_facts_and_leaves_out_what_is_unknown() -> None:
    board = DeviceFacts("1.2", "Desk", "Office", "Raspberry Pi 4 Model B Rev 1.4", "10000000a1", "http://pi.local:8080")
    assert json.loads(discovery("homeassistant", TOPICS, MODEL, board).payload)["device"] == {
        "identifiers": ["home_desk"], "name": "Desk", "manufacturer": "edgefer", "model": "Raspberry Pi 4 Model B", "hw_version": "1.4",
        "serial_number": "10000000a1", "sw_version": "1.2", "suggested_area": "Office", "configuration_url": "http://pi.local:8080",
    }  # fmt: skip
    assert set(json.loads(discovery("homeassistant", TOPICS, MODEL, DeviceFacts("1.2")).payload)["device"]) == {
        "identifiers", "name", "manufacturer", "sw_version"
    }  # fmt: skip


def test_an_id_holds_letters_digits_and_dashes_and_is_unique() -> None:
    assert Topics("home", "desk-1").id == "home_desk-1"
    ids = {
        topics.id
        for topics in (Topics("edgefer/floor1", "kitchen"), Topics("edgefer", "floor1_kitchen"), Topics("edgefer_floor1", "kitchen"))
    }
    assert len(ids) == 3
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", one) for one in ids)
    assert Topics("edgefer", "floor1_kitchen").id == "edgefer_floor1_kitchen", "as before"
