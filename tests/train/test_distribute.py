"""Training on two worker processes and on two replicas of one, beside one process on the same data with the same recipe."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import tensorflow as tf
from command import in_process, one_line

from edgefer.errors import SettingsError
from train.__main__ import main
from train.data import audit, load, targets
from train.distribute import steps_of
from train.fit import BEST, CHECKPOINT, Epoch, fit
from train.recipe import load_recipe

ROOT = Path(__file__).parents[2]

RECIPE = """
epochs = 12
batch_size = 32
mixup = 0.2
[model]
channels = [4, 6]
blocks = [1]
dropout = 0.0                # each replica draws its own mask: no two ways of cutting a batch would agree
[optimizer]
learning_rate = 0.005        # small: rounding differs from the first step on, and large steps blow it up
ema = 0.9
[augment]
flip = true
shift = 0.1
rotation_deg = 10.0
erase = 0.3
noise = 8.0
"""


def train_here(folder: Path, recipe: Path, out: Path, until_epoch: int, strategy: tf.distribute.Strategy | None = None) -> list[Epoch]:
    """What ``python -m train`` does on the same data, without the pictures at the end."""
    how = load_recipe(str(recipe))
    data = load(folder, how.labels)
    found = audit(data)
    train, validation = data.splits["train"].keep(found.train_keep), data.splits["validation"].keep(found.validation_unique)
    pairs = ((part.images, targets(part, how.labels, None, 0)) for part in (train, validation))
    return fit(how, *pairs, out, until_epoch, strategy=strategy)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "mine.toml"
    path.write_text(RECIPE)
    return path


def command(folder: Path, recipe: Path | str, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "train", "--data", str(folder), "--recipe", str(recipe), "--out", str(out), *more]


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    everything = {**os.environ, **environment}
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240, env=everything)


def start_workers(arguments: list[str], count: int = 2) -> list[subprocess.Popen[str]]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    workers = []
    for index in range(count):
        config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        environment = {**os.environ, "TF_CONFIG": config, "PYTHONUNBUFFERED": "1"}
        workers.append(
            subprocess.Popen(
                [*arguments, "--distribute", "multiworker"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
    return workers


def history(out: Path) -> list[Epoch]:
    with zipfile.ZipFile(out / CHECKPOINT) as archive:
        return json.loads(archive.read("history.json"))["history"]


def assert_same_training(some: list[Epoch], other: list[Epoch]) -> None:
    for one, two in zip(some, other, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=2e-5)
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=2e-5)
        assert two["learning_rate"] == one["learning_rate"]
        assert two["accuracy"] == pytest.approx(one["accuracy"], abs=0.02)


@pytest.fixture(scope="module")
def alone(folder: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one process, after two epochs in ``begun`` and after four in ``done``."""
    runs = tmp_path_factory.mktemp("alone")
    train_here(folder, recipe, runs / "begun", 2)
    shutil.copytree(runs / "begun", runs / "done")
    train_here(folder, recipe, runs / "done", 4)
    return runs


@pytest.mark.slow
def test_two_workers_train_as_one_process_and_a_killed_worker_ends_the_other_in_a_line(
    folder: Path, recipe: Path, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    chief, other = start_workers(command(folder, recipe, out))
    try:
        assert chief.stdout is not None
        assert any("epoch 2/12" in line for line in chief.stdout), chief.communicate()
        other.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        complaint = chief.communicate(timeout=120)[1]
        assert time.monotonic() - killed_at < 60, "at once, or after the heartbeat's 10 s; then it closes down"
    finally:
        for worker in (chief, other):
            worker.kill()
    assert chief.returncode == 1
    assert one_line(complaint).startswith("train: ")
    assert "worker" in complaint and "epoch" in complaint
    assert "epoch 1/12" not in other.communicate()[0], "only the chief prints"
    assert (out / BEST).is_file()
    so_far = len(history(out))
    assert 2 <= so_far < 12
    assert_same_training(history(alone / "done")[:so_far], history(out)[:4])

    workers = start_workers(command(folder, recipe, out, "--epochs", str(so_far + 1)))
    try:
        (output, errors), (other_output, other_errors) = (worker.communicate(timeout=240) for worker in workers)
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], errors + other_errors
    assert errors == other_errors == ""
    assert f"epoch {so_far + 1}/12" in output
    assert "epoch 1/12" not in output
    assert f"epoch {so_far + 1}/12" not in other_output
    assert (out / "mine.keras").is_file()

    assert len(train_here(folder, recipe, out, so_far + 2)) == so_far + 2, "what two workers began, one process goes on with"
    assert_same_training(history(alone / "done")[: so_far + 2], history(out)[:4])


@pytest.mark.slow
def test_two_replicas_go_on_with_the_run_of_one_process(folder: Path, recipe: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(alone / "begun", out)
    done = run([sys.executable, __file__, str(folder), str(recipe), str(out)], PYTHONPATH=os.pathsep.join((str(ROOT), str(ROOT / "tests"))))
    assert done.returncode == 0, done.stderr
    assert len(history(out)) == 4
    assert_same_training(history(alone / "done"), history(out))


def test_the_last_batch_counts_where_every_replica_gets_a_picture() -> None:
    assert steps_of(168, 32, 2) == 6
    assert steps_of(161, 32, 2) == 5, "one picture cannot be shared by two"
    assert steps_of(160, 32, 4) == 5
    with pytest.raises(SettingsError, match=r"batch_size 32 .*\b3\b"):
        steps_of(160, 32, 3)


CLUSTER = {"worker": ["127.0.0.1:2001", "127.0.0.1:2002"]}


@pytest.mark.parametrize(
    ("config", "fact"),
    [
        ("", "TF_CONFIG"),
        ("{not json", "TF_CONFIG: JSON is malformed"),
        (json.dumps({"cluster": CLUSTER}), "`task`"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "ps", "index": 0}}), "'ps'"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}), "worker 2, but the cluster has 2"),
        (json.dumps({"cluster": {"worker": ["nowhere"]}, "task": {"type": "worker", "index": 0}}), "cluster.worker[0]"),
        (json.dumps({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}), "a:1"),
    ],
)
def test_a_wrong_tf_config_is_one_line(config: str, fact: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")  # the command changes it
    done = in_process(main, "--data", folder, "--recipe", "tiny", "--out", tmp_path / "run", "--distribute", "multiworker")
    assert done.returncode == 1
    assert fact in one_line(done.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "fact"),
    [
        ({"CUDA_VISIBLE_DEVICES": ""}, "no GPU"),
        ({"KERAS_BACKEND": "jax"}, "KERAS_BACKEND is jax"),
    ],
)
def test_a_strategy_that_this_machine_cannot_follow_is_one_line(
    environment: dict[str, str], fact: str, folder: Path, tmp_path: Path
) -> None:
    done = run(command(folder, "tiny", tmp_path / "run", "--distribute", "mirrored"), **environment)
    assert done.returncode == 1
    assert fact in one_line(done.stderr)


if __name__ == "__main__":
    # Two replicas on one processor; TensorFlow must hear of them before anything else, hence a process of its own.
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    train_here(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), 4, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
