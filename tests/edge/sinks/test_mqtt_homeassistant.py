"""What Home Assistant relies on: the order of messages after a connection, controls, names; against a real broker."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec
import notify
import numpy as np
import pytest
from mosquitto import Listener, Mosquitto, json_of
from mqtt_sink import open_mqtt, seen, wait_until

from edgefer.cli import daemon
from edgefer.errors import SettingsError
from edgefer.mqtt.device import Topics
from edgefer.mqtt.homeassistant import DeviceFacts, discovery
from edgefer.output import About, Sink
from edgefer.settings import Settings
from edgefer.sinks.mqtt import Mqtt, parse_node
from edgefer.spec import parse_spec
from edgefer.types import CameraState, Model, Observation

FACTS = {"name": "toy", "sha256": "ab" * 32, "labels": ["happy", "sad"]}


class Privacy:
    """What a page may show."""

    level = "pictures"
    allowed = ("totals", "faces", "pictures")

    def set_level(self, level: str) -> bool:
        known = level in self.allowed
        self.level = level if known else self.level
        return known


class PageSink(Sink):
    """A sink with a page."""

    page_url = "http://pi.local:8080"

    def __init__(self, privacy: Privacy) -> None:
        self.privacy_control = privacy

    def write(self, observation: Observation) -> None: ...

    def close(self) -> None: ...


def topics(listener: Listener) -> list[str]:
    return [message.topic for message in listener.heard]


def test_the_state_comes_before_online_and_no_old_one_is_believed(broker: Mosquitto, listener: Listener) -> None:
    listener.publish("home/desk/state", b'{"expression": "happy", "camera": "live"}', retain=True)
    sink, _ = open_mqtt(broker.port)
    sink.begin(About("1", "", lambda: FACTS, []))
    listener.wait("home/desk/status")
    listener.wait("homeassistant/device/home_desk/config")
    order = topics(listener)
    states = [json_of(message) for message in listener.find("home/desk/state")]
    assert order.index("home/desk/status") > order.index("home/desk/state", 1), "the state first"
    assert [state["camera"] for state in states[:2]] == ["live", "starting"]
    assert states[-1]["model"] == "toy", "never empty"
    sink.close()


def test_after_a_lost_connection_the_present_state_comes_before_online(broker: Mosquitto) -> None:
    sink, clock = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    sink.write(seen(0, "happy"))
    broker.stop()
    wait_until(lambda: not sink.connection.up)
    clock.now_s += 10
    sink.write(seen(1))
    sink.write(seen(2))
    broker.start()
    listener = Listener(broker.port)
    assert listener.wait("home/desk/status").payload == b"online"
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 0)
    topics_heard = [message.topic for message in listener.heard]
    later = listener.heard[topics_heard.index("home/desk/status") :]
    assert not [message for message in later if message.topic == "home/desk/state" and json_of(message)["faces"]], (
        "no old state after online"
    )
    sink.close()
    listener.close()


def test_the_first_event_waits_until_home_assistant_can_know_the_device(broker: Mosquitto, listener: Listener) -> None:
    sink, clock = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    sink.write(seen(0, "happy"))
    listener.wait("homeassistant/device/home_desk/config")
    clock.now_s += Mqtt.KNOWN_S - 0.1
    sink.write(seen(1, "happy", "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 2)
    assert not listener.find("home/desk/event")
    clock.now_s += 0.2
    sink.write(seen(2, "happy", "happy"))
    listener.wait("home/desk/event", lambda message: json_of(message)["track"] == 2)
    assert [json_of(message)["track"] for message in listener.find("home/desk/event")] == [1, 2]
    sink.close()


def test_pause_and_privacy_are_switched_over_mqtt(broker: Mosquitto, listener: Listener) -> None:
    sink, _ = open_mqtt(broker.port)
    privacy = Privacy()
    about = About("1", "", lambda: FACTS, [PageSink(privacy)])
    sink.begin(about)
    config = json_of(listener.wait("homeassistant/device/home_desk/config", lambda message: b"privacy/set" in message.payload))
    assert config["device"]["configuration_url"] == "http://pi.local:8080"
    assert config["components"]["privacy"]["options"] == ["totals", "faces", "pictures"]
    listener.publish("home/desk/privacy/set", "totals")
    listener.wait("home/desk/privacy", lambda message: message.payload == b"totals")
    listener.publish("home/desk/privacy/set", "everything")
    listener.publish("home/desk/pause/set", "ON")
    listener.wait("home/desk/pause", lambda message: message.payload == b"ON")
    assert about.paused.is_set()
    assert privacy.level == "totals"
    sink.write(seen(0, "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["camera"] == "paused")
    listener.publish("home/desk/pause/set", "OFF")
    listener.wait("home/desk/pause", lambda message: message.payload == b"OFF", after=len(listener.heard) - 1)
    sink.write(seen(1, "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 1)
    sink.close()


def test_a_picture_is_sent_only_on_request(broker: Mosquitto, listener: Listener) -> None:
    import cv2

    plain, _ = open_mqtt(broker.port)
    assert not plain.images_leave
    plain.write(seen(0, "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 1)
    plain.close()
    assert "home/desk/image" not in topics(listener)
    before = len(listener.heard)
    sink, clock = open_mqtt(broker.port, "?image=pixelated")
    assert sink.images_leave
    assert sink.connection.wait_up(30)
    listener.wait("home/desk/status", lambda message: message.payload == b"online", after=before)
    for index in range(4):
        clock.now_s += Mqtt.IMAGE_S / 3
        sink.write(seen(index, "happy"))
    picture = listener.wait("home/desk/image")
    assert cv2.imdecode(np.frombuffer(picture.payload, np.uint8), cv2.IMREAD_COLOR).shape == (48, 64, 3)
    assert not picture.retain
    sink.close()
    assert len(listener.find("home/desk/image")) <= 2


def test_the_id_of_version_0_1_is_removed_if_it_is_this_device_s(broker: Mosquitto, listener: Listener) -> None:
    model = Model("toy", "ab" * 32, ("happy",))
    old = discovery("homeassistant", Topics("home", "up_desk"), model, DeviceFacts("0.1"))
    listener.publish(old.topic, old.payload.replace(b"home/up_desk", b"home/up/desk"), retain=True)
    sink = Mqtt(parse_spec(f"mqtt://127.0.0.1:{broker.port}/home/up/desk"))
    listener.wait(old.topic, lambda message: not message.payload)
    sink.close()
    listener.publish(old.topic, old.payload, retain=True)
    before = len(listener.heard)
    sink = Mqtt(parse_spec(f"mqtt://127.0.0.1:{broker.port}/home/up/desk"))
    listener.wait("home/up/desk/status", lambda message: message.payload == b"online", after=before)
    assert not listener.find(old.topic, lambda message: not message.payload, after=before), "another device's"
    sink.close()


@pytest.mark.parametrize(
    ("address", "base", "node", "name"),
    [
        ("mqtt://h/edgefer/Living%20Room", "edgefer", "living_room", "Living Room"),
        ("mqtt://h?name=Living%20Room", "edgefer", "living_room", "Living Room"),
        ("mqtt://h/home?name=Stra%C3%9Fe", "home", "strasse", "Straße"),
        ("mqtt://h/home/desk?name=K%C3%BCche", "home", "desk", "Küche"),
        ("mqtt://h?name=K%C3%BCche", "edgefer", "kuche", "Küche"),
    ],
)
def test_a_name_in_any_script_gives_a_topic(address: str, base: str, node: str, name: str) -> None:
    topics, options = parse_node(address)
    assert (topics.base, topics.node, options.name) == (base, node, name)


def test_names_without_latin_letters_give_different_topics() -> None:
    nodes = {parse_node(f"mqtt://h?name={name}")[0].node for name in ("厨房", "卧室", "Кухня 2", "Спальня 2")}
    assert len(nodes) == 4
    assert all(node.isascii() and node for node in nodes)
    with pytest.raises(SettingsError, match="cannot be part of a topic"):
        parse_node("mqtt://h/edgefer/a%2Fb")


def test_a_missing_camera_keeps_the_device_and_the_service_up_until_it_comes(
    broker: Mosquitto, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from faults import Camera

    from edgefer.sources.synthetic import Scene, SyntheticOptions

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
    manager = notify.Listener(f"{tmp_path}/notify")
    camera = Camera(Scene(SyntheticOptions(size="320x240")))
    port = camera.port
    camera.stop()
    sink = f"mqtt://127.0.0.1:{broker.port}/home/desk"
    settings = msgspec.structs.replace(Settings(), source=f"http://127.0.0.1:{port}/camera.mjpg", sinks=[sink], max_memory_mb=0)
    stop, said = threading.Event(), list[str]()
    run = threading.Thread(target=daemon.run, args=(settings, stop, said.append))
    run.start()
    try:
        state = json_of(listener.wait("home/desk/state", lambda message: json_of(message)["camera"] == "missing", within_s=60))
        assert state["model"] == "small"
        assert listener.wait("home/desk/status").payload == b"online"
        assert [line for line in said if line.endswith("waiting for it")]
        while "READY" not in (message := manager.hear()):
            pass
        assert "WATCHDOG" in message, "systemd does not end a service that waits"
        camera = Camera(Scene(SyntheticOptions(size="320x240")), port)
        listener.wait("home/desk/state", lambda message: json_of(message)["camera"] == "live", within_s=60)
    finally:
        stop.set()
        run.join(30)
        camera.stop()
        manager.close()
    assert not run.is_alive()


def test_a_camera_state_is_reported_before_any_frame(broker: Mosquitto, listener: Listener) -> None:
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    sink.camera(CameraState("silent", 5.0))
    listener.wait("home/desk/state", lambda message: json_of(message)["camera"] == "silent")
    begun_s = time.time()
    assert json_of(listener.find("home/desk/state")[-1])["time"] == pytest.approx(begun_s, abs=60)
    sink.close()
