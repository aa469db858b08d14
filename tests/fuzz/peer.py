"""A hostile neighbour of a running daemon: its camera, its broker, its server of models and clients of its page, all at once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import cv2

from edgefer.sources.synthetic import Scene, SyntheticOptions

TOKEN = "kV3-the-owner-of-the-page-9Qx"
DEADLINE_S = 120.0
Behave = Callable[[socket.socket], None]


class Neighbour:
    """A server on this machine; ``behave`` treats each new connection, and `push` sends to those that are open."""

    def __init__(self, behave: Behave) -> None:
        self.behave, self.over = behave, threading.Event()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open = [*self._open[-20:], connection]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            self.behave(connection)

    def push(self, content: bytes) -> None:
        """Send bytes on every open connection."""
        for connection in self._open:
            with suppress(OSError):
                connection.send(content, socket.MSG_DONTWAIT)

    def drop(self) -> None:
        """Close every connection."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop."""
        self.over.set()
        self.drop()
        self._listening.close()


class Peer:
    """The neighbours, and the daemon that has to live with them."""

    def __init__(self, folder: Path) -> None:
        scene = Scene(SyntheticOptions(size="160x120"))
        self._pictures = [cv2.imencode(".jpg", scene.draw(10 * index))[1].tobytes() for index in range(8)]
        self.camera, self.broker, self.models = Neighbour(self.good_camera), Neighbour(self.good_broker), Neighbour(lambda _: None)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        (folder / "config.toml").write_text(f"""
source = "http://127.0.0.1:{self.camera.port}/live.mjpg#timeout_s=0.5&frozen_s=0"
sinks = ["http://127.0.0.1:{self.port}?token_file=token", "mqtt://127.0.0.1:{self.broker.port}/home/desk", "jsonl:/dev/null"]
source_timeout_s = 600
log_level = "info"
[update]
enabled = true
schemes = ["http"]
allow_local = true
timeout_s = 1
[[action]]
cooldown_s = 1
webhook = "http://127.0.0.1:{self.models.port}/hook"
timeout_s = 1
""")
        self._log = folder / "log"
        path = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": path, "STATE_DIRECTORY": str(folder / "state")}
        with self._log.open("w") as stderr:
            command = [sys.executable, "-m", "edgefer", "run", "--config", "config.toml"]
            self.daemon = subprocess.Popen(command, cwd=folder, env=environment, stderr=stderr)
        self.check()

    def good_camera(self, connection: socket.socket) -> None:
        """An MJPEG stream without a fault."""
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n")
        index = 0
        while not self.camera.over.wait(0.1):
            picture = self._pictures[index % len(self._pictures)]
            connection.sendall(b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture))
            index += 1

    def good_broker(self, connection: socket.socket) -> None:
        """Accepts the login, and reads."""
        connection.recv(4096)
        connection.sendall(b"\x20\x02\x00\x00")
        while connection.recv(4096):
            pass

    def check(self) -> None:
        """The daemon runs, answers, and lets its owner in."""
        end_s = time.monotonic() + DEADLINE_S
        while self._status("/healthz") != 200 or self._status("/api/model", TOKEN) != 200:
            assert self.daemon.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < end_s, "the owner is not let in"
            time.sleep(0.1)
        assert "Traceback" not in self._log.read_text()

    def _status(self, path: str, token: str = "") -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as owner, suppress(OSError, http.client.HTTPException):
            owner.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            return owner.getresponse().status
        return 0

    def close(self) -> None:
        """A stop ends the daemon in time, whatever its neighbours do."""
        self.daemon.send_signal(signal.SIGTERM)
        try:
            assert self.daemon.wait(DEADLINE_S) in (0, 1)
        finally:
            self.daemon.kill()
            for neighbour in (self.camera, self.broker, self.models):
                neighbour.close()
        assert "Traceback" not in self._log.read_text()


def publish(topic: str, payload: bytes) -> bytes:
    """An MQTT packet: a message without an acknowledgement."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    length, left = b"", len(body)
    while True:
        left, low = divmod(left, 128)
        length += bytes([low | 128 * bool(left)])
        if not left:
            return b"\x30" + length + body


def order(port: int, sha256: str) -> bytes:
    """An update order for the server of models."""
    return json.dumps({"url": f"http://127.0.0.1:{port}/m", "sha256": sha256}).encode()
