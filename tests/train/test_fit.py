from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest
from command import in_process

from edgefer.errors import SettingsError
from train.__main__ import main
from train.fit import BEST, CHECKPOINT, Epoch, best_epoch, compiled, fit, plateau_rate, stopped
from train.model import build, for_training
from train.recipe import Recipe, load_recipe

replace = msgspec.structs.replace


def recipe(**changes: object) -> Recipe:
    small, tiny = load_recipe("small"), load_recipe("tiny")
    how = {
        "epochs": 4,
        "monitor": "val_accuracy",
        "precision": "float32",
        "batch_size": 32,
        "model": replace(tiny.model, channels=[8, 12], blocks=[1]),
        "optimizer": replace(small.optimizer, ema=0.9),
        "schedule": replace(small.schedule, warmup_epochs=1.0),
        **changes,
    }
    return replace(small, **how)


def stripes(count: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of seven brightnesses: a task a small network learns in seconds."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 7
    images = rng.integers(0, 60, (count, 48, 48)) + 28 * labels[:, None, None]
    return images.astype(np.uint8), np.eye(7, dtype=np.float32)[labels]


def without_times(history: list[Epoch]) -> np.ndarray:
    return np.array([[value for name, value in sorted(epoch.items()) if name not in ("seconds", "ended")] for epoch in history])


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    data = stripes()
    whole = fit(recipe(), data, data, tmp_path / "whole")
    assert len(fit(recipe(), data, data, tmp_path / "cut", until_epoch=2)) == 2
    resumed = fit(recipe(), data, data, tmp_path / "cut")
    assert len(resumed) == 4
    assert without_times(resumed) == pytest.approx(without_times(whole), abs=2e-3)


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch on `stripes` of 64."""
    folder = tmp_path_factory.mktemp("finished")
    fit(recipe(epochs=1), stripes(64), stripes(64), folder)
    return folder


def test_a_finished_run_is_not_run_again(one_epoch: Path) -> None:
    before = (one_epoch / CHECKPOINT).read_bytes()
    assert len(fit(recipe(epochs=1), stripes(64), stripes(64), one_epoch)) == 1
    assert (one_epoch / CHECKPOINT).read_bytes() == before


def test_a_run_may_begin_with_the_weights_of_another(tmp_path: Path) -> None:
    data, still = stripes(64), replace(recipe().optimizer, learning_rate=1e-9, weight_decay=0.0, ema=0.0)
    model = compiled(for_training(build(recipe().model, 7)), recipe(), steps=2)
    model.save(tmp_path / "start.keras")
    fit(recipe(epochs=1, optimizer=still), data, data, tmp_path / "run", start=tmp_path / "start.keras")
    after = keras.models.load_model(tmp_path / "run" / CHECKPOINT)
    for before, now in zip(model.trainable_weights, after.trainable_weights, strict=True):
        assert np.allclose(before, now, atol=1e-6)


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    data = stripes(64)
    compiled(build(load_recipe("small").model, 7), recipe(), steps=2).save(tmp_path / "start.keras")
    with pytest.raises(SettingsError, match=r"start\.keras"):
        fit(recipe(epochs=1), data, data, tmp_path / "run", start=tmp_path / "start.keras")


def test_another_recipe_in_the_same_folder_is_refused(one_epoch: Path) -> None:
    with pytest.raises(SettingsError, match=f"{one_epoch} .*another recipe.*OUT"):
        fit(recipe(epochs=1, seed=9), stripes(64), stripes(64), one_epoch)


def test_other_pictures_or_other_targets_in_the_same_folder_are_refused(one_epoch: Path) -> None:
    images, targets = stripes(64)
    for other in ((images[::-1].copy(), targets), (images, 0.5 * targets + 0.5 / 7)):
        with pytest.raises(SettingsError, match=f"{one_epoch} .*other data.*OUT"):
            fit(recipe(epochs=1), other, (images, targets), one_epoch)


def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"half a checkpoint")
    with pytest.raises(SettingsError, match=str(tmp_path / CHECKPOINT)):
        fit(recipe(epochs=1), stripes(64), stripes(64), tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == b"half a checkpoint"


def test_mixed_precision_trains_and_restores_the_policy(tmp_path: Path) -> None:
    data = stripes(64)
    assert len(fit(recipe(epochs=1, precision="mixed_bfloat16"), data, data, tmp_path)) == 1
    assert keras.config.dtype_policy().name == "float32"


def epochs(*accuracies: float) -> list[Epoch]:
    return [{"val_accuracy": accuracy, "val_loss": 1 - accuracy} for accuracy in accuracies]


def test_a_full_disk_is_one_line_and_the_last_epoch_stays(tmp_path: Path) -> None:
    data, two = stripes(64), recipe(epochs=2)
    fit(two, data, data, tmp_path, until_epoch=1)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The next checkpoint has a longer history.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept), limits[1]))
    try:
        with pytest.raises(SettingsError, match="cannot be written") as error:
            fit(two, data, data, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    assert len(fit(two, data, data, tmp_path)) == 2


def test_the_best_epoch_is_the_first_of_equals() -> None:
    assert best_epoch(epochs(0.2, 0.5, 0.5, 0.4), "val_accuracy") == 1
    assert best_epoch(epochs(0.2, 0.5, 0.6), "val_loss") == 2


def test_early_stopping_waits_its_epochs() -> None:
    patient = recipe(early_stop_epochs=3)
    assert not stopped(epochs(0.5, 0.4, 0.4), patient)
    assert stopped(epochs(0.5, 0.4, 0.4, 0.4), patient)
    assert not stopped(epochs(0.5, 0.4, 0.4, 0.6), patient)
    assert not stopped(epochs(*[0.5] * 50), recipe())


def test_the_plateau_rule_reduces_the_rate_at_the_same_epochs_as_keras() -> None:
    rng = np.random.default_rng(4)
    losses = list(np.round(1 + 0.0005 * rng.standard_normal(60), 5))
    report = load_recipe("report")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    keras_rule = keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=3)
    keras_rule.set_model(model)
    keras_rule.on_train_begin()
    rate, history = 1.0, []
    for index, loss in enumerate(losses):
        keras_rule.on_epoch_end(index, {"val_loss": loss})
        history.append({"val_loss": loss})
        rate = plateau_rate(history, report, rate)
        assert rate == pytest.approx(float(model.optimizer.learning_rate)), f"epoch {index}"


@pytest.mark.slow
def test_a_killed_training_goes_on_at_its_last_epoch(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 40\n[model]\nchannels = [8, 8]\nblocks = [1]\n")
    arguments = ["--data", folder, "--recipe", tmp_path / "mine.toml", "--out", tmp_path / "run"]
    command = [sys.executable, "-m", "train", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 3/40" in line:
                break
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "run" / CHECKPOINT).is_file()
    assert (tmp_path / "run" / BEST).is_file()
    done = in_process(main, *arguments, "--epochs", "6")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/40" not in done.stdout
    assert "epoch 6/40" in done.stdout
    assert (tmp_path / "run" / "mine.keras").is_file()
