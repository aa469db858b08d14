"""edgefer in real Home Assistant Cores; 'make test-homeassistant' makes their roots first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from homeassistant.core import KEPT, Core, roots
from mosquitto import Listener, Mosquitto, json_of

ROOT = Path(__file__).parents[2]
NAMES = {
    "sensor": ("expression", "score", "faces", "camera_state", "fps", "model"),
    "binary_sensor": ("present", "camera"),
    "switch": ("pause",),
}
"""Entities that are enabled at first."""
SMILE_S = 2
AUTOMATIONS = """
- id: lamp
  alias: The automation of the README, once for each expression that drawn faces show
  mode: queued
  triggers:
    - {trigger: state, entity_id: sensor.edgefer_kitchen_expression, to: [happy, angry, surprise, sad, fear, neutral], for: "00:00:02"}
  conditions:
    - {condition: numeric_state, entity_id: sensor.edgefer_kitchen_score, above: 60}
  actions:
    - {action: counter.increment, target: {entity_id: counter.smiles}}
- id: blueprint
  alias: The blueprint
  use_blueprint:
    path: edgefer/expression.yaml
    input:
      expression_sensor: sensor.edgefer_kitchen_expression
      score_sensor: sensor.edgefer_kitchen_score
      expression: no_face
      seconds: 1
      actions:
        - {action: input_boolean.turn_on, target: {entity_id: input_boolean.lamp}}
"""


@pytest.fixture(scope="module", params=roots() or [None], ids=lambda root: root.name if root else "none")
def root(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip(f"no Home Assistant in {KEPT}; 'make test-homeassistant' makes its Debian roots")
    kept: Path = request.param
    return kept


@pytest.fixture(scope="module")
def broker(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def core(root: Path, broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    folder = tmp_path_factory.mktemp("core")
    blueprints = folder / "blueprints/automation/edgefer"
    blueprints.mkdir(parents=True)
    shutil.copy(ROOT / "edge/deploy/homeassistant/expression.yaml", blueprints)
    core = Core(root, folder, AUTOMATIONS)
    try:
        core.start()
        core.add_mqtt(broker.port)
        yield core
    finally:
        core.stop()


@contextmanager
def edgefer(folder: Path, broker: Mosquitto, source: str, *more: str, options: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """edgefer as the device kitchen, until the end of the block."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    sink = f"mqtt://127.0.0.1:{broker.port}/edgefer/kitchen{options}"
    command = [sys.executable, "-m", "edgefer", "run", "--source", source, "--sink", sink, *more]
    with (folder / "edgefer.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def kitchen(name: str) -> str:
    return f"sensor.edgefer_kitchen_{name}"


def test_the_device_appears_with_the_documented_entities_and_no_warning(core: Core, broker: Mosquitto, tmp_path: Path) -> None:
    with edgefer(tmp_path, broker, "synthetic:?fps=10&size=320x240"):
        core.wait(lambda: core.state(kitchen("expression")) not in ("missing", "unknown", "unavailable"), "no expression")
        found = core.entities("edgefer_kitchen")
        assert {f"{domain}.edgefer_kitchen_{name}" for domain, names in NAMES.items() for name in names} <= set(found)
        assert not [entity for entity in found if entity.startswith(("event.", "image.", "update.")) or entity.endswith("_mix")]
        assert core.state("binary_sensor.edgefer_kitchen_present") == "on"
    core.wait(lambda: core.state(kitchen("expression")) == "unavailable", "it stays available")
    complaints = [line for line in core.log().splitlines() if "mqtt" in line.lower() and ("WARNING" in line or "ERROR" in line)]
    assert not complaints


def test_the_readme_s_automation_fires_and_the_recorder_stays_small(core: Core, broker: Mosquitto, tmp_path: Path) -> None:
    seconds = 150
    with edgefer(tmp_path, broker, "synthetic:?fps=15&size=320x240", "--sink", "jsonl:truth.jsonl"):
        core.wait(lambda: core.state(kitchen("expression")) not in ("missing", "unknown", "unavailable"), "no expression")
        # The first seconds have the entities' first rows.
        time.sleep(5)
        begun_s, before = time.time(), int(core.state("counter.smiles"))
        unseen = len((tmp_path / "truth.jsonl").read_text().splitlines())
        time.sleep(seconds)
        ended_s = time.time()
    fired = int(core.state("counter.smiles")) - before
    rows = core.rows("edgefer_kitchen", begun_s, ended_s)
    assert sum(rows.values()) / seconds * 60 <= 45, rows
    true = list(held(tmp_path / "truth.jsonl", unseen))
    assert len(true) >= 10
    assert fired >= 0.95 * len(true) - 1, (fired, true)


def held(truth: Path, after: int) -> Iterator[tuple[str, float]]:
    """Expressions that truly lasted two seconds above 60 %, with their lengths; ``after``: lines before Home Assistant knew the device."""
    shown, since_s = "", 0.0
    for observation in map(json.loads, truth.read_text().splitlines()[after:]):
        face = max(observation["faces"], key=lambda face: face["box"][2] * face["box"][3], default=None)
        now = face["expression"] if face and face["score"] > 0.6 else ""
        if now != shown:
            if shown and observation["time"] - since_s >= SMILE_S:
                yield shown, round(observation["time"] - since_s, 2)
            shown, since_s = now, observation["time"]


def test_an_empty_room_is_quiet_and_the_blueprint_works(core: Core, broker: Mosquitto, tmp_path: Path) -> None:
    with edgefer(tmp_path, broker, "synthetic:?fps=10&size=320x240&faces=0"):
        core.wait(lambda: core.state(kitchen("expression")) == "no_face", "no empty room")
        core.wait(lambda: core.state("input_boolean.lamp") == "on", "the blueprint did nothing")
        core.wait(lambda: core.state(kitchen("fps")) not in ("unknown", "missing"), "no frame rate")
        begun_s = time.time()
        time.sleep(60)
    rows = core.rows("edgefer_kitchen", begun_s, time.time() - 5)
    assert sum(rows.values()) == 0, rows


def test_a_missing_camera_is_no_empty_room(core: Core, broker: Mosquitto, tmp_path: Path) -> None:
    with edgefer(tmp_path, broker, "opencv:63"):
        core.wait(lambda: core.state(kitchen("camera_state")) == "missing", "the reason is not shown")
        assert core.state(kitchen("expression")) == "unknown"
        assert core.state("binary_sensor.edgefer_kitchen_present") == "unknown"
        assert core.state("binary_sensor.edgefer_kitchen_camera") == "on"
        assert core.state(kitchen("model")).startswith("small ")


def test_no_old_expression_is_shown_after_a_restart(core: Core, broker: Mosquitto, tmp_path: Path) -> None:
    listener = Listener(broker.port, "edgefer/kitchen/state")
    listener.publish("edgefer/kitchen/state", b'{"expression": "happy", "score": 0.9, "faces": 1, "camera": "live"}', retain=True)
    listener.wait("edgefer/kitchen/state", lambda message: json_of(message)["expression"] == "happy")
    begun_s = time.time()
    with edgefer(tmp_path, broker, "synthetic:?fps=10&size=320x240&faces=0"):
        core.wait(lambda: core.state(kitchen("expression")) == "no_face", "no empty room")
    assert not core.history(kitchen("expression"), begun_s) & {"happy"}
    listener.close()


def test_pause_and_privacy_work(core: Core, broker: Mosquitto, tmp_path: Path) -> None:
    with edgefer(tmp_path, broker, "synthetic:?fps=10&size=320x240&faces=0", "--sink", "http://127.0.0.1:0"):
        core.wait(lambda: core.state(kitchen("expression")) == "no_face", "no empty room")
        core.post("services/switch/turn_on", {"entity_id": "switch.edgefer_kitchen_pause"})
        core.wait(lambda: core.state(kitchen("camera_state")) == "paused", "it does not pause")
        core.wait(lambda: core.state(kitchen("expression")) == "unknown", "it knows something")
        core.post("services/switch/turn_off", {"entity_id": "switch.edgefer_kitchen_pause"})
        core.wait(lambda: core.state(kitchen("expression")) == "no_face", "it stays paused")
        select = "select.edgefer_kitchen_privacy"
        core.wait(lambda: core.state(select) == "pictures", "no privacy level")
        core.post("services/select/select_option", {"entity_id": select, "option": "totals"})
        core.wait(lambda: core.state(select) == "totals", "the level does not change")


def test_device_triggers_fire(core: Core, broker: Mosquitto, tmp_path: Path) -> None:
    device = core.render("{{ device_id('sensor.edgefer_kitchen_expression') }}")
    trigger = {"trigger": "device", "domain": "mqtt", "device_id": device, "type": "expression", "subtype": "face_appeared"}
    action = {"action": "counter.increment", "target": {"entity_id": "counter.triggers"}}
    core.set_automations([{"id": "device", "alias": "device", "triggers": [trigger], "actions": [action]}])
    with edgefer(tmp_path, broker, "synthetic:?fps=10&size=320x240"):
        core.wait(lambda: int(core.state("counter.triggers")) > 0, "the first face is lost")
