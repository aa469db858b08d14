"""A real Home Assistant Core in a Debian root, with its own onboarding, MQTT entry and recorder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mosquitto import free_port

KEPT = Path(os.environ.get("EDGEFER_HA_BUILD", Path(__file__).parents[2] / "build" / "homeassistant")).resolve()
"""The roots that tests/homeassistant/install.sh makes, one for each Core; 'make clean' removes them."""
START_S = 300.0
CONFIGURATION = """\
homeassistant: {{name: Test, country: DE, unit_system: metric, time_zone: UTC, latitude: 52, longitude: 13, elevation: 30}}
http: {{server_host: 127.0.0.1, server_port: {port}}}
frontend:
recorder: {{commit_interval: 1}}
counter: {{smiles: {{}}, events: {{}}, triggers: {{}}}}
input_boolean: {{lamp: {{}}}}
automation: !include automations.yaml
logger: {{default: warning}}
"""


def roots() -> list[Path]:
    """The roots there are, the newest Core last."""
    return sorted((path for path in KEPT.glob("core-*") if (path / "ha/bin/hass").exists()), key=lambda path: path.name)


class Core:
    """Home Assistant with the folder as its configuration; ``automations`` is its automations.yaml."""

    def __init__(self, root: Path, folder: Path, automations: str = "[]") -> None:
        if os.geteuid() != 0 or not shutil.which("bwrap"):
            pytest.skip("running Home Assistant in its root takes root and bwrap (apt install bubblewrap)")
        self.folder, self._root, self._port = folder, root, free_port()
        (folder / "configuration.yaml").write_text(CONFIGURATION.format(port=self._port))
        (folder / "automations.yaml").write_text(automations)
        if list(root.glob("ha/lib/python3.*/site-packages/homeassistant/components/http/config.py")):
            # A new Core takes the address back after five minutes, unless it is confirmed.
            (folder / ".storage").mkdir()
            http = {"server_port": self._port, "server_host": ["127.0.0.1"], "created_at": "2026-01-01T00:00:00+00:00",
                    "error": None, "error_message": None, "cors_allowed_origins": [], "login_attempts_threshold": -1,
                    "ip_ban_enabled": True, "ssl_profile": "intermediate_v6", "use_x_frame_options": True}  # fmt: skip
            data = {"stable": http, "pending": None, "yaml_migration_done": True}
            (folder / ".storage/http").write_text(json.dumps({"version": 3, "minor_version": 1, "key": "http", "data": data}))
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it has set up everything."""
        # The same path inside: blueprints and the database are read from both sides.
        command = ["bwrap", "--die-with-parent", "--bind", self._root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
                   "--bind", self.folder, "/config", "/ha/bin/hass", "--config", "/config", "--skip-pip"]  # fmt: skip
        with (self.folder / "out.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": "/ha/bin:/usr/bin:/bin", "HOME": "/root"})
        deadline_s = time.monotonic() + START_S
        while not self._running():
            assert self._process.poll() is None and time.monotonic() < deadline_s, self.log()
            time.sleep(0.2)

    def _running(self) -> bool:
        try:
            if not self._token:
                self._onboard()
            return bool(self.get("config")["state"] == "RUNNING")
        except (OSError, urllib.error.URLError):
            return False

    def _onboard(self) -> None:
        """Make the first user, as the page does."""
        client = f"http://127.0.0.1:{self._port}/"
        user = {"client_id": client, "name": "Test", "username": "test", "password": "swordfish", "language": "en"}
        code = self._call("/api/onboarding/users", user)["auth_code"]
        form = urllib.parse.urlencode({"grant_type": "authorization_code", "code": code, "client_id": client}).encode()
        self._token = self._call("/auth/token", form)["access_token"]

    def add_mqtt(self, port: int) -> None:
        """Add the MQTT integration through the steps of its dialogue."""
        flow = self.post("config/config_entries/flow", {"handler": "mqtt"})
        for _ in range(3):
            if flow["type"] == "create_entry":
                return
            if flow["type"] == "menu":
                flow = self.post(f"config/config_entries/flow/{flow['flow_id']}", {"next_step_id": "broker"})
            else:
                fields = {field["name"] for field in flow["data_schema"]}
                newer = {"other_settings": {"set_client_cert": False, "set_ca_cert": "off"}} if "other_settings" in fields else {}
                answer = {"broker": "127.0.0.1", "port": port, **newer}
                flow = self.post(f"config/config_entries/flow/{flow['flow_id']}", answer)
        pytest.fail(f"the MQTT integration was not added: {flow}")

    def get(self, path: str) -> Any:
        return self._call(f"/api/{path}")

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call(f"/api/{path}", body)

    def _call(self, path: str, body: dict[str, Any] | bytes | None = None, text: bool = False) -> Any:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data)
        if isinstance(body, dict):
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode() if text else json.load(answer)

    def state(self, entity: str) -> str:
        """The state of an entity; ``missing`` where there is none."""
        try:
            return str(self.get(f"states/{entity}")["state"])
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return "missing"

    def entities(self, part: str) -> dict[str, Any]:
        """The entities whose id holds ``part``, with their states."""
        return {state["entity_id"]: state for state in self.get("states") if part in state["entity_id"]}

    def wait(self, what: Callable[[], object], why: str, within_s: float = 60) -> None:
        deadline_s = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline_s, f"{why}; {self.log()[-3000:]}"
            time.sleep(0.1)

    def rows(self, part: str, after_s: float, until_s: float = 1e12) -> dict[str, int]:
        """Rows of the recorder for the entities whose id holds ``part``, between two times in seconds since 1970."""
        query = """SELECT states_meta.entity_id, count(*) FROM states JOIN states_meta USING (metadata_id)
                   WHERE last_updated_ts BETWEEN ? AND ? GROUP BY states_meta.entity_id"""
        with closing(sqlite3.connect(f"file:{self.folder}/home-assistant_v2.db?mode=ro", uri=True)) as database:
            return {entity: count for entity, count in database.execute(query, (after_s, until_s)) if part in entity}

    def history(self, entity: str, after_s: float) -> set[str]:
        """The states of an entity that the recorder has."""
        query = "SELECT state FROM states JOIN states_meta USING (metadata_id) WHERE states_meta.entity_id = ? AND last_updated_ts > ?"
        with closing(sqlite3.connect(f"file:{self.folder}/home-assistant_v2.db?mode=ro", uri=True)) as database:
            return {str(state) for (state,) in database.execute(query, (entity, after_s))}

    def render(self, template: str) -> str:
        """A template's text."""
        return str(self._call("/api/template", {"template": template}, text=True))

    def set_automations(self, automations: list[dict[str, Any]]) -> None:
        """Other automations."""
        (self.folder / "automations.yaml").write_text(json.dumps(automations))
        self.post("services/automation/reload", {})

    def log(self) -> str:
        """Warnings and errors."""
        return (self.folder / "out.log").read_text(errors="replace")

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
