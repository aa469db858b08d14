from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from command import Run, one_line
from mosquitto import Listener, Mosquitto

from edgefer.errors import SettingsError, SinkError
from edgefer.mqtt.device import State
from edgefer.mqtt.fleet import COLUMNS, LIMIT_BYTES, Device, Fleet, ago, as_json, cells, summary, table
from edgefer.mqtt.fleet_command import show_fleet
from edgefer.mqtt.fleet_page import page, serve

NOW_S = 1_800_000_000.0
STATE = State(
    time=NOW_S - 130, expression="happy", score=0.934, faces=1, mix={"happy": 0.7, "neutral": 0.25, "sad": 0.049, "fear": 0.001},
    fps=14.96, temperature_c=48.7, version="1.2", model="small", model_sha256="ab" * 32,
)  # fmt: skip


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet("home")
    fleet.heard("home/desk/status", b"online")
    fleet.heard("home/desk/state", msgspec.json.encode(STATE))
    fleet.heard("home/desk/update/status", b'{"state": "rolled_back", "why": "a frame failed"}')
    fleet.heard("home/attic/status", b"offline")
    return fleet


def test_a_row_says_what_a_device_says_of_itself(fleet: Fleet) -> None:
    attic, desk = (dict(zip(COLUMNS, cells(device), strict=True)) for device in fleet.devices(NOW_S))
    assert desk == {
        "device": "desk", "status": "online", "now": "happy 93%", "the last minute": "happy 70%, neutral 25%, sad 5%", "fps": "15.0",
        "°C": "49", "model": "small abababababab", "version": "1.2", "update": "rolled back", "seen": "2 min",
    }  # fmt: skip
    assert attic == dict.fromkeys(COLUMNS, "") | {"device": "attic", "status": "offline"}
    assert summary(fleet.devices(NOW_S), "b") == "2 devices, 1 online, 1 model, 1 version at b"


def test_columns_are_aligned_and_those_without_content_left_out(fleet: Fleet) -> None:
    fleet.heard("home/desk/update/status", b"{}")
    head, attic, desk = table(fleet.devices(NOW_S))
    assert "update" not in head
    assert head.index("status") == attic.index("offline") == desk.index("online")
    assert table([]) == ["  ".join(COLUMNS)]


@pytest.mark.parametrize(
    "payload",
    [b"", b"maybe", b"{", b"[]", b'{"fps": "fast", "state": 3}', b'{"mix": {"\x80": 1}, "state": 3}', b"\xff", b"9" * (LIMIT_BYTES + 1)],
)
@pytest.mark.parametrize("leaf", ["state", "update/status", "something/else"])
def test_what_cannot_be_read_leaves_a_row_as_it_was(fleet: Fleet, leaf: str, payload: bytes) -> None:
    before = fleet.devices(NOW_S)
    fleet.heard(f"home/desk/{leaf}", payload)
    assert fleet.devices(NOW_S) == before


def test_a_device_whose_retained_status_is_cleared_goes(fleet: Fleet) -> None:
    fleet.heard("home/attic/status", b"")
    assert [device.node for device in fleet.devices(NOW_S)] == ["desk"]


def test_what_a_device_says_can_neither_move_the_cursor_nor_become_part_of_the_page(fleet: Fleet) -> None:
    evil = "<script>\x1b[2Jx\n"
    fleet.heard("home/<b>/state", msgspec.json.encode(State(expression=evil, version=evil, model=evil, mix={evil: 1e9, "a": -5})))
    fleet.heard("home/<b>/update/status", json.dumps({"state": evil, "why": '"><script>'}).encode())
    devices = fleet.devices(NOW_S)
    assert all(line.isprintable() for line in table(devices))
    html = page(devices, "b", NOW_S)
    assert "<script>" not in html
    assert "<b>" not in html
    assert "\x1b" not in html


def test_ages_are_said_in_one_number() -> None:
    assert [ago(seconds) for seconds in (0.4, 59, 60, 7200, 200_000)] == ["0 s", "59 s", "1 min", "2 h", "2 d"]


def test_the_page_needs_nothing_from_elsewhere_and_its_only_script_is_the_one_that_is_allowed(fleet: Fleet) -> None:
    html = page(fleet.devices(NOW_S), "b", NOW_S)
    assert not re.search(r"(src|href)=|url\(|@import|<script", html)
    assert html.count("<tr") == 3


@pytest.fixture
def server(fleet: Fleet) -> Iterator[str]:
    server = serve("127.0.0.1:0", lambda: fleet.devices(NOW_S), "broker", lambda: NOW_S)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_served_page_and_its_json_are_read_only_and_for_this_machine_alone(server: str, fleet: Fleet) -> None:
    with urllib.request.urlopen(f"http://{server}/") as answer:
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        assert "desk" in answer.read().decode()
    with urllib.request.urlopen(f"http://{server}/fleet.json") as answer:
        assert answer.read() == as_json(fleet.devices(NOW_S), "broker", NOW_S)
    for path, host, status in (("/etc/passwd", server, 404), ("/", f"evil.example:{server.rpartition(':')[2]}", 421)):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(f"http://{server}{path}", headers={"Host": host}))
        assert error.value.code == status
    with pytest.raises(SinkError, match="cannot listen there"):
        serve(server, list, "broker", lambda: NOW_S)
    for place in ("0.0.0.0:80", "8080", "127.0.0.1:99999", "example.org:80"):
        with pytest.raises(SettingsError, match=r"write 127\.0\.0\.1:PORT"):
            serve(place, list, "broker", lambda: NOW_S)


def test_port_80_is_left_out_of_a_host_s_name(server: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"http://{server}/", headers={"Host": "127.0.0.1"})) as answer:
        assert answer.status == 200


def test_a_browser_that_leaves_in_the_middle_is_not_spoken_of(capfd: pytest.CaptureFixture[str]) -> None:
    asked, left = threading.Event(), threading.Event()

    def devices() -> list[Device]:
        asked.set()
        left.wait(10)
        return []

    server = serve("127.0.0.1:0", devices, "broker", lambda: NOW_S)
    server.daemon_threads = False  # closing waits for the answer
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with socket.create_connection(("127.0.0.1", server.server_port)) as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        browser.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert asked.wait(10)
    left.set()
    server.shutdown()
    thread.join()
    server.server_close()
    assert capfd.readouterr().err == ""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    speaker = Listener(broker.port, "nothing")
    for number in range(3):
        speaker.publish(f"edgefer/d{number}/status", "online", retain=True)
        speaker.publish(f"edgefer/d{number}/state", msgspec.json.encode(STATE), retain=True)
    speaker.close()
    yield broker
    broker.stop()


def test_one_look_shows_every_device_as_text_as_json_or_as_a_page(edgefer: Run, broker: Mosquitto, tmp_path: Path) -> None:
    address = f"mqtt://127.0.0.1:{broker.port}"
    done = edgefer("fleet", "--broker", address)
    assert done.returncode == 0, done.stderr
    assert f"3 devices, 3 online, 1 model, 1 version at {address}/edgefer" in done.stdout
    done = edgefer("fleet", "--broker", address, "--once", "--json", "--html", "fleet.html")
    assert done.returncode == 0, done.stderr
    devices = json.loads(done.stdout)["devices"]
    assert [device["node"] for device in devices] == ["d0", "d1", "d2"]
    assert devices[0]["model_sha256"] == "ab" * 32
    assert (tmp_path / "fleet.html").read_text().count("<tr") == 4
    assert [entry.name for entry in tmp_path.glob("fleet*")] == ["fleet.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--broker", "mqtt://me:swordfish@host"], "login=FILE"),
        (["--broker", "mqtt://127.0.0.1:{broker}", "--html", "/nowhere/fleet.html"], "--html /nowhere/fleet.html: cannot be written"),
        (["--broker", "mqtt://127.0.0.1:{broker}", "--html", "/dev/null/fleet.html"], "cannot be written"),
    ],
)
def test_a_wrong_fleet_is_one_line(edgefer: Run, broker: Mosquitto, arguments: list[str], said: str) -> None:
    done = edgefer("fleet", *(argument.format(broker=broker.port) for argument in arguments))
    assert done.returncode == 1
    assert said in one_line(done.stderr)
    assert "swordfish" not in done.stderr


@pytest.mark.parametrize(
    ("address", "place", "said"),
    [
        ("mqtt://127.0.0.1:1", None, r"no broker answers \(Connection refused\)$"),
        ("host", None, "not a broker's address"),
        ("mqtt://host?every_s=3", None, "unknown key 'every_s'"),
        ("mqtt://host", "0.0.0.0:80", "write 127.0.0.1:PORT"),
    ],
)
def test_a_fleet_that_cannot_be_shown_is_refused(address: str, place: str | None, said: str) -> None:
    pytest.importorskip("paho.mqtt")
    with pytest.raises((SettingsError, SinkError), match=said):
        show_fleet(address, True, False, None, place, threading.Event())


def test_the_live_table_is_drawn_on_a_terminal_and_ends_in_good_order(broker: Mosquitto) -> None:
    import os
    import pty

    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "edgefer", "fleet", "--broker", f"mqtt://127.0.0.1:{broker.port}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "COLUMNS": "200", "LINES": "6"}
    with subprocess.Popen(command, stdout=inside, stderr=subprocess.PIPE, env=environment) as process:
        os.close(inside)
        shown = b""
        while b"3 devices, 3 online" not in shown:
            shown += os.read(terminal, 4096)
        process.terminate()
        assert process.wait(10) == 0
        assert process.stderr
        assert process.stderr.read() == b""
    os.close(terminal)
    assert "2 more; --html FILE and --json show all" in shown.decode()


def test_help_teaches_with_examples(edgefer: Run) -> None:
    done = edgefer("fleet", "--help")
    for word in ("mqtts://", "login=", "--serve", "--html"):
        assert word in done.stdout
