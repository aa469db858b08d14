from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command import Run, one_line
from mosquitto import Listener, Mosquitto, free_port, json_of

from edgefer.errors import MemoryLimit, ModelError, SettingsError
from edgefer.model.card import attach_card, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.prior import PRIORS
from edgefer.model.store import find_model
from edgefer.mqtt.device import ONLINE
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import ActionSettings, ClassifySettings, Settings, UpdateSettings
from edgefer.sinks.mqtt import Mqtt
from edgefer.sources import open_source
from edgefer.spec import parse_spec
from edgefer.update.download import model_file
from edgefer.update.ledger import Ledger, read_ledger, write_ledger
from edgefer.update.order import Order, signed_text
from edgefer.update.selftest import self_test
from edgefer.update.updater import Updater

STATUS = "home/desk/update/status"
SETTINGS = Settings(update=UpdateSettings(enabled=True, schemes=["file"], trial_s=60, max_ms=10_000))


def other_model(path: Path, name: str, spoil: bool = False, prior: str = "") -> str:
    """Write the default model under another name, with its weights erased where ``spoil`` is set; returns its sha256.

    ``prior`` is the named prior that its card states; empty: none.
    """
    model, card = split_card(find_model("small").read_bytes(), "small")
    if spoil:
        middle = len(model) // 2
        model = model[: middle - 200_000] + bytes(400_000) + model[middle + 200_000 :]
    content = attach_card(model, msgspec.structs.replace(card, name=name, model_sha256="", prior=PRIORS[prior] if prior else {}))
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def order(path: Path, sha256: str) -> str:
    return json.dumps({"url": f"file://{path}", "sha256": sha256})


def has_state(state: str) -> Callable[[Any], bool]:
    return lambda message: json_of(message)["state"] == state


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


class Device:
    """Updater, sink and pipeline of a run, with a clock that the test sets."""

    def __init__(self, broker: Mosquitto, folder: Path, settings: Settings = SETTINGS) -> None:
        self.now_s = 0.0
        spec = f"mqtt://127.0.0.1:{broker.port}/home/desk?discovery="
        self.updater = Updater(settings, [spec], folder, lambda: self.now_s, retry_s=())
        self.pipeline: Pipeline = self.updater.open_pipeline()
        self.sink = Mqtt(parse_spec(spec))
        self.updater.listen(self.sink.connection, self.sink.topics)
        self.listener = Listener(broker.port)
        # "online" follows the subscriptions: an order that is not retained would be lost before.
        self.listener.wait("home/desk/status", lambda message: message.payload == ONLINE)

    def status(self, state: str, after: int = 0) -> Any:
        """The first status with this state; waits for it."""
        return json_of(self.listener.wait(STATUS, has_state(state), after=after))

    def wait_ready(self) -> None:
        """Wait for the tested model."""
        end_s = time.monotonic() + 60
        while not self.updater.ready:
            assert time.monotonic() < end_s, "no model is ready"
            assert not self.listener.find(STATUS, has_state("refused"))
            time.sleep(0.02)

    def swap(self) -> None:
        """Wait for the tested model, and swap it in."""
        self.wait_ready()
        self.updater.step(self.pipeline, faults=0)

    def close(self) -> None:
        self.updater.close()
        self.sink.close()
        self.listener.close()


def test_a_model_is_downloaded_tested_swapped_in_kept_after_its_trial_and_used_after_a_restart(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    assert device.status("ready")["sha256"] == ""
    frames = list(open_source("synthetic:?seconds=1&paced=false&size=320x240"))
    before = [device.pipeline.process(frame) for frame in frames[:10]][-1]
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    assert device.status("downloading")["sha256"] == device.status("testing")["sha256"] == sha256
    device.swap()
    after = device.pipeline.process(frames[10])
    assert before.model and after.model
    assert (before.model.name, after.model.name, after.model.sha256) == ("small", "new", sha256)
    assert [face.track for face in after.faces] == [face.track for face in before.faces], "faces keep their numbers"
    device.status("trial")
    device.now_s = 59
    device.updater.step(device.pipeline, faults=0)
    assert not device.listener.find(STATUS, has_state("installed"))
    device.now_s = 60
    device.updater.step(device.pipeline, faults=0)
    assert device.status("installed")["sha256"] == sha256
    device.close()

    again = Device(broker, tmp_path / "state")
    assert again.pipeline.classifier.sha256 == sha256
    assert again.status("installed")["sha256"] == sha256, "the retained message is the model in use"
    assert not again.updater.ready
    again.close()
    with Updater(msgspec.structs.replace(SETTINGS, model=str(find_model("small"))), ["mqtt://h"], tmp_path / "state") as other:
        assert other.open_pipeline().classifier.card.name == "small", "another setting counts"


def test_a_failed_frame_during_the_trial_rolls_back_at_once(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    device.swap()
    device.updater.step(device.pipeline, faults=0)
    assert device.pipeline.classifier.card.name == "new"
    device.updater.step(device.pipeline, faults=1)
    assert device.pipeline.classifier.card.name == "small"
    assert device.status("rolled_back") | {"time": 0} == {
        "state": "rolled_back", "sha256": sha256, "why": "a frame failed during its trial", "time": 0
    }  # fmt: skip
    device.close()

    again = Device(broker, tmp_path / "state")
    assert "trial" in again.status("refused")["why"], "a retained replay is not retried"
    before = len(again.listener.heard)
    again.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    again.status("testing", after=before)
    again.close()


def test_a_crash_during_the_trial_rolls_back_at_the_next_start(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    device.swap()
    # The state folder of a process that crashes now.
    shutil.copytree(tmp_path / "state", tmp_path / "crashed")
    device.close()
    again = Device(broker, tmp_path / "crashed")
    assert again.pipeline.classifier.card.name == "small"
    assert again.status("rolled_back")["sha256"] == sha256
    again.close()


def test_an_orderly_stop_continues_the_trial_and_a_damaged_file_ends_it(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    device.swap()
    device.close()
    again = Device(broker, tmp_path / "state")
    assert again.pipeline.classifier.card.name == "new"
    again.updater.step(again.pipeline, faults=3)
    again.updater.step(again.pipeline, faults=4)
    assert again.pipeline.classifier.card.name == "small"
    again.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    again.swap()
    again.close()
    with Updater(SETTINGS, ["mqtt://h"], tmp_path / "state"), pytest.raises(SettingsError, match="STATE_DIRECTORY"):
        Updater(SETTINGS, ["mqtt://h"], tmp_path / "state")
    model_file(tmp_path / "state" / "models", sha256).write_bytes(b"damaged")
    last = Device(broker, tmp_path / "state")
    assert last.pipeline.classifier.card.name == "small"
    assert "damaged" in last.status("rolled_back")["why"]
    last.close()


def test_a_trial_that_errors_end_is_rolled_back_after_two_starts(tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    path = model_file(tmp_path / "models", sha256)
    path.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "new.tflite", path)
    write_ledger(tmp_path / "update.json", Ledger("small", sha256, "", "paused"))
    for _ in range(2):
        with pytest.raises(MemoryLimit), Updater(SETTINGS, ["mqtt://h"], tmp_path) as updater:
            assert updater.open_pipeline().classifier.card.name == "new"
            raise MemoryLimit("too much")
    with Updater(SETTINGS, ["mqtt://h"], tmp_path) as updater:
        assert updater.open_pipeline().classifier.card.name == "small"
    assert "2 times by an error" in read_ledger(tmp_path / "update.json").refused[sha256]


def test_a_link_in_the_state_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "update.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(SettingsError, match="cannot write into"):
        Updater(SETTINGS, ["mqtt://h"], tmp_path / "state")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_signed_order_is_not_followed_twice_or_after_a_newer_one(broker: Mosquitto, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def signed(name: str, version: int, asked: str = "") -> str:
        path = tmp_path / f"{name}.tflite"
        sha256 = other_model(path, name)
        unsigned = Order(f"file://{path}", sha256, "", asked or name, version, path.stat().st_size, 4_000_000_000)
        signature = base64.b64encode(key.sign(signed_text(unsigned))).decode()
        return msgspec.json.encode(msgspec.structs.replace(unsigned, signature=signature)).decode()

    update = UpdateSettings(enabled=True, schemes=["file"], max_ms=10_000, trial_s=0, public_key=str(tmp_path / "key.pem"))
    device = Device(broker, tmp_path / "state", Settings(update=update))
    device.listener.publish("home/desk/update", signed("second", 2))
    device.swap()
    device.updater.step(device.pipeline, faults=0)
    device.status("installed")
    device.listener.publish("home/desk/update", signed("first", 1))
    assert "version 1 is not newer than 2" in device.status("refused")["why"]
    device.close()
    again = Device(broker, tmp_path / "state", Settings(update=update))
    before = len(again.listener.heard)
    again.listener.publish("home/desk/update", signed("first", 2))
    assert "version 2 is not newer than 2" in again.status("refused", after=before)["why"]
    before = len(again.listener.heard)
    again.listener.publish("home/desk/update", signed("third", 3, asked="other"))
    assert "the order is for 'other'" in again.status("refused", after=before)["why"]
    again.close()


class Banner(BaseHTTPRequestHandler):
    """An internal service that answers with its name."""

    def do_GET(self) -> None:
        self.send_response(403, "SECRET-internal-banner v1.2")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_nothing_of_a_servers_answer_is_published(broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Banner)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    update = UpdateSettings(enabled=True, schemes=["http"], allow_local=True)
    device = Device(broker, tmp_path / "state", Settings(update=update))
    whys = []
    for port in (server.server_port, free_port()):
        before = len(device.listener.heard)
        message = json.dumps({"url": f"http://127.0.0.1:{port}/m", "sha256": "a" * 64})
        device.listener.publish("home/desk/update", message)
        whys.append(device.status("refused", after=before)["why"])
    device.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert whys[0] == whys[1], "an open port and a closed one look alike"
    assert "log" in whys[0]
    assert "SECRET-internal-banner" in caplog.text


def unusable_model(path: Path, kind: str) -> str:
    """Write a model that the device must refuse; returns its sha256."""
    sha256 = other_model(path, "new", spoil=kind == "erased weights")
    model, card = split_card(path.read_bytes(), "new")
    if kind == "no model":
        path.write_bytes(b"x" * 1000)
    elif kind == "crashing":
        path.write_bytes(attach_card(b"\x1c\x00\x00\x00TFL3" + b"\xff" * 5000, msgspec.structs.replace(card, model_sha256="")))
    elif kind == "other labels":
        labels = tuple("joy" if label == "happy" else label for label in card.labels)
        path.write_bytes(attach_card(model, msgspec.structs.replace(card, labels=labels, model_sha256="")))
    else:
        return sha256
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "fact"),
    [
        ("nonsense", "is expected"),
        ("absent", "No such file"),
        ("wrong digest", "bbbbbbbbbbbb"),
        ("no model", "no card in this file"),
        ("erased weights", "self-test"),
        ("crashing", "self-test"),
        ("too slow", "update.max_ms"),
        ("other labels", "action bell"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_and_the_model_in_use_stays(broker: Mosquitto, tmp_path: Path, kind: str, fact: str) -> None:
    file = tmp_path / "new.tflite"
    sha256 = "a" * 64 if kind in ("nonsense", "absent") else unusable_model(file, kind)
    message = "install this now" if kind == "nonsense" else order(file, "b" * 64 if kind == "wrong digest" else sha256)
    update = UpdateSettings(enabled=True, schemes=["file"], max_ms=1e-6 if kind == "too slow" else 10_000)
    action = [ActionSettings(name="bell", expression="happy", webhook="http://127.0.0.1:9/")]
    device = Device(broker, tmp_path / "state", Settings(update=update, action=action))
    device.listener.publish("home/desk/update", message, retain=True)
    refused = device.status("refused")
    assert fact in refused["why"]
    assert "\n" not in refused["why"]
    device.updater.step(device.pipeline, faults=0)
    assert device.pipeline.classifier.card.name == "small"
    assert not list((tmp_path / "state").rglob("*.tflite"))
    device.close()


def test_an_update_answers_for_the_prior_of_the_settings_and_is_refused_where_it_cannot(broker: Mosquitto, tmp_path: Path) -> None:
    old, new, plain = (tmp_path / f"{name}.tflite" for name in ("old", "new", "plain"))
    other_model(old, "old", prior="fer2013")
    settings = msgspec.structs.replace(SETTINGS, model=str(old), classify=ClassifySettings(prior="everyday"))
    device = Device(broker, tmp_path / "state", settings)
    device.listener.publish("home/desk/update", order(new, other_model(new, "new", prior="fer2013")))
    device.swap()
    classifier, crops = device.pipeline.classifier, np.random.default_rng(1).integers(0, 256, (4, 48, 48), np.uint8)
    assert classifier.card.name == "new"
    assert classifier(crops) == pytest.approx(Classifier(new, prior="everyday")(crops))
    assert classifier(crops) != pytest.approx(Classifier(new)(crops))
    device.listener.publish("home/desk/update", order(plain, other_model(plain, "plain")))
    assert "classify.prior" in device.status("refused")["why"]
    device.close()


def test_the_end_of_a_trial_deletes_the_previous_model_and_not_a_download_in_progress(broker: Mosquitto, tmp_path: Path) -> None:
    models = tmp_path / "state" / "models"
    (models / ("c" * 64)).mkdir(parents=True)
    device = Device(broker, tmp_path / "state")
    assert list(models.iterdir()) == [], "a leftover of an earlier run is removed"
    names = []
    for name in ("first", "second"):
        names.append(other_model(tmp_path / "new.tflite", name))
        device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", names[-1]))
        device.swap()
        (models / ("d" * 64)).mkdir(exist_ok=True)
        device.now_s += 60
        device.updater.step(device.pipeline, faults=0)
        device.status("installed")
    assert sorted(path.name for path in models.iterdir()) == sorted([names[1], "d" * 64])
    device.close()


def test_no_trial_starts_where_the_ledger_cannot_be_written(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    device = Device(broker, tmp_path / "state")
    device.listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256))
    device.wait_ready()
    # A folder cannot be replaced by a file, even by root.
    (tmp_path / "state" / "update.json").unlink()
    (tmp_path / "state" / "update.json").mkdir()
    for _ in range(3):
        device.updater.step(device.pipeline, faults=0)
    assert device.pipeline.classifier.card.name == "small"
    assert "cannot be installed" in device.status("refused")["why"]
    device.close()


def test_the_self_test_passes_the_default_model_and_names_the_fault_of_others(tmp_path: Path) -> None:
    small = Classifier(find_model("small"))
    assert "28 drawn faces" in self_test(small, 1000)

    class Answers:
        card, labels = small.card, small.labels

        def __init__(self, *rows: list[float]) -> None:
            self.rows = np.array(rows, np.float32)
            self.asked = 0

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            self.asked += 1
            return self.rows[[self.asked % len(self.rows)]]

    hot = np.eye(7)
    for rows, fact in (
        ([[np.nan] * 7], "nan"),
        ([[0.0] * 7], "sum to 0"),
        ([[1 / 7] * 7], "the same answer"),
        ([hot[0].tolist(), (0.9 * hot[0] + 0.1 * hot[1]).tolist()], "4 of 28 drawn faces"),
    ):
        with pytest.raises(ModelError, match=fact):
            self_test(Answers(*rows), 1000)  # type: ignore[arg-type]


def test_updates_without_a_broker_or_a_writable_folder_are_refused_at_the_start(edgefer: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('source = "synthetic:"\nsinks = ["jsonl:-"]\n[update]\nenabled = true\n')
    assert "needs a sink mqtt://" in one_line(edgefer("run", "--config", "config.toml").stderr)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write into"):
        Updater(SETTINGS, ["mqtt://h"], tmp_path / "file")
    bad_key = msgspec.structs.replace(SETTINGS, update=UpdateSettings(enabled=True, public_key=str(tmp_path / "none.pem")))
    pytest.importorskip("cryptography")
    with pytest.raises(SettingsError, match="cannot be read"):
        Updater(bad_key, ["mqtt://h"], tmp_path)


def test_a_daemon_installs_an_update_and_rolls_back_after_a_kill_during_its_trial(broker: Mosquitto, tmp_path: Path) -> None:
    sha256 = other_model(tmp_path / "new.tflite", "new")
    (tmp_path / "config.toml").write_text(
        f'source = "synthetic:?size=320x240"\nsinks = ["mqtt://127.0.0.1:{broker.port}/home/desk"]\n'
        '[update]\nenabled = true\nschemes = ["file"]\n'
    )
    listener = Listener(broker.port)
    listener.publish("home/desk/update", order(tmp_path / "new.tflite", sha256), retain=True)
    python_path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "state"), "PYTHONPATH": python_path}
    command = [sys.executable, "-m", "edgefer", "run", "--config", "config.toml"]
    for ending, state, model in ((signal.SIGKILL, "trial", "new"), (signal.SIGTERM, "refused", "small")):
        before = len(listener.heard)
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            listener.wait(STATUS, has_state(state), 60, before)
            listener.wait("home/desk/state", lambda message, model=model: json_of(message)["model"] == model, 60, before)
        finally:
            process.send_signal(ending)
            log = process.communicate(timeout=30)[1]
    assert "rolled back" in log
    assert "during its trial" in log
    listener.close()
