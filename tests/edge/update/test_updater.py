from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command import Run, one_line
from mosquitto import Listener, Mosquitto, json_of

from edgefer.errors import ModelError, SettingsError
from edgefer.model.card import attach_card, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.mqtt.device import ONLINE
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import ActionSettings, Settings, UpdateSettings
from edgefer.sinks.mqtt import Mqtt
from edgefer.sources import open_source
from edgefer.spec import parse_spec
from edgefer.update.order import FILE
from edgefer.update.selftest import self_test
from edgefer.update.updater import Updater

SETTINGS = Settings(update=UpdateSettings(enabled=True, schemes=["file"], trial_s=60))


def other_model(path: Path, name: str, spoil: bool = False) -> str:
    """The default model under another name, or with its weights wiped out; its sha256."""
    model, card = split_card(find_model("small").read_bytes(), "small")
    if spoil:
        middle = len(model) // 2
        model = model[: middle - 200_000] + bytes(400_000) + model[middle + 200_000 :]
    content = attach_card(model, msgspec.structs.replace(card, name=name, model_sha256=""))
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def order(path: Path, sha256: str) -> str:
    return json.dumps({"url": f"file://{path}", "sha256": sha256})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


class Device:
    """Updater, sink and pipeline as a run has them, with a clock set by hand."""

    def __init__(self, broker: Mosquitto, folder: Path, settings: Settings = SETTINGS) -> None:
        self.now_s = 0.0
        spec = f"mqtt://127.0.0.1:{broker.port}/home/desk?discovery="
        self.updater = Updater(settings, [spec], folder, lambda: self.now_s)
        self.pipeline: Pipeline = self.updater.open_pipeline()
        self.sink = Mqtt(parse_spec(spec))
        self.updater.listen(self.sink.connection, self.sink.topics)
        self.listener = Listener(broker.port)
        # Said after the subscriptions are in place: an order that is not retained would be lost before.
        self.listener.wait("home/desk/status", lambda said: said.payload == ONLINE)

    def heard(self, state: str, after: int = 0) -> Any:
        return json_of(self.listener.wait("home/desk/update/status", lambda said: json_of(said)["state"] == state, after=after))

    def until_ready(self) -> None:
        """Step between frames until the model that was ordered is in."""
        given_up_s = time.monotonic() + 60
        while not self.updater._ready:
            assert time.monotonic() < given_up_s, "no model came"
            time.sleep(0.02)
            assert self.listener.find("home/desk/update/status", lambda said: json_of(said)["state"] == "refused") == []
        self.updater.step(self.pipeline, faults=0)

    def close(self) -> None:
        self.updater.close()
        self.crash()

    def crash(self) -> None:
        """Gone without a word to the ledger."""
        self.updater._alone.close()
        self.sink.close()
        self.listener.close()


def test_a_model_is_fetched_tested_swapped_between_frames_tried_and_kept_over_a_restart(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    assert device.heard("ready")["sha256"] == ""
    frames = list(open_source("synthetic:?seconds=1&paced=false&size=320x240"))
    before = [device.pipeline.process(frame) for frame in frames[:10]][-1]
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    assert device.heard("downloading")["sha256"] == device.heard("testing")["sha256"] == sha256
    device.until_ready()
    after = device.pipeline.process(frames[10])
    assert before.model and after.model
    assert (before.model.name, after.model.name, after.model.sha256) == ("small", "new", sha256)
    assert [face.track for face in after.faces] == [face.track for face in before.faces], "faces keep their numbers"
    device.heard("trial")
    device.now_s = 59
    device.updater.step(device.pipeline, faults=0)
    assert not device.listener.find("home/desk/update/status", lambda said: json_of(said)["state"] == "installed")
    device.now_s = 60
    device.updater.step(device.pipeline, faults=0)
    assert device.heard("installed")["sha256"] == sha256
    device.close()

    again = Device(broker, tmp_path / "state")
    assert again.pipeline.classifier.sha256 == sha256
    assert again.heard("installed")["sha256"] == sha256, "the retained message is the model in use"
    assert not again.updater._ready
    again.close()
    other = Updater(msgspec.structs.replace(SETTINGS, model=str(find_model("small"))), ["mqtt://h"], tmp_path / "state")
    assert other.open_pipeline().classifier.card.name == "small", "another setting counts"


def test_a_frame_that_fails_in_the_trial_brings_the_model_before_back_at_once(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    device.until_ready()
    device.updater.step(device.pipeline, faults=0)
    assert device.pipeline.classifier.card.name == "new"
    device.updater.step(device.pipeline, faults=1)
    assert device.pipeline.classifier.card.name == "small"
    assert device.heard("rolled_back") | {"time": 0} == {
        "state": "rolled_back", "sha256": sha256, "why": "a frame failed during its trial", "time": 0
    }  # fmt: skip
    device.close()

    again = Device(broker, tmp_path / "state")
    assert "trial" in again.heard("refused")["why"], "the retained message is not followed into the same hole"
    before = len(again.listener.heard)
    again.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    again.heard("testing", after=before)
    again.close()


def test_a_crash_in_the_trial_is_noticed_at_the_next_start(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    device.until_ready()
    device.crash()
    again = Device(broker, tmp_path / "state")
    assert again.pipeline.classifier.card.name == "small"
    assert again.heard("rolled_back")["sha256"] == sha256
    again.close()


def test_a_trial_that_was_stopped_in_good_order_goes_on_and_a_damaged_file_does_not(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    device.until_ready()
    device.close()
    again = Device(broker, tmp_path / "state")
    assert again.pipeline.classifier.card.name == "new"
    again.updater.step(again.pipeline, faults=3)
    again.updater.step(again.pipeline, faults=4)
    assert again.pipeline.classifier.card.name == "small"
    again.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    again.until_ready()
    again.close()
    held = Updater(SETTINGS, ["mqtt://h"], tmp_path / "state")
    with pytest.raises(SettingsError, match="another edgefer keeps its models"):
        Updater(SETTINGS, ["mqtt://h"], tmp_path / "state")
    held.close()
    (tmp_path / "state" / "models" / sha256 / FILE).write_bytes(b"damaged")
    last = Device(broker, tmp_path / "state")
    assert last.pipeline.classifier.card.name == "small"
    assert "damaged" in last.heard("rolled_back")["why"]
    last.close()


@pytest.mark.parametrize("kind", ["nonsense", "absent", "wrong digest", "no model", "wiped out", "crashing", "too slow", "other labels"])
def test_what_cannot_be_used_is_refused_and_the_model_in_use_stays(broker: Mosquitto, tmp_path: Path, kind: str) -> None:
    file, said = tmp_path / "new.tflite", ""
    if kind == "nonsense":
        message, said = "install this now", "not an update"
    elif kind == "absent":
        message, said = order(file, "a" * 64), "No such file"
    else:
        sha256 = other_model(file, "new", spoil=kind == "wiped out")
        if kind == "wrong digest":
            sha256, said = "b" * 64, "was announced"
        elif kind == "no model":
            file.write_bytes(b"x" * 1000)
            sha256, said = hashlib.sha256(file.read_bytes()).hexdigest(), "no card in this file"
        elif kind == "crashing":
            _, card = split_card(file.read_bytes(), "new")
            file.write_bytes(attach_card(b"\x1c\x00\x00\x00TFL3" + b"\xff" * 5000, msgspec.structs.replace(card, model_sha256="")))
            sha256, said = hashlib.sha256(file.read_bytes()).hexdigest(), "the self-test"
        elif kind == "other labels":
            model, card = split_card(file.read_bytes(), "new")
            labels = tuple("joy" if label == "happy" else label for label in card.labels)
            file.write_bytes(attach_card(model, msgspec.structs.replace(card, labels=labels, model_sha256="")))
            sha256, said = hashlib.sha256(file.read_bytes()).hexdigest(), "action bell: "
        message, said = order(file, sha256), said or "the self-test failed"
    update = UpdateSettings(enabled=True, schemes=["file"], max_ms=1e-6 if kind == "too slow" else 200)
    action = [ActionSettings(name="bell", expression="happy", webhook="http://127.0.0.1:9/")]
    device = Device(broker, tmp_path / "state", Settings(update=update, action=action))
    device.updater._closing.set()  # a download that may be tried again is not
    device.listener.publish("home/desk/update", message, retain=True)
    refused = device.heard("refused")
    assert said in refused["why"]
    assert "\n" not in refused["why"]
    device.updater.step(device.pipeline, faults=0)
    assert device.pipeline.classifier.card.name == "small"
    assert not list((tmp_path / "state").rglob("*.tflite"))
    device.close()


def test_the_end_of_a_trial_deletes_the_model_before_and_not_the_one_on_its_way(broker: Mosquitto, tmp_path: Path) -> None:
    models = tmp_path / "state" / "models"
    (models / ("c" * 64)).mkdir(parents=True)
    device = Device(broker, tmp_path / "state")
    assert list(models.iterdir()) == [], "left over from another time"
    names = []
    for name in ("first", "second"):
        names.append(other_model(tmp_path / "new.tflite", name))
        device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", names[-1]))
        device.until_ready()
        (models / ("d" * 64)).mkdir(exist_ok=True)
        device.now_s += 60
        device.updater.step(device.pipeline, faults=0)
        device.heard("installed")
    assert sorted(path.name for path in models.iterdir()) == sorted([names[1], "d" * 64])
    device.close()


def test_a_disk_that_takes_nothing_more_is_no_place_for_a_trial(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    while not device.updater._ready:
        time.sleep(0.02)
    # A folder in the ledger's place: it cannot be written, whoever asks.
    (tmp_path / "state" / "update.json").unlink()
    (tmp_path / "state" / "update.json").mkdir()
    for _ in range(3):
        device.updater.step(device.pipeline, faults=0)
    assert device.pipeline.classifier.card.name == "small"
    assert "cannot be installed" in device.heard("refused")["why"]
    device.close()


def test_the_self_test_passes_the_default_model_and_says_what_is_wrong_with_others(tmp_path: Path) -> None:
    small = Classifier(find_model("small"))
    assert "drawn faces named as drawn" in self_test(small, 1000)

    class Answers:
        card, labels = small.card, small.labels

        def __init__(self, *rows: list[float]) -> None:
            self.rows = np.array(rows, np.float32)
            self.asked = 0

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            self.asked += 1
            return self.rows[[self.asked % len(self.rows)]]

    hot = np.eye(7)
    for rows, said in (
        ([[np.nan] * 7], "sum to nan"),
        ([[0.0] * 7], "sum to 0"),
        ([[1 / 7] * 7], "the same answer"),
        ([hot[0].tolist(), (0.9 * hot[0] + 0.1 * hot[1]).tolist()], "4 of 28 drawn faces"),
    ):
        with pytest.raises(ModelError, match=said):
            self_test(Answers(*rows), 1000)  # type: ignore[arg-type]


def test_updates_without_a_broker_or_a_place_are_refused_at_the_start(edgefer: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('source = "synthetic:"\nsinks = ["jsonl:-"]\n[update]\nenabled = true\n')
    assert "needs a sink mqtt://" in one_line(edgefer("run", "--config", "config.toml").stderr)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write into"):
        Updater(SETTINGS, ["mqtt://h"], tmp_path / "file")
    bad_key = msgspec.structs.replace(SETTINGS, update=UpdateSettings(enabled=True, public_key=str(tmp_path / "none.pem")))
    pytest.importorskip("cryptography")
    with pytest.raises(SettingsError, match="cannot be read"):
        Updater(bad_key, ["mqtt://h"], tmp_path)


def test_a_daemon_takes_an_update_and_goes_back_after_a_kill_in_its_trial(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    (tmp_path / "config.toml").write_text(
        f'source = "synthetic:?size=320x240"\nsinks = ["mqtt://127.0.0.1:{broker.port}/home/desk"]\n'
        '[update]\nenabled = true\nschemes = ["file"]\n'
    )
    listener = Listener(broker.port)
    listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    places = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "state"), "PYTHONPATH": places}
    command = [sys.executable, "-m", "edgefer", "run", "--config", "config.toml"]
    for ending, state, model in ((signal.SIGKILL, "trial", "new"), (signal.SIGTERM, "refused", "small")):
        before = len(listener.heard)
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            listener.wait("home/desk/update/status", lambda said, state=state: json_of(said)["state"] == state, 30, before)
            listener.wait("home/desk/state", lambda said, model=model: json_of(said)["model"] == model, 30, before)
        finally:
            process.send_signal(ending)
            said = process.communicate(timeout=10)[1]
    assert "rolled back: edgefer ended unexpectedly during its trial" in said
    listener.close()
