from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import Run, one_line
from mosquitto import Listener, Mosquitto, free_port, json_of
from mqtt_sink import open_mqtt, seen, wait_until

from edgefer.cli.main import main
from edgefer.errors import SettingsError
from edgefer.mqtt.address import default_node, host_name, parse_address
from edgefer.mqtt.connection import MAX_QUEUED
from edgefer.mqtt.credentials import read_login
from edgefer.sinks.mqtt import Mqtt, parse_node
from edgefer.types import CameraState

SECRET = "swordfish"


def run_edgefer(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?size=320x240", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def check_discovery(config: dict[str, object]) -> None:
    """Check against Home Assistant's schemas for discovery, sensors and events (homeassistant/components/mqtt/schemas.py)."""
    allowed = {"device", "components", "origin", "state_topic", "command_topic", "qos", "encoding", "availability_topic"}
    assert {"device", "components", "origin"} <= set(config) <= allowed
    device, origin, components = config["device"], config["origin"], config["components"]
    assert isinstance(device, dict)
    assert isinstance(origin, dict)
    assert isinstance(components, dict)
    assert device["identifiers"]
    assert set(device) <= {
        "identifiers", "name", "manufacturer", "model", "sw_version", "hw_version", "serial_number", "suggested_area", "configuration_url"
    }  # fmt: skip
    assert origin["name"]
    entities = [component for component in components.values() if "unique_id" in component]
    ids = [component["unique_id"] for component in entities]
    assert len(set(ids)) == len(ids) >= 9
    for component in components.values():
        if component not in entities:
            assert set(component) == {"platform"} or component["platform"] == "device_automation"
    for component in entities:
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", component["unique_id"])
        assert "object_id" not in component
        assert re.fullmatch(rf"{component['platform']}\.[a-z0-9_-]+", component["default_entity_id"])
        assert component["platform"] in ("sensor", "binary_sensor", "event", "switch", "select", "update", "image")
        if component.get("device_class") == "enum":
            assert component["options"]
            assert not {"unit_of_measurement", "state_class"} & set(component)
        if component["platform"] == "event":
            assert component["event_types"]
            assert component["state_topic"] != config["state_topic"]


def test_a_device_announces_itself_sends_states_announces_itself_again_after_a_birth_message_and_is_offline_after_a_kill(
    broker: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    process = run_edgefer(tmp_path, "--sink", f"mqtt://127.0.0.1:{broker.port}/home/desk")
    try:
        assert listener.wait("home/desk/status").payload == b"online"
        config = listener.wait("homeassistant/device/home_desk/config")
        check_discovery(json_of(config))
        assert json_of(config)["availability_topic"] == "home/desk/status"
        state = json_of(listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 1))
        assert state["expression"] in json_of(config)["components"]["expression"]["options"]
        assert len(state["model_sha256"]) == 64
        assert state["version"]
        assert json_of(listener.wait("home/desk/state", lambda message: json_of(message)["fps"]))["fps"] > 1
        event = listener.wait("home/desk/event")
        assert json_of(event)["event_type"] == "face_appeared"
        types = json_of(config)["components"]["event"]["event_types"]
        assert all(json_of(event)["event_type"] in types for event in listener.find("home/desk/event"))

        late = Listener(broker.port)
        assert {message.topic for message in (late.wait("home/desk/status"), late.wait("home/desk/state"))} and config.topic
        assert late.wait(config.topic).retain
        assert not [message for message in late.heard if message.topic == "home/desk/event" and message.retain]
        late.close()

        before = len(listener.heard)
        listener.publish("homeassistant/status", "online")
        assert json_of(listener.wait(config.topic, after=before)) == json_of(config)
        listener.wait("home/desk/state", after=before)

        before = len(listener.heard)
        process.kill()
        listener.wait("home/desk/status", lambda message: message.payload == b"offline", after=before)
    finally:
        process.kill()
        process.communicate()


def test_a_short_clip_still_sends_its_state_and_goes_offline(edgefer: Run, broker: Mosquitto, listener: Listener, tmp_path: Path) -> None:
    sink = f"mqtt://127.0.0.1:{broker.port}/home/desk?discovery="
    done = edgefer("run", "--source", "synthetic:?seconds=0.5&paced=false&size=320x240", "--sink", sink)
    assert done.returncode == 0, done.stderr
    assert listener.wait("home/desk/status", lambda message: message.payload == b"offline").payload
    assert [message.payload for message in listener.find("home/desk/status")] == [b"online", b"offline"]
    assert json_of(listener.find("home/desk/state")[-1])["faces"] == 1
    assert not [message for message in listener.heard if message.topic.startswith("homeassistant")]


def test_without_a_broker_events_are_lost_and_counted_and_nothing_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = Mosquitto(tmp_path)
    broker.stop()
    sink, clock = open_mqtt(broker.port)
    for index in range(300):
        sink.write(seen(index, "happy" if index % 2 else "sad"))
    assert sink.dropped == 300 - Mqtt.EVENTS, "each frame changes the expression"
    clock.now_s += Mqtt.EVENT_S + 1
    sink.write(seen(300, "happy", "happy"))
    broker.start()
    assert sink.connection.wait_up(60)
    listener = Listener(broker.port)
    sink.write(seen(301, "happy", "happy"))
    listener.wait("homeassistant/device/home_desk/config")
    clock.now_s += Mqtt.KNOWN_S
    sink.write(seen(302, "happy", "happy"))
    event = listener.wait("home/desk/event")
    assert json_of(event)["track"] == 2, "old events are dropped"
    sink.write(seen(303, "happy", "happy", "happy"))
    state = listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 3)
    assert json_of(state)["events_dropped"] == 300, "of 301"
    sink.close()
    listener.close()
    broker.stop()
    assert caplog.text.count("no broker answers") == 1
    assert "300 events were lost" in caplog.text


def test_a_flapping_broker_is_reconnected_and_logged_once(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    for count in (1, 2):
        broker.stop()
        broker.start()
        listener = Listener(broker.port)
        assert listener.wait("home/desk/status").payload == b"online"
        assert sink.connection.losses == count
        sink.write(seen(count, "happy"))
        listener.wait("homeassistant/device/home_desk/config")
        listener.close()
    sink.close()
    assert caplog.text.count("the connection was lost") == 1


def test_a_camera_that_becomes_silent_without_a_broker_is_published_after_the_reconnection(broker: Mosquitto) -> None:
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    broker.stop()
    wait_until(lambda: not sink.connection.up)
    sink.camera(CameraState("silent", 5.0))
    broker.start()
    listener = Listener(broker.port)
    listener.wait("home/desk/state", lambda message: json_of(message)["camera"] == "silent")
    assert listener.wait("home/desk/status").payload == b"online"
    sink.camera(CameraState("live", 0.0))
    sink.write(seen(0, "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["camera"] == "live")
    listener.close()
    broker.stop()
    broker.start()
    again = Listener(broker.port)
    again.wait("home/desk/status", lambda message: message.payload == b"online")
    assert not again.find("home/desk/state", lambda message: json_of(message)["camera"] == "silent")
    again.close()
    sink.close()


def test_a_hanging_broker_delays_no_frame_and_gets_the_newest_state_afterwards(broker: Mosquitto, listener: Listener) -> None:
    sink, clock = open_mqtt(broker.port, "?discovery=&every_s=1")
    assert sink.connection.wait_up(30)
    os.kill(broker.pid, signal.SIGSTOP)
    for index in range(1000):
        clock.now_s += 1
        sink.write(seen(index, "happy" if index % 2 else "sad"))
    refused = sink.connection.refused
    assert 980 - MAX_QUEUED <= refused <= 1010 - MAX_QUEUED, "a state a second; the first messages may wait for their acknowledgement"
    os.kill(broker.pid, signal.SIGCONT)
    wait_until(lambda: len(listener.find("home/desk/state")) >= MAX_QUEUED - 10)
    wait_until(lambda: len(listener.find("home/desk/event")) == 1000)
    clock.now_s += 1
    sink.write(seen(1000, "happy"))
    state = listener.wait("home/desk/state", lambda message: json_of(message)["time"] == 2000.0)
    assert json_of(state)["events_dropped"] == 0, "sent at once, since earlier states were refused"
    sink.close()


def test_events_lost_with_the_connection_are_not_sent_later(broker: Mosquitto) -> None:
    sink, clock = open_mqtt(broker.port, "?discovery=")
    assert sink.connection.wait_up(30)
    os.kill(broker.pid, signal.SIGSTOP)
    sink.write(seen(0, "happy"))
    os.kill(broker.pid, signal.SIGKILL)
    broker.stop()
    wait_until(lambda: sink.connection.losses)
    broker.start()
    listener = Listener(broker.port)
    assert sink.connection.wait_up(60)
    clock.now_s += 2
    sink.write(seen(1, "happy", "sad"))
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 2)
    assert [json_of(message)["track"] for message in listener.find("home/desk/event")] == [2]
    sink.close()
    listener.close()


def with_passwords(folder: Path) -> Mosquitto:
    (folder / "users").touch()
    pytest.importorskip("paho.mqtt")
    broker = Mosquitto(folder, "allow_anonymous false", f"password_file {folder}/users")
    subprocess.run(["mosquitto_passwd", "-b", folder / "users", "edgefer", SECRET], check=True, capture_output=True)
    broker.stop()
    broker.start()
    return broker


def test_a_refused_login_is_logged_once_without_the_password_and_the_right_one_connects(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = with_passwords(tmp_path)
    wrong, right = tmp_path / "wrong", tmp_path / "credentials" / "mqtt-password"
    right.parent.mkdir()
    wrong.write_text("edgefer:sardine\n")
    wrong.chmod(0o600)
    right.write_text(f"edgefer:{SECRET}\n")
    sink, _ = open_mqtt(broker.port, f"?login={wrong}")
    wait_until(lambda: sink.connection.problem)
    sink.write(seen(0, "happy"))
    assert not sink.connection.up
    sink.close()
    assert caplog.text.count(f"{wrong} (Not authorized)") == 1
    assert "sardine" not in caplog.text

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(right.parent))
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(30), "without a file, the systemd credential is read"
    sink.close()
    broker.stop()


def test_tls_connects_with_our_own_authority_and_not_without(
    authority: Path,
) -> None:
    files = [f"cafile {authority}/ca.pem", f"certfile {authority}/broker.pem", f"keyfile {authority}/broker.key"]
    broker = Mosquitto(authority, "allow_anonymous true", *files)
    sink, _ = open_mqtt(broker.port, f"?ca={authority}/ca.pem", tls=True)
    assert sink.connection.wait_up(30)
    sink.close()
    sink, _ = open_mqtt(broker.port, tls=True)
    wait_until(lambda: sink.connection.problem)
    assert "?ca=FILE" in sink.connection.problem
    assert not sink.connection.up
    sink.close()
    broker.stop()


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("mqtt://me:swordfish@host/base/node", "login=FILE"),
        ("mqtt://me:sword?fish#@host/base/node", "login=FILE"),
        ("mqtt://host:fish/base/node", "port"),
        ("mqtt://host:99999/base/node", "port"),
        ("mqtt://[::1", "[ has no ]"),
        ("mqtt:host/base/node", "mqtt://host/base/node"),
        ("mqtt:///base/node", "mqtt://host/base/node"),
        ("mqtt://a..b/base/node", "mqtt://host/base/node"),
        ("mqtt://host/base", "write mqtt://host/base/"),
        ("mqtt://host/base/#", "write mqtt://host/base/"),
        ("mqtt://host/base/+", "'+'"),
        ("mqtt://host/base/node?every=1", "'every_s'"),
        ("mqtt://host/base/node?every_s=0", "'every_s'"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line_without_its_password(text: str, fact: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_node(text)
    assert fact in str(error.value)
    assert "fish" not in str(error.value).replace(":fish/base", "")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["login", "ca"])
def test_a_missing_file_is_found_by_check_config(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    (tmp_path / "config.toml").write_text(f'sinks = ["mqtts://host/base/node?{option}=/nonexistent"]\n')
    assert main(["check-config", str(tmp_path / "config.toml")]) == 1
    assert f"{option} /nonexistent" in one_line(capsys.readouterr().err)


def test_a_password_in_the_configuration_is_refused(edgefer: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text('source = "synthetic:"\nsinks = ["mqtt://me:swordfish@host/base/node"]\n')
    done = edgefer("run", "--config", "config.toml")
    assert (done.returncode, main(["check-config", str(tmp_path / "config.toml")])) == (1, 1)
    for output in (done.stderr, capsys.readouterr().err):
        assert "login=FILE" in one_line(output)
        assert "swordfish" not in output


@pytest.mark.parametrize("content", [None, "", "swordfish", ":swordfish", "me:sword\nfish:x", b"\xff\xfe"])
def test_a_malformed_login_is_refused_and_not_repeated(tmp_path: Path, content: str | bytes | None) -> None:
    if content is not None:
        (tmp_path / "login").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError, match=f"{tmp_path}/login") as error:
        read_login(f"{tmp_path}/login")
    assert "fish" not in str(error.value)


def test_a_password_may_hold_a_colon_and_a_world_readable_file_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "login").write_text("me:a:b \n")
    (tmp_path / "login").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert read_login(f"{tmp_path}/login") == ("me", "a:b ")
    assert "chmod o-r" in caplog.text


def test_an_address_without_a_path_has_the_name_of_this_machine_and_tls_its_own_port() -> None:
    topics, options = parse_node("mqtts://broker.example")
    assert (topics.base, topics.node, options.every_s) == ("edgefer", default_node(), 30.0)
    assert topics.node.startswith(f"{host_name()}-"), "every new Pi is raspberrypi"
    assert parse_address("mqtts://broker.example").port == 8883
    assert parse_address("mqtt://[::1]/a/b").host == "::1"
    assert re.fullmatch(r"home_upstairs_desk_[0-9a-f]{6}", parse_node("mqtt://h/home/upstairs/desk")[0].id)


def test_closing_without_a_broker_does_not_wait_and_is_safe_twice() -> None:
    pytest.importorskip("paho.mqtt")
    sink, _ = open_mqtt(free_port())
    sink.write(seen(0, "happy"))
    sink.close()
    sink.close()


def test_without_paho_one_line_names_the_extra_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['paho'] = None; from edgefer.cli.main import main; "
        "sys.exit(main(['run', '--source', 'synthetic:', '--sink', 'mqtt://host/base/node']))"
    )
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "pip install 'edgefer[mqtt]'" in one_line(done.stderr)
