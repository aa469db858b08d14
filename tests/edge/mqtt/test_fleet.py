from __future__ import annotations

import json
import os
import pty
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

from edgefer.cli.main import main
from edgefer.errors import SettingsError, SinkError
from edgefer.mqtt import fleet_page
from edgefer.mqtt.device import State
from edgefer.mqtt.fleet import COLUMNS, LIMIT, LIMIT_BYTES, Device, Fleet, ago, as_json, cells, summary, table
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
    fleet.update("home/desk/status", b"online")
    fleet.update("home/desk/state", msgspec.json.encode(STATE))
    fleet.update("home/desk/update/status", b'{"state": "rolled_back", "why": "a frame failed"}')
    fleet.update("home/attic/status", b"offline")
    return fleet


def test_a_row_shows_the_state_of_a_device(fleet: Fleet) -> None:
    attic, desk = (dict(zip(COLUMNS, cells(device), strict=True)) for device in fleet.devices(NOW_S))
    assert desk == {
        "device": "desk", "status": "online", "now": "happy 93%", "the last minute": "happy 70%, neutral 25%, sad 5%", "fps": "15.0",
        "°C": "49", "model": "small abababababab", "version": "1.2", "update": "rolled back", "seen": "2 min",
    }  # fmt: skip
    assert attic == dict.fromkeys(COLUMNS, "") | {"device": "attic", "status": "offline"}
    assert summary(fleet.devices(NOW_S), "b") == "2 devices, 1 online, 1 model, 1 version at b"


def test_columns_are_aligned_and_empty_ones_are_left_out(fleet: Fleet) -> None:
    fleet.update("home/desk/update/status", b"{}")
    head, attic, desk = table(fleet.devices(NOW_S))
    assert "update" not in head
    assert head.index("status") == attic.index("offline") == desk.index("online")
    assert table([]) == ["  ".join(COLUMNS)]


@pytest.mark.parametrize(
    "payload",
    [b"", b"maybe", b"{", b"[]", b'{"fps": "fast", "state": 3}', b'{"mix": {"\x80": 1}, "state": 3}', b"\xff", b"9" * (LIMIT_BYTES + 1)],
)
@pytest.mark.parametrize("leaf", ["state", "update/status", "something/else"])
def test_a_malformed_message_does_not_change_a_row(fleet: Fleet, leaf: str, payload: bytes) -> None:
    before = fleet.devices(NOW_S)
    fleet.update(f"home/desk/{leaf}", payload)
    assert fleet.devices(NOW_S) == before


def test_memory_is_bounded_by_devices_names_and_entries(fleet: Fleet) -> None:
    crowd = Fleet("home")
    for number in range(LIMIT + 100):
        crowd.update(f"home/d{number}/status", b"online")
    assert len(crowd.devices(NOW_S)) == LIMIT
    fleet.update(f"home/{'x' * 65}/status", b"online")
    fleet.update("home/attic/state", msgspec.json.encode({"mix": {f"k{n:03d}{'x' * 100}": 0.5 for n in range(60)}}))
    attic, _ = fleet.devices(NOW_S)
    assert len(attic.state.mix) == 32
    assert max(map(len, attic.state.mix)) == 64


def test_a_device_whose_clock_is_ahead_is_shown_as_such(fleet: Fleet) -> None:
    fleet.update("home/attic/state", msgspec.json.encode(msgspec.structs.replace(STATE, time=NOW_S + 2 * 86_400)))
    attic, _ = fleet.devices(NOW_S)
    assert cells(attic)[-1] == "clock 2 d ahead"
    assert attic.age_s == -2 * 86_400
    fleet.update("home/attic/state", msgspec.json.encode(msgspec.structs.replace(STATE, time=NOW_S + 3)))
    assert cells(fleet.devices(NOW_S)[0])[-1] == "0 s"


def test_idle_connections_have_a_bounded_number_of_threads_and_are_closed(
    server: str, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_page, "IDLE_S", 1.0)
    before = threading.active_count()
    address = ("127.0.0.1", int(server.rpartition(":")[2]))
    idle = [socket.create_connection(address, 30) for _ in range(100)]
    assert all(connection.recv(1) == b"" for connection in idle[fleet_page.MAX_CONNECTIONS :])
    assert threading.active_count() - before <= 2 * fleet_page.MAX_CONNECTIONS
    assert all(connection.recv(1) == b"" for connection in idle[: fleet_page.MAX_CONNECTIONS])
    with urllib.request.urlopen(f"http://{server}/") as answer:
        assert answer.status == 200
    for connection in idle:
        connection.close()


def test_a_cleared_status_removes_the_device(fleet: Fleet) -> None:
    fleet.update("home/attic/status", b"")
    assert [device.node for device in fleet.devices(NOW_S)] == ["desk"]


def test_text_of_a_device_cannot_move_the_cursor_or_become_html(fleet: Fleet) -> None:
    evil = "<script>\x1b[2Jx\n"
    fleet.update("home/<b>/state", msgspec.json.encode(State(expression=evil, version=evil, model=evil, mix={evil: 1e9, "a": -5})))
    fleet.update("home/<b>/update/status", json.dumps({"state": evil, "why": '"><script>'}).encode())
    devices = fleet.devices(NOW_S)
    assert all(line.isprintable() for line in table(devices))
    html = page(devices, "b", NOW_S)
    assert "<script>" not in html
    assert "<b>" not in html
    assert "\x1b" not in html


def test_an_age_is_one_number_with_a_unit() -> None:
    assert [ago(seconds) for seconds in (0.4, 59, 60, 7200, 200_000)] == ["0 s", "59 s", "1 min", "2 h", "2 d"]


def test_the_page_has_no_external_files_and_no_script_unless_it_is_live(fleet: Fleet) -> None:
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


def test_the_page_and_its_json_are_served_to_this_machine_only(server: str, fleet: Fleet) -> None:
    with urllib.request.urlopen(f"http://{server}/") as answer:
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        assert "desk" in answer.read().decode()
    with urllib.request.urlopen(f"http://{server}/fleet.json") as answer:
        assert answer.read() == as_json(fleet.devices(NOW_S), "broker", NOW_S)
    for path, host, status in (("/etc/passwd", server, 404), ("/", f"evil.example:{server.rpartition(':')[2]}", 421)):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(f"http://{server}{path}", headers={"Host": host}))
        assert error.value.code == status
    with pytest.raises(SinkError, match="Address already in use"):
        serve(server, list, "broker", lambda: NOW_S)
    for address in ("0.0.0.0:80", "8080", "127.0.0.1:99999", "example.org:80"):
        with pytest.raises(SettingsError, match=r"127\.0\.0\.1:PORT"):
            serve(address, list, "broker", lambda: NOW_S)


def test_a_host_header_without_a_port_is_accepted(server: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"http://{server}/", headers={"Host": "127.0.0.1"})) as answer:
        assert answer.status == 200


def test_a_browser_that_closes_the_connection_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    asked, left = threading.Event(), threading.Event()

    def devices() -> list[Device]:
        asked.set()
        left.wait(30)
        return []

    server = serve("127.0.0.1:0", devices, "broker", lambda: NOW_S)
    server.daemon_threads = False  # closing waits for the answer
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with socket.create_connection(("127.0.0.1", server.server_port)) as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        browser.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert asked.wait(30)
    left.set()
    server.shutdown()
    thread.join()
    server.server_close()
    assert capfd.readouterr().err == ""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    device = Listener(broker.port, "nothing")
    for number in range(3):
        device.publish(f"edgefer/d{number}/status", "online", retain=True)
        device.publish(f"edgefer/d{number}/state", msgspec.json.encode(STATE), retain=True)
    device.close()
    yield broker
    broker.stop()


def test_the_fleet_is_shown_once_as_text(edgefer: Run, broker: Mosquitto) -> None:
    address = f"mqtt://127.0.0.1:{broker.port}"
    done = edgefer("fleet", "--broker", address)
    assert done.returncode == 0, done.stderr
    assert f"3 devices, 3 online, 1 model, 1 version at {address}/edgefer" in done.stdout


def test_the_fleet_is_shown_as_json_and_as_a_page(broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = tmp_path / "fleet.html"
    show_fleet(f"mqtt://127.0.0.1:{broker.port}", once=True, json=True, html=str(html), serve_at=None, stop=threading.Event())
    devices = json.loads(capsys.readouterr().out)["devices"]
    assert [device["node"] for device in devices] == ["d0", "d1", "d2"]
    assert devices[0]["model_sha256"] == "ab" * 32
    assert html.read_text().count("<tr") == 4
    assert [entry.name for entry in tmp_path.glob("*fleet*")] == ["fleet.html"]


@pytest.mark.parametrize("html", ["/nowhere/fleet.html", "/dev/null/fleet.html"])
def test_a_page_that_cannot_be_written_is_named_with_its_option(broker: Mosquitto, html: str) -> None:
    with pytest.raises(SettingsError, match=f"--html {html}"):
        show_fleet(f"mqtt://127.0.0.1:{broker.port}", once=True, json=False, html=html, serve_at=None, stop=threading.Event())


def test_a_password_in_the_address_is_refused_in_one_line_without_it(edgefer: Run) -> None:
    done = edgefer("fleet", "--broker", "mqtt://me:swordfish@host")
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert "login=FILE" in line
    assert "swordfish" not in line


@pytest.mark.parametrize(
    ("address", "serve_at", "fact"),
    [
        ("mqtt://127.0.0.1:1", None, "Connection refused"),
        ("host", None, "mqtt://host/base/node"),
        ("mqtt://host?every_s=3", None, "every_s"),
        ("mqtt://host", "0.0.0.0:80", "127.0.0.1:PORT"),
    ],
)
def test_a_fleet_that_cannot_be_shown_is_refused(address: str, serve_at: str | None, fact: str) -> None:
    pytest.importorskip("paho.mqtt")
    with pytest.raises((SettingsError, SinkError), match=fact):
        show_fleet(address, once=True, json=False, html=None, serve_at=serve_at, stop=threading.Event())


def test_the_live_table_is_drawn_on_a_terminal_and_ends_with_status_0(broker: Mosquitto) -> None:
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "edgefer", "fleet", "--broker", f"mqtt://127.0.0.1:{broker.port}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "COLUMNS": "200", "LINES": "6"}
    with subprocess.Popen(command, stdout=inside, stderr=subprocess.PIPE, env=environment) as process:
        os.close(inside)
        drawn = b""
        while b"3 devices, 3 online" not in drawn:
            drawn += os.read(terminal, 4096)
        process.terminate()
        assert process.wait(30) == 0
        assert process.stderr
        assert process.stderr.read() == b""
    os.close(terminal)
    assert "2 more; --html FILE and --json show all" in drawn.decode()


def test_the_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fleet", "--help"])
    text = capsys.readouterr().out
    for word in ("mqtts://", "login=", "--serve", "--html"):
        assert word in text
