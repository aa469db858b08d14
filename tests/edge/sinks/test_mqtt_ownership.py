"""Two devices with the same topics, against a real broker."""

from __future__ import annotations

import logging

import pytest
from mosquitto import Listener, Mosquitto, json_of
from mqtt_sink import open_mqtt, seen, wait_until

from edgefer.mqtt import ownership


def owner(listener: Listener) -> str:
    identity: str = json_of(listener.wait("home/desk/device", lambda message: "ask" not in json_of(message)))["id"]
    return identity


def test_of_two_devices_with_the_same_topics_the_second_waits_and_names_the_first(
    broker: Mosquitto, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    first, clock = open_mqtt(broker.port)
    first.write(seen(0, "happy"))
    listener.wait("home/desk/status")
    second, _ = open_mqtt(broker.port)
    wait_until(lambda: "another device" in second.connection.problem)
    second.write(seen(1, "happy", "happy", "happy"))
    assert owner(listener) in second.connection.problem
    assert "another name" in second.connection.problem
    assert "it waits, this device stays" in caplog.text
    assert first.connection.up
    assert first.connection.losses == 0
    second.close()
    clock.now_s += 2
    first.write(seen(2, "happy", "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 2)
    assert not listener.find("home/desk/state", lambda message: json_of(message)["faces"] == 3)
    assert [message.payload for message in listener.find("home/desk/status")] == [b"online"], (
        "the second sends no status, not even at its end"
    )
    first.close()


def test_the_waiting_device_takes_over_when_the_first_is_gone(
    broker: Mosquitto, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "WAIT_S", 0.5)
    monkeypatch.setattr(ownership, "ANSWER_S", 1.0)
    first, _ = open_mqtt(broker.port)
    one = owner(listener)
    second, _ = open_mqtt(broker.port)
    wait_until(lambda: "another device" in second.connection.problem)
    first.close()
    listener.wait("home/desk/device", lambda message: json_of(message).get("id") != one and "ask" not in json_of(message))
    second.write(seen(1, "happy", "happy", "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 3)
    second.close()


def test_an_owner_that_does_not_answer_is_replaced(broker: Mosquitto, listener: Listener) -> None:
    listener.publish("home/desk/device", b'{"id": "0000dead", "host": "old"}', retain=True)
    sink, _ = open_mqtt(broker.port)
    assert json_of(listener.wait("home/desk/device", lambda message: b"ask" in message.payload))["ask"] is True
    assert listener.wait("home/desk/status").payload == b"online"
    sink.close()


@pytest.mark.parametrize(("other", "stays"), [("00000000", False), ("ffffffffffffffff", True)])
def test_of_two_owners_the_one_with_the_lower_id_stays(broker: Mosquitto, listener: Listener, other: str, stays: bool) -> None:
    sink, _ = open_mqtt(broker.port)
    listener.wait("home/desk/status")
    before = len(listener.heard)
    listener.publish("home/desk/device", f'{{"id": "{other}", "host": "twin"}}', retain=True)
    if stays:
        listener.wait("home/desk/device", lambda message: json_of(message)["id"] != other, after=before)
        assert sink.connection.up
    else:
        wait_until(lambda: "twin, id 00000000" in sink.connection.problem)
        assert not sink.connection.up
    sink.close()


def test_a_late_last_will_does_not_make_a_device_offline(broker: Mosquitto, listener: Listener) -> None:
    sink, _ = open_mqtt(broker.port)
    listener.wait("home/desk/status")
    before = len(listener.heard)
    listener.publish("home/desk/status", b"offline", retain=True)
    listener.wait("home/desk/status", lambda message: message.payload == b"online", after=before)
    sink.close()


def test_two_devices_with_the_same_client_id_do_not_throw_each_other_out_again_and_again(
    broker: Mosquitto, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """As two copies of one SD card: the broker ends the first connection."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    sink, _ = open_mqtt(broker.port)
    listener.wait("home/desk/status")
    client_id = ownership.client_id(owner(listener), "home/desk")
    copy = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
    copy.connect("127.0.0.1", broker.port)
    copy.loop_start()
    wait_until(lambda: "same machine id" in sink.connection.problem)
    assert not sink.connection.up
    copy.loop_stop()
    with caplog.at_level(logging.WARNING):
        sink.close()
