"""Secrets are planted everywhere a user can put one; the real commands run; all their output and files are searched for them.

Every secret holds the word `PLANT`, on both sides of each character that may split it.
"""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import pytest
from command import Run
from mosquitto import Listener, Mosquitto, free_port, json_of

from edgefer.cli.main import main
from edgefer.sources.synthetic import Scene

PLANT = "xyzzy"
PASSWORDS = [f"{PLANT}{mark}{PLANT}" for mark in ("", "/", "@", "#", "?", ":", " ", "%", "[", "]", "\\", "://", "@x/", "é")]
ADDRESSES = [
    f"rtsp://me:{PLANT}@127.0.0.1:9/live?token={PLANT}#timeout_s=0.5",
    f"rtsp://me:{PLANT}/{PLANT}@127.0.0.1:9/live",
    f"http://127.0.0.1:9/video?{PLANT}",
    f"mqtt://me:{PLANT}/{PLANT}@127.0.0.1:9/base/node",
    f"RTSP:me:{PLANT}@127.0.0.1",
]

TOKEN = f"{PLANT}-0123456789abcdef"
LOGIN = f"me:{PLANT}-login"


def check(*output: object) -> None:
    """Fails if one of these holds a secret, and shows the line."""
    for text in map(str, output):
        found = [line for line in text.splitlines() if PLANT in line]
        assert not found, found


def check_files(folder: Path) -> None:
    """The same for every file below a folder, and for the files in zips; planted files are left out."""
    for path in (path for path in folder.rglob("*") if path.is_file() and "planted" not in path.parts):
        content = path.read_bytes()
        assert PLANT.encode() not in content, path
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    check(archive.read(name).decode())


def run_all(edgefer: Run, commands: list[list[str]]) -> None:
    """Run each command in its own process; none may crash."""

    def run(arguments: list[str]) -> None:
        done = edgefer(*arguments)
        assert "Traceback" not in done.stderr, done.stderr
        check(done.stdout, done.stderr)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, commands))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder of configurations and what they name."""
    folder = tmp_path / "planted"
    folder.mkdir()
    for name, text in (("web.token", TOKEN), ("login", LOGIN), ("web-token", TOKEN), ("mqtt-password", LOGIN)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return folder


def every_command(config: Path) -> list[list[str]]:
    """That reads a configuration."""
    return [
        ["check-config", f"{config}"],
        ["doctor", "--config", f"{config}"],
        ["doctor", "--json", "--config", f"{config}"],
        ["doctor", "--config", f"{config}", "--bundle", f"{config.stem}.zip"],
        ["run", "--config", f"{config}"],
        ["history", "--config", f"{config}"],
    ]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Run a command in this process; log and signal handlers are restored afterwards."""
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger()
    level, handlers = log.level, list(log.handlers)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> None:
        with suppress(SystemExit):  # the parser's
            main(list(arguments))
        output = capsys.readouterr()
        assert "Traceback" not in output.err, output.err
        check(output.out, output.err)

    yield run
    log.setLevel(level)
    log.handlers[:] = handlers
    for number, handler in signals.items():
        signal.signal(number, handler)


def test_no_password_is_shown_whatever_characters_it_has(edgefer: Run, here: Callable[..., None], planted: Path, tmp_path: Path) -> None:
    for number, password in enumerate(PASSWORDS):
        camera, broker, page = (
            json.dumps(address.format(f"me:{password}"), ensure_ascii=False)
            for address in ("rtsp://{}@127.0.0.1:9/live", "mqtt://{}@127.0.0.1:9/base/node", "http://{}@127.0.0.1:8080")
        )
        addresses = {"camera": f"source = {camera}", "broker": f"sinks = [{broker}]", "page": f"sinks = [{page}]"}
        for name, text in addresses.items():
            (planted / f"{name}{number}.toml").write_text(text)
            here("check-config", f"{planted}/{name}{number}.toml")
        here("fleet", "--once", "--broker", f"mqtt://me:{password}@127.0.0.1:9")
    run_all(edgefer, [["run", "--config", f"{planted}/camera{number}.toml"] for number in range(len(PASSWORDS))])
    check_files(tmp_path)


WRONG = {
    "source": f'source = "rtsp://me:{PLANT}@127.0.0.1:9/live?token={PLANT}#timeout=5"',
    "type": f'threads = "two"\nsource = "rtsp://me:{PLANT}@127.0.0.1:9/live"',
    "unknown": f'mqtt_password = "{PLANT}"\nsource = "synthetic:"',
    "list": f'source = ["rtsp://me:{PLANT}@127.0.0.1:9/live"]',
    "broken": f'source = "rtsp://me:{PLANT}@127.0.0.1:9/live" "{PLANT}"',
    "comment": f"# {PLANT}\nsource = 'synthetic:?seconds=1' # {PLANT}\nsinks = ['status']",
    "login": f'source = "synthetic:?seconds=1"\nsinks = ["mqtt://127.0.0.1:9/base/node?login=me:{PLANT}"]',
    "password": f'source = "synthetic:?seconds=1"\nsinks = ["mqtt://127.0.0.1:9/base/node?password={PLANT}"]',
    "no-at": f'source = "synthetic:?seconds=1"\nsinks = ["mqtt://me:{PLANT}"]',
    "token": f'source = "synthetic:?seconds=1"\nsinks = ["http://127.0.0.1:8080?token={PLANT}"]',
    "token-file": f'source = "synthetic:?seconds=1"\nsinks = ["http://0.0.0.0:8080?token_file={TOKEN.replace("-", "")}"]',
    "listen": f'source = "synthetic:?seconds=1"\nsinks = ["http://127.0.0.1:{PLANT}"]',
    "webhook": f'source = "synthetic:?seconds=1"\n[[action]]\nwebhook = "http://me:{PLANT}/{PLANT}@host/{PLANT}"',
    "command": f'source = "synthetic:?seconds=1"\n[[action]]\ncommand = ["no-such-program --key {PLANT}", "{PLANT}"]',
    "update": f'source = "synthetic:?seconds=1"\n[update]\nenabled = true\nschemes = ["https://me:{PLANT}@host"]',
}


def test_an_error_beside_a_secret_is_reported_without_it(edgefer: Run, here: Callable[..., None], planted: Path, tmp_path: Path) -> None:
    commands = []
    for name, text in WRONG.items():
        config = planted / f"{name}.toml"
        config.write_text(text + "\n")
        here("check-config", f"{config}")
        here("doctor", "--config", f"{config}", "--bundle", f"{name}.zip")
        commands += every_command(config) if name in ("source", "broken") else [["run", "--config", f"{config}"]]
    run_all(edgefer, commands)
    assert {path.stem for path in tmp_path.glob("*.zip")} == set(WRONG)
    check_files(tmp_path)


def test_an_address_in_the_wrong_argument_keeps_its_secret(edgefer: Run, here: Callable[..., None], tmp_path: Path) -> None:
    commands: list[list[str]] = []
    for address in ADDRESSES:
        for arguments in (
            ["show", address],
            ["fleet", "--once", "--broker", address],
            ["setup", "--yes", "--config", "new.toml", "--source", address],
            ["service", "install", "--config", address],
            ["check-config", address],
            ["doctor", "--config", address],
            ["doctor", "--bundle", address],
            ["history", address],
            ["report", "--from", address],
            [address],
        ):
            here(*arguments)
        commands += [
            ["run", "--source", address, "--sink", "jsonl:-"],
            ["run", "--source", "synthetic:?seconds=1", "--sink", address],
            ["run", "--model", address],
            ["run", address],
        ]
    run_all(edgefer, commands)
    check_files(tmp_path)


class Camera(http.server.BaseHTTPRequestHandler):
    """An MJPEG camera."""

    jpeg = b""
    over = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with suppress(OSError):
            while not self.over.wait(0.05):
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(self.jpeg), self.jpeg))

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def camera(scene: Scene) -> Iterator[str]:
    Camera.jpeg = cv2.imencode(".jpg", scene.draw(0))[1].tobytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:{PLANT}%2F@127.0.0.1:{server.server_address[1]}/video?token={PLANT}#frozen_s=0"
    Camera.over.set()
    server.shutdown()
    server.server_close()


class Service:
    """``edgefer run`` as systemd starts it; its output is kept."""

    def __init__(self, folder: Path, *arguments: str, **more: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(60)
        environment = {
            **os.environ, **more, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "NOTIFY_SOCKET": str(folder / "notify"),
            "CREDENTIALS_DIRECTORY": str(folder / "planted"), "STATE_DIRECTORY": str(folder / "state"),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgefer", "run", *arguments], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.output, self._notified, self._changed = list[str](), "", threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._changed:
                self.output.append(line)
                self._changed.notify_all()

    def until(self, *words: str) -> None:
        """Wait until the output has each of these."""
        with self._changed:
            if not self._changed.wait_for(lambda: all(word in "".join(self.output) for word in words), 60):
                pytest.fail(f"one of {words} is not in the output: {''.join(self.output)}")

    def until_ready(self) -> None:
        """Wait for its message to systemd."""
        while "READY=1" not in self._notified:
            self._notified += self._socket.recv(4096).decode()

    def end(self) -> str:
        """Stop it; returns its output and its messages to systemd."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) in (0, 1)
        self._listener.join(60)
        self._socket.settimeout(0.1)
        with suppress(TimeoutError):
            while True:
                self._notified += self._socket.recv(4096).decode()
        return "".join(self.output) + self._notified


@pytest.mark.skipif(sys.platform != "linux", reason="systemd's socket is Linux' own")
def test_a_running_service_full_of_secrets_shows_none(edgefer: Run, planted: Path, tmp_path: Path, camera: str) -> None:
    for library in ("starlette", "uvicorn", "prometheus_client", "paho.mqtt"):
        pytest.importorskip(library)
    port = free_port()
    config = planted / "config.toml"
    text = f"""
source = "{camera}"
sinks = ["jsonl:faces.jsonl", "status:", "history:history.db", "http://127.0.0.1:{port}",
         "mqtt://127.0.0.1:{free_port()}/base/node"]
log_level = "debug"
[[action]]
name = "lamp"
command = ["false", "{PLANT}"]
[[action]]
name = "hook"
webhook = "http://hook.invalid/{PLANT}?{PLANT}"
"""
    config.write_text(text)
    # The page's token and the broker's login are systemd credentials; urllib itself quotes a proxy's address that it cannot read.
    service = Service(tmp_path, "--config", f"{config}", http_proxy=f"http://me:{PLANT}/{PLANT}@127.0.0.1:9", no_proxy="127.0.0.1")
    try:
        service.until_ready()
        service.until("action lamp: false ended with 1", "action hook: the webhook at hook.invalid", "no broker answers")
        for path in ("/", "/api/state", "/api/history", "/metrics", "/healthz", f"/{PLANT}"):
            for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"Bearer wrong-{PLANT}"}):
                request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
                try:
                    with urllib.request.urlopen(request, timeout=10) as answer:
                        check(answer.read().decode(), answer.headers)
                except urllib.error.HTTPError as error:
                    check(error.read().decode(), error.headers)
        config.write_text(text + f'password = "{PLANT}"\n')
        service.process.send_signal(signal.SIGHUP)
        service.until("unknown key 'action[1].password'", "going on with")
        service.process.send_signal(signal.SIGUSR1)
        service.until("Current thread")
    finally:
        output = service.end()
    check(output)
    config.write_text(text)
    run_all(edgefer, every_command(config)[:4])
    check_files(tmp_path)


def test_an_update_from_an_address_with_a_secret_is_reported_without_it(planted: Path, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    listener = Listener(broker.port, "edgefer/desk/update/status")
    config = planted / "config.toml"
    config.write_text(f"""
source = "synthetic:"
sinks = ["mqtt://127.0.0.1:{broker.port}/edgefer/desk", "status:"]
update.enabled = true
update.schemes = ["http"]
""")
    service = Service(tmp_path, "--config", f"{config}")
    try:
        service.until_ready()
        listener.wait("edgefer/desk/update/status", lambda message: json_of(message)["state"] == "ready")
        for url in (
            f"http://me:{PLANT}@127.0.0.1:9/x", f"http://me:{PLANT}/{PLANT}@127.0.0.1:9/x", f"http://127.0.0.1:{PLANT}/x", f"http://[{PLANT}]/",
            f"http://{PLANT}℀.example/", f"{PLANT}:x", f"http://127.0.0.1:9/x?{PLANT}\x7f",
        ):  # fmt: skip
            before = len(listener.heard)
            listener.publish("edgefer/desk/update", json.dumps({"url": url, "sha256": "0" * 64}))
            listener.wait("edgefer/desk/update/status", lambda message: json_of(message)["why"], after=before)
    finally:
        output = service.end()
        listener.close()
        broker.stop()
    check(output, *(message.payload.decode() for message in listener.heard))


def test_a_crash_of_the_program_or_of_a_thread_quotes_no_secret(tmp_path: Path) -> None:
    code = f"""
import sys, threading, edgefer.cli.daemon
from edgefer.cli.main import main

def crash():
    raise ValueError("no: " + "rtsp://me:" + "{PLANT[:2]}" + "{PLANT[2:]}/x@camera")

def run(*_, **__):
    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    crash()

edgefer.cli.daemon.run = run
sys.exit(main(["run"]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.count("ValueError: no: rtsp://…@camera") == 2
    check(done.stderr)
