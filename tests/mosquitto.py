"""A real Mosquitto on a free port of this machine, and a client that keeps every message."""

from __future__ import annotations

import atexit
import json
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


class Mosquitto:
    """A broker that can stop and start on the same port; ``config``: lines of its configuration."""

    def __init__(self, folder: Path, *config: str) -> None:
        pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (pip install 'edgefer[mqtt]')")
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
        if program is None:
            pytest.skip("Mosquitto is not installed (apt install mosquitto)")
        self.port = free_port()
        self._file = folder / f"mosquitto-{self.port}.conf"
        self._command = [program, "-c", str(self._file)]
        self._file.write_text("\n".join([f"listener {self.port} 127.0.0.1", "user root", *(config or ("allow_anonymous true",))]) + "\n")
        self._process: subprocess.Popen[str] | None = None
        # A test that fails may not reach its own stop().
        atexit.register(self.stop)
        self.start()

    def start(self) -> None:
        """Start the broker and wait until it listens."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        for line in self._process.stderr:
            if " running" in line:
                break
        else:
            pytest.fail("Mosquitto did not start")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def stop(self) -> None:
        if self._process:
            # A SIGTERM that comes before the broker's main loop is lost.
            for _ in range(30):
                for number in (signal.SIGTERM, signal.SIGCONT):
                    self._process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
                    break
            else:
                pytest.fail("Mosquitto did not stop")
            self._process = None


class Listener:
    """Keeps every message in ``heard``; `wait` returns the first that fits."""

    def __init__(self, port: int, topic: str = "#") -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[Any] = []
        self._changed = threading.Condition()
        subscribed = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _client, _data, message: self._keep(message)
        self.client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(30)

    def _keep(self, message: Any) -> None:
        with self._changed:
            self.heard.append(message)
            self._changed.notify_all()

    def find(self, topic: str, fits: Callable[[Any], bool] = lambda _: True, after: int = 0) -> list[Any]:
        return [message for message in self.heard[after:] if message.topic == topic and fits(message)]

    def wait(self, topic: str, fits: Callable[[Any], bool] = lambda _: True, within_s: float = 30, after: int = 0) -> Any:
        with self._changed:
            if not self._changed.wait_for(lambda: self.find(topic, fits, after), within_s):
                pytest.fail(f"no message that fits on {topic} in {within_s} s; there are {[(m.topic, m.payload[:80]) for m in self.heard]}")
            return self.find(topic, fits, after)[0]

    def publish(self, topic: str, payload: bytes | str, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(30)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def json_of(message: Any) -> Any:
    return json.loads(message.payload)
