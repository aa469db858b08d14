"""What a broker refuses, and how it is reported, against a real broker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mosquitto import Listener, Mosquitto, json_of
from mqtt_sink import open_mqtt, seen, wait_until

SOON_S = 30.0
"""Misconfiguration is reported within five seconds; a loaded machine is slower."""


def test_mqtt_to_a_tls_port_is_reported_with_the_remedy(authority: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [f"cafile {authority}/ca.pem", f"certfile {authority}/broker.pem", f"keyfile {authority}/broker.key"]
    broker = Mosquitto(authority, "allow_anonymous true", *files)
    sink, _ = open_mqtt(broker.port)
    wait_until(lambda: sink.connection.problem, SOON_S)
    assert "mqtts://" in sink.connection.problem
    sink.close()
    broker.stop()
    assert caplog.text.count("mqtts://") == 1


def test_a_silent_port_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink, _ = open_mqtt(server.getsockname()[1])
        wait_until(lambda: "no answer within 4 s" in sink.connection.problem, SOON_S)
        sink.close()
    assert caplog.text.count("no answer") == 1


@pytest.mark.parametrize(("forbidden", "kind"), [("homeassistant/device/home_desk/config", "write"), ("home/desk/state", "write")])
def test_a_topic_that_the_broker_user_may_not_write_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, forbidden: str, kind: str
) -> None:
    topics = ["home/desk/#", "homeassistant/#"]
    rules = [f"topic deny {forbidden}", *(f"topic readwrite {topic}" for topic in topics)]
    (tmp_path / "acl").write_text("\n".join(rules) + "\n")
    broker = Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {tmp_path}/acl")
    sink, clock = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    for index in range(5):
        clock.now_s += 2
        sink.write(seen(index, "happy", *(["happy"] * (index % 2))))
    wait_until(lambda: forbidden in caplog.text, SOON_S)
    assert f"does not permit users without a login to {kind}" in caplog.text
    assert "docs/mqtt.md" in caplog.text
    sink.close()
    broker.stop()
    assert caplog.text.count("does not permit") == 1


class OldBroker:
    """A broker that does not speak MQTT 5, in front of a real one: it closes the connection, as old brokers do, or answers like 3.1.1."""

    def __init__(self, port: int, answers: bool) -> None:
        self._port, self._answers = port, answers
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.versions: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        first = client.recv(4096)
        # CONNECT: a byte, the length, the name of the protocol with its length, then its version.
        version = first[first.index(b"MQTT") + 4]
        self.versions.append(version)
        if version == 5:
            if self._answers:
                client.sendall(b"\x20\x02\x00\x01")
            client.close()
            return
        upstream = socket.create_connection(("127.0.0.1", self._port))
        upstream.sendall(first)
        threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
        _copy(client, upstream)

    def close(self) -> None:
        self._server.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(4096):
            target.sendall(chunk)


@pytest.fixture(params=[True, False], ids=["refuses", "hangs-up"])
def old_broker(request: pytest.FixtureRequest, broker: Mosquitto) -> Iterator[OldBroker]:
    old = OldBroker(broker.port, request.param)
    yield old
    old.close()


def test_a_broker_without_mqtt_5_gets_3_1_1(old_broker: OldBroker, listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    sink, _ = open_mqtt(old_broker.port)
    assert sink.connection.wait_up(30)
    sink.write(seen(0, "happy"))
    listener.wait("home/desk/state", lambda message: json_of(message)["faces"] == 1)
    assert old_broker.versions == [5, 4]
    sink.close()
    assert "refuse" not in caplog.text


def test_the_broker_s_reason_for_the_end_of_a_connection_is_logged(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    broker.stop()
    wait_until(lambda: sink.connection.losses)
    sink.close()
    assert "the connection was lost" in caplog.text


def test_a_pause_ends_by_itself(broker: Mosquitto) -> None:
    sink, _ = open_mqtt(broker.port)
    assert sink.connection.wait_up(30)
    begun_s = time.monotonic()
    sink.connection.pause(0.3, "a reason")
    assert not sink.connection.up
    assert sink.connection.wait_up(30)
    assert time.monotonic() - begun_s >= 0.3
    assert not sink.connection.problem
    sink.close()
