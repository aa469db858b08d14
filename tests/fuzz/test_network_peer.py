from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import ClassVar

import pytest

pytest.importorskip("starlette", reason="the web page's libraries are not installed (pip install 'edgefer[web]')")
pytest.importorskip("uvicorn", reason="the web page's libraries are not installed (pip install 'edgefer[web]')")
pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (pip install 'edgefer[mqtt]')")

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from peer import Behave, Peer, order, publish

EXAMPLES = int(os.environ.get("EDGEFER_PEER_EXAMPLES", "4"))
"""`make fuzz` sets more."""
STEPS = 12

HTTP = st.sampled_from([
    b"GET / HTTP/1.1\r\n", b"GET /api/picture HTTP/1.1\r\nHost: localhost\r\n\r\n", b"POST /login HTTP/1.1\r\nHost: localhost\r\n",
    b"Content-Length: 9999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"Authorization: Bearer x\r\n",
    b"Cookie: edgefer=\xff\r\n", b"\r\n",
])  # fmt: skip
ANSWERS = st.sampled_from([
    b"HTTP/1.0 200 OK\r\n", b"Content-Length: 5\r\n", b"Content-Type: multipart/x-mixed-replace; boundary=f\r\n", b"\r\n", b"--f\r\n",
    b"Content-Type: image/jpeg\r\n", b"\xff\xd8\xff", b"HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    b"HTTP/1.0 403 x\r\n\r\n", b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", b"\x30\x02\x00", b"\x20\x02\x00\x05",
    b"\xd0\x00", b"\x90\xff\xff\xff\xff",
])  # fmt: skip


def parts(known: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    """A few parts of what the other side expects, mixed with any bytes."""
    return st.lists(known | st.binary(max_size=60), max_size=8)


def says(content: list[bytes], hold: bool) -> Behave:
    """A neighbour that sends these parts, then hangs up or keeps the connection."""

    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"".join(content))
        while hold and connection.recv(4096):
            pass
        connection.close()

    return behave


class Neighbours(RuleBasedStateMachine):
    peer: ClassVar[Peer]

    def __init__(self) -> None:
        super().__init__()
        self.held: list[socket.socket] = []

    @rule(content=parts(ANSWERS), hold=st.booleans())
    def camera(self, content: list[bytes], hold: bool) -> None:
        self.peer.camera.behave = says(content, hold)
        self.peer.camera.drop()

    @rule(content=parts(ANSWERS), hold=st.booleans())
    def broker(self, content: list[bytes], hold: bool) -> None:
        self.peer.broker.behave = says([b"\x20\x02\x00\x00", *content], hold)
        self.peer.broker.drop()

    @rule(content=parts(ANSWERS), hold=st.booleans())
    def models(self, content: list[bytes], hold: bool) -> None:
        self.peer.models.behave = says(content, hold)

    @rule(leaf=st.sampled_from(["update", "state", "x"]), payload=st.binary(max_size=200))
    def message(self, leaf: str, payload: bytes) -> None:
        self.peer.broker.push(publish(f"home/desk/{leaf}", payload))

    @rule(digit=st.sampled_from("0123456789abcdef"))
    def update(self, digit: str) -> None:
        self.peer.broker.push(publish("home/desk/update", order(self.peer.models.port, digit * 64)))

    @rule(content=parts(HTTP), count=st.integers(1, 80), hold=st.booleans())
    def client(self, content: list[bytes], count: int, hold: bool) -> None:
        for _ in range(count):
            with suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", self.peer.port), 5, source_address=("127.0.0.3", 0))
                connection.sendall(b"".join(content))
                if hold:
                    self.held.append(connection)
                else:
                    connection.close()

    @rule()
    def reload(self) -> None:
        self.peer.reload()

    @invariant()
    def lives(self) -> None:
        self.peer.check()

    def teardown(self) -> None:
        for connection in self.held:
            connection.close()
        self.peer.camera.behave, self.peer.broker.behave = self.peer.good_camera, self.peer.good_broker
        self.peer.camera.drop()
        self.peer.broker.drop()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    found = Peer(tmp_path_factory.mktemp("peer"))
    yield found
    found.close()


@pytest.mark.slow
def test_no_neighbour_in_the_network_stops_the_daemon_or_locks_its_owner_out(peer: Peer) -> None:
    Neighbours.peer = peer
    how = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Neighbours, settings=how)
