from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from command import Run, one_line
from mosquitto import Listener, Mosquitto, free_port, json_of

from edgefer.cli.main import main
from edgefer.errors import SettingsError
from edgefer.mqtt.connection import QUEUE, host_name, parse_address, read_login
from edgefer.sinks.mqtt import Mqtt, parse_node
from edgefer.spec import parse_spec
from edgefer.types import Box, CameraState, Face, Frame, Model, Observation

MODEL = Model("toy", "ab" * 32, ("happy", "sad"))
LUMA = np.zeros((48, 64), np.uint8)
SECRET = "swordfish"


def seen(index: int, *expressions: str) -> Observation:
    faces = tuple(
        Face(n + 1, Box(0, 0, 10 + n, 10 + n), expression, 0.9, {"happy": 0.9, "sad": 0.1}) for n, expression in enumerate(expressions)
    )
    return Observation(Frame(index, 1000.0 + index, LUMA, dropped=7), faces, {}, MODEL)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


def wait_until(true: Callable[[], object], within_s: float = 10) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


class Hands:
    """A clock that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def open_mqtt(port: int, options: str = "", tls: bool = False) -> tuple[Mqtt, Hands]:
    clock = Hands()
    return Mqtt(parse_spec(f"mqtt{'s' * tls}://127.0.0.1:{port}/home/desk{options}"), clock), clock


def run_edgefer(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?size=320x240", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def check_discovery(config: dict[str, object]) -> None:
    """What Home Assistant's own schemas for device discovery, sensors and events ask for (homeassistant/components/mqtt/schemas.py)."""
    allowed = {"device", "components", "origin", "state_topic", "command_topic", "qos", "encoding", "availability_topic"}
    assert {"device", "components", "origin"} <= set(config) <= allowed
    device, origin, components = config["device"], config["origin"], config["components"]
    assert isinstance(device, dict)
    assert isinstance(origin, dict)
    assert isinstance(components, dict)
    assert device["identifiers"]
    assert set(device) <= {"identifiers", "name", "manufacturer", "model", "sw_version"}
    assert origin["name"]
    ids = [component["unique_id"] for component in components.values()]
    assert len(set(ids)) == len(ids)
    for component in components.values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", component["unique_id"])
        assert "object_id" not in component
        assert re.fullmatch(rf"{component['platform']}\.[a-z0-9_-]+", component["default_entity_id"])
        assert component["platform"] in ("sensor", "binary_sensor", "event")
        if component.get("device_class") == "enum":
            assert component["options"]
            assert not {"unit_of_measurement", "state_class"} & set(component)
        if component["platform"] == "event":
            assert component["event_types"]
            assert component["state_topic"] != config["state_topic"]


def test_a_device_introduces_itself_reports_is_heard_again_at_a_birth_and_missed_after_a_kill(
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
        assert listener.wait("home/desk/status", after=before).payload == b"offline"
    finally:
        process.kill()
        process.communicate()


def test_a_clip_that_ends_at_once_still_says_what_it_saw_and_goodbye(
    edgefer: Run, broker: Mosquitto, listener: Listener, tmp_path: Path
) -> None:
    sink = f"mqtt://127.0.0.1:{broker.port}/home/desk?discovery="
    done = edgefer("run", "--source", "synthetic:?seconds=0.5&paced=false&size=320x240", "--sink", sink)
    assert done.returncode == 0, done.stderr
    assert listener.wait("home/desk/status", lambda message: message.payload == b"offline").payload
    assert [message.payload for message in listener.find("home/desk/status")] == [b"online", b"offline"]
    assert json_of(listener.find("home/desk/state")[-1])["faces"] == 1
    assert not [message for message in listener.heard if message.topic.startswith("homeassistant")]


def test_an_absent_broker_costs_nothing_and_what_was_lost_is_counted_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Mosquitto(tmp_path)
    broker.stop()
    sink, clock = open_mqtt(broker.port)
    for index in range(300):
        sink.write(seen(index, "happy" if index % 2 else "sad"))
    assert sink.dropped == 300 - Mqtt.EVENTS, "each of them changed its expression"
    clock.now_s += Mqtt.EVENT_S + 1
    sink.write(seen(300, "happy", "happy"))
    broker.start()
    assert sink.connection.wait_up(20)
    listener = Listener(broker.port)
    sink.write(seen(301, "happy", "happy"))
    event = listener.wait("home/desk/event")
    assert json_of(event)["track"] == 2, "the old ones would set off automations long after"
    assert json_of(listener.wait("home/desk/state"))["events_dropped"] == 300, "of 301"
    sink.close()
    listener.close()
    broker.stop()
    assert caplog.text.count("no broker answers") == 1
    assert "300 events were lost" in caplog.text


def test_a_flapping_broker_is_reached_again_and_complained_of_once(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(10)
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


def test_a_camera_that_fell_silent_while_the_broker_was_away_is_told_of_when_it_is_back(broker: Mosquitto) -> None:
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(10)
    broker.stop()
    wait_until(lambda: not sink.connection.up)
    sink.camera(CameraState("silent", 5.0))
    broker.start()
    listener = Listener(broker.port)
    assert json_of(listener.wait("home/desk/state"))["camera"] == "silent"
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


def test_a_broker_that_hangs_holds_up_nothing_and_the_state_is_said_anew_when_it_goes_on(broker: Mosquitto, listener: Listener) -> None:
    sink, clock = open_mqtt(broker.port, "?discovery=")
    assert sink.connection.wait_up(10)
    os.kill(broker.pid, signal.SIGSTOP)
    for index in range(1000):
        clock.now_s += 1
        sink.write(seen(index, "happy" if index % 2 else "sad"))
    refused = sink.connection.refused
    assert 1000 - QUEUE <= refused <= 1001 - QUEUE, "a state a second; the greeting may still wait for its answer"
    os.kill(broker.pid, signal.SIGCONT)
    wait_until(lambda: len(listener.find("home/desk/state")) == 1000 - refused)
    assert len(listener.find("home/desk/event")) == 1000
    sink.write(seen(1000, "happy"))
    state = listener.wait("home/desk/state", lambda message: json_of(message)["time"] == 2000.0)
    assert json_of(state)["events_dropped"] == 0, "at once, for the ones before were refused"
    sink.close()


def test_events_that_a_cut_connection_swallowed_never_come_late(broker: Mosquitto) -> None:
    sink, clock = open_mqtt(broker.port, "?discovery=")
    assert sink.connection.wait_up(10)
    os.kill(broker.pid, signal.SIGSTOP)
    sink.write(seen(0, "happy"))
    os.kill(broker.pid, signal.SIGKILL)
    broker.stop()
    wait_until(lambda: sink.connection.losses)
    broker.start()
    listener = Listener(broker.port)
    assert sink.connection.wait_up(20)
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


def test_a_refused_login_is_said_once_without_the_password_and_the_right_one_is_taken(
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
    assert caplog.text.count(f"the broker refuses the login of {wrong} (Not authorized)") == 1
    assert "sardine" not in caplog.text

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(right.parent))
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(10), "the systemd credential is read where no file is named"
    sink.close()
    broker.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate authority of our own, and a certificate for 127.0.0.1 that it signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (apt install openssl)")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1")
    for command in (
        ["req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=our authority", "-days", "2"],
        ["req", *new, "-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=broker"],
        ["x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "broker.pem", "-days", "2",
         "-extfile", "names"],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_tls_is_believed_with_our_own_authority_and_refused_without(
    authority: Path,
) -> None:
    files = [f"cafile {authority}/ca.pem", f"certfile {authority}/broker.pem", f"keyfile {authority}/broker.key"]
    broker = Mosquitto(authority, "allow_anonymous true", *files)
    sink, _ = open_mqtt(broker.port, f"?ca={authority}/ca.pem", tls=True)
    assert sink.connection.wait_up(10)
    sink.close()
    sink, _ = open_mqtt(broker.port, tls=True)
    wait_until(lambda: sink.connection.problem)
    assert "the broker's certificate is not trusted" in sink.connection.problem
    assert not sink.connection.up
    sink.close()
    broker.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mqtt://me:swordfish@host/base/node", "login=FILE"),
        ("mqtt://me:sword?fish#@host/base/node", "login=FILE"),
        ("mqtt://host:fish/base/node", "the port is no number"),
        ("mqtt://host:99999/base/node", "the port is no number"),
        ("mqtt://[::1", "a [ has no ]"),
        ("mqtt:host/base/node", "not a broker's address"),
        ("mqtt:///base/node", "not a broker's address"),
        ("mqtt://a..b/base/node", "not a broker's address"),
        ("mqtt://host/base", "write mqtt://host/base/"),
        ("mqtt://host/base/#", "write mqtt://host/base/"),
        ("mqtt://host/base/+", "cannot be part of a topic"),
        ("mqtt://host/base/node?every=1", "did you mean 'every_s'?"),
        ("mqtt://host/base/node?every_s=0", "key 'every_s'"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line_that_shows_no_password(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_node(text)
    assert said in str(error.value)
    assert "fish" not in str(error.value).replace(":fish/base", "")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["login", "ca"])
def test_a_file_that_is_not_there_is_found_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    (tmp_path / "config.toml").write_text(f'sinks = ["mqtts://host/base/node?{option}=/nonexistent"]\n')
    assert main(["check-config", str(tmp_path / "config.toml")]) == 1
    assert f"{option} /nonexistent: cannot be read" in one_line(capsys.readouterr().err)


def test_a_password_in_the_configuration_is_refused_before_anything_runs(
    edgefer: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('source = "synthetic:"\nsinks = ["mqtt://me:swordfish@host/base/node"]\n')
    done = edgefer("run", "--config", "config.toml")
    assert (done.returncode, main(["check-config", str(tmp_path / "config.toml")])) == (1, 1)
    for said in (done.stderr, capsys.readouterr().err):
        assert "login=FILE" in one_line(said)
        assert "swordfish" not in said


@pytest.mark.parametrize("content", [None, "", "swordfish", ":swordfish", "me:sword\nfish:x", b"\xff\xfe"])
def test_a_login_that_cannot_be_read_is_refused_without_repeating_it(tmp_path: Path, content: str | bytes | None) -> None:
    if content is not None:
        (tmp_path / "login").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError, match=f"login {tmp_path}/login") as error:
        read_login(f"{tmp_path}/login")
    assert "fish" not in str(error.value)


def test_a_password_may_hold_a_colon_and_one_that_all_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "login").write_text("me:a:b \n")
    (tmp_path / "login").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert read_login(f"{tmp_path}/login") == ("me", "a:b ")
    assert "chmod o-r" in caplog.text


def test_an_address_without_a_path_is_this_machine_and_tls_has_its_own_port() -> None:
    topics, options = parse_node("mqtts://broker.example")
    assert (topics.base, topics.node, options.every_s) == ("edgefer", host_name(), 30.0)
    assert parse_address("mqtts://broker.example").port == 8883
    assert parse_address("mqtt://[::1]/a/b").host == "::1"
    assert parse_node("mqtt://h/home/upstairs/desk")[0].id == "home_upstairs_desk"


def test_nobody_at_the_port_is_no_reason_to_wait_at_the_end() -> None:
    pytest.importorskip("paho.mqtt")
    sink, _ = open_mqtt(free_port())
    sink.write(seen(0, "happy"))
    sink.close()
    sink.close()


def test_without_paho_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['paho'] = None; from edgefer.cli.main import main; "
        "sys.exit(main(['run', '--source', 'synthetic:', '--sink', 'mqtt://host/base/node']))"
    )
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "pip install 'edgefer[mqtt]'" in one_line(done.stderr)
