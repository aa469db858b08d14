"""The training run: fits a recipe's network, writes one checkpoint file per epoch, and resumes from it."""

from __future__ import annotations

import hashlib
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy.typing as npt

from edgefer.errors import SettingsError
from edgefer.files import atomic_path
from edgefer.types import Pixels
from train.model import build, for_training
from train.pipeline import batches, epoch_size, middle, training_stream
from train.pretrained import begin_with_faces
from train.recipe import Recipe
from train.thin import begin_with
from train.trunk import divided, kept_levels, levels_of, levels_stream

if TYPE_CHECKING:
    import tensorflow as tf  # other backends train without it

Epoch = dict[str, float]
"""One entry of the history: loss, accuracy, val_loss, val_accuracy, learning_rate, seconds, ended (seconds since 1970)."""

MIN_DELTA = 1e-4
"""Least improvement that the plateau rule counts; Keras' default."""

CHECKPOINT, BEST = "checkpoint.keras", "best.weights.h5"


def fit(
    recipe: Recipe,
    train: tuple[Pixels, npt.NDArray],
    validation: tuple[Pixels, npt.NDArray],
    out: Path,
    until_epoch: int | None = None,
    start: Path | None = None,
    strategy: tf.distribute.Strategy | None = None,
    soft: npt.NDArray | None = None,
    unlabelled: int = 0,
) -> list[Epoch]:
    """Train, or continue where ``out`` stopped; returns the whole history.

    ``train`` and ``validation`` are (images (n, 48, 48) uint8, of ``train`` also with a rim, and targets (n, classes) float32).
    ``soft`` are the teachers' probabilities, the only target of the last ``unlabelled`` pictures, see `training_stream`. With
    `model.frozen_views` only the layers behind the frozen ones are run, see `train.trunk`. Leaves in ``out`` the checkpoint and
    the weights of the best epoch.
    ``until_epoch`` stops early; ``start`` is a ``.keras`` file to take the first weights from;
    ``strategy`` spreads the steps over several replicas, of which only the chief writes.
    Raises `SettingsError` when ``out`` holds a run of another recipe, other data or other votes, or ``start`` another network.
    """
    if strategy is not None:
        from train import distribute  # loads TensorFlow
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)
    try:
        identity = {
            "recipe": recipe.digest(),
            "training": _digest(*train, *(() if soft is None else (soft,))),
            "validation": _digest(*validation),
        }
        checkpoint = out / CHECKPOINT
        history = _history(checkpoint, identity) if checkpoint.exists() else []
        last = recipe.epochs if until_epoch is None else min(recipe.epochs, until_epoch)
        if strategy is not None:
            distribute.agree(strategy, f"{identity} {len(history)} {last}")
        if len(history) >= last or stopped(history, recipe):
            return history
        steps = batches(len(train[0]), recipe, unlabelled=unlabelled)[1]
        if strategy is not None:
            steps = distribute.steps_of(epoch_size(len(train[0]), recipe, unlabelled), recipe.batch_size, strategy.num_replicas_in_sync)
        with strategy.scope() if strategy is not None else nullcontext():
            whole = None if history and not recipe.model.frozen_views else _begun(recipe, train[1].shape[-1], start, train[0], out)
            parts = divided(whole, recipe) if whole and recipe.model.frozen_views and strategy is None else None
            model = _loaded(checkpoint) if history else compiled(parts[1] if parts else whole, recipe, steps)
        held = validation[0][..., None]
        if parts:
            levels = kept_levels(parts[0], train[0], recipe, unlabelled, out)
            stream, _ = levels_stream(levels, train[1], recipe, len(history), soft, unlabelled)
            held = levels_of(parts[0], validation[0])
        else:
            stream, _ = training_stream(*train, recipe, len(history), soft, unlabelled)
        writes = strategy is None or strategy.extended.should_checkpoint
        journal = Journal(recipe, out, history, identity, writes, whole if parts else None)
        # The journal is first: its on_test_end runs before the averaged weights are swapped back.
        if journal.writes:
            out.mkdir(parents=True, exist_ok=True)
        callbacks = [journal, *([keras.callbacks.SwapEMAWeights()] if recipe.optimizer.ema else [])]
        if strategy is not None:
            distribute.fit(strategy, model, stream, steps, validation, range(len(history), last), callbacks)
            return journal.history
        model.fit(
            stream,
            steps_per_epoch=steps,
            epochs=last,
            initial_epoch=len(history),
            validation_data=(held, validation[1]),
            validation_batch_size=256,
            shuffle=False,  # the stream shuffles
            callbacks=callbacks,
            verbose=1 if sys.stdout.isatty() else 0,  # elsewhere the journal prints a line per epoch
        )
        return journal.history
    finally:
        keras.config.set_dtype_policy("float32")


def compiled(model: keras.Model, recipe: Recipe, steps: int) -> keras.Model:
    """``model`` with the recipe's optimizer, schedule and loss; ``steps`` is the number of batches an epoch."""
    how = recipe.optimizer
    rate: float | keras.optimizers.schedules.LearningRateSchedule = how.learning_rate
    if recipe.schedule.name == "cosine":
        warmup = int(recipe.schedule.warmup_epochs * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            how.learning_rate / 100 if warmup else how.learning_rate,
            max(1, recipe.epochs * steps - warmup),
            warmup_target=how.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    shared = {"use_ema": how.ema > 0, "ema_momentum": how.ema or 0.99, "weight_decay": how.weight_decay or None}
    optimizers = {
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **shared),
        "adam": lambda: keras.optimizers.Adam(rate, **shared),
        "adamw": lambda: keras.optimizers.AdamW(rate, **{**shared, "weight_decay": how.weight_decay}),
    }
    model.compile(
        optimizer=optimizers[how.name](),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy")
        ],  # given by name, it is created in the first step, too late for a strategy
    )
    return model


def _begun(recipe: Recipe, classes: int, start: Path | None, images: Pixels, out: Path) -> keras.Model:
    """A fresh network with the weights that its recipe begins with."""
    model = for_training(build(recipe.model, classes))
    if recipe.pretrained:
        begin_with_faces(model, middle(images), out.parent / "pretrained")
    if start:
        begin_with(model, start)
    return model


def better(value: float, than: float, monitor: str) -> bool:
    """Whether one epoch's monitored value is better than another's."""
    return value > than if monitor == "val_accuracy" else value < than


def best_epoch(history: list[Epoch], monitor: str) -> int:
    """Index of the epoch with the best monitored value, the first of equals; "last" is the last epoch."""
    if monitor == "last":
        return len(history) - 1
    best = 0
    for index, epoch in enumerate(history):
        if better(epoch[monitor], history[best][monitor], monitor):
            best = index
    return best


def stopped(history: list[Epoch], recipe: Recipe) -> bool:
    """Whether early stopping has ended this run."""
    patience = recipe.early_stop_epochs
    return bool(patience and history) and len(history) - 1 - best_epoch(history, recipe.monitor) >= patience


def plateau_rate(history: list[Epoch], recipe: Recipe, rate: float) -> float:
    """The learning rate after ``history``: multiplied by ``factor`` after each ``patience_epochs`` without a better epoch.

    The rule of Keras' ReduceLROnPlateau as a function of the history, so that a resumed run decides alike.
    """
    monitor = "val_loss" if recipe.monitor == "last" else recipe.monitor
    best, waited = history[0][monitor], 0
    margin = MIN_DELTA if monitor == "val_accuracy" else -MIN_DELTA
    for epoch in history[1:]:
        if better(epoch[monitor], best + margin, monitor):
            best, waited = epoch[monitor], 0
        elif (waited := waited + 1) >= recipe.schedule.patience_epochs:
            waited = 0
            if epoch is history[-1]:
                return rate * recipe.schedule.factor
    return rate


class Journal(keras.callbacks.Callback):
    """Writes each epoch to disk: its metrics, the best weights, and one checkpoint that a resumed run starts from.

    With ``writes`` off it keeps the history in memory only, and makes the same decisions as the chief's. ``whole`` is the whole
    network where only its last layers are trained.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        history: list[Epoch],
        identity: dict[str, str],
        writes: bool = True,
        whole: keras.Model | None = None,
    ) -> None:
        super().__init__()
        self._whole = whole
        self.history, self.writes = list(history), writes
        self._recipe, self._out, self._identity = recipe, out, identity
        self._begun_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Start the clock."""
        self._begun_s = time.monotonic()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Keep these weights if they are the best; a moving average is still in place here."""
        figures = {f"val_{name}": float(value) for name, value in (logs or {}).items()}
        if self.writes and best_epoch([*self.history, figures], self._recipe.monitor) == len(self.history):
            with _kept(self._out / BEST) as draft:
                self._of_the_whole().save_weights(draft)

    def _of_the_whole(self) -> keras.Model:
        """The network with the weights that are trained now: what is trained may be its last layers alone."""
        if self._whole is None:
            return self.model
        for layer in self.model.layers:
            if layer.weights:
                self._whole.get_layer(layer.name).set_weights(layer.get_weights())
        return self._whole

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the epoch, then set the learning rate and decide whether to stop."""
        figures = {name: float(value) for name, value in (logs or {}).items()}
        rate = float(self.model.optimizer.learning_rate)
        figures |= {"learning_rate": rate, "seconds": time.monotonic() - self._begun_s, "ended": round(time.time(), 3)}
        self.history.append(figures)
        if self._recipe.schedule.name == "plateau":
            self.model.optimizer.learning_rate = plateau_rate(self.history, self._recipe, rate)
        if self.writes:
            self._checkpoint()
            self._tell()
        if stopped(self.history, self._recipe):
            self.model.stop_training = True

    def _checkpoint(self) -> None:
        """Model, optimizer and history in one file and one rename: a kill at any time leaves a complete checkpoint."""
        with _kept(self._out / CHECKPOINT) as draft:
            self.model.save(draft)
            with zipfile.ZipFile(draft, "a") as archive:
                archive.writestr("history.json", json.dumps({"identity": self._identity, "history": self.history}))

    def _tell(self) -> None:
        last, left = self.history[-1], self._recipe.epochs - len(self.history)
        best = best_epoch(self.history, self._recipe.monitor)
        minutes = left * last["seconds"] / 60
        if sys.stdout.isatty():
            print()  # Keras' progress bar is still on the line
        print(
            f"{datetime.now(UTC):%H:%M:%S} epoch {len(self.history)}/{self._recipe.epochs}: {last['seconds']:.0f} s, "
            f"validation {100 * last['val_accuracy']:.2f} % (best by {self._recipe.monitor}: epoch {best + 1}, "
            f"{100 * self.history[best]['val_accuracy']:.2f} %), "
            f"at most {minutes:.0f} min to go",
            flush=True,
        )
        if stopped(self.history, self._recipe):
            print(f"early stopping: no better {self._recipe.monitor} in {self._recipe.early_stop_epochs} epochs", flush=True)


@contextmanager
def _kept(path: Path) -> Iterator[Path]:
    """The draft of a file of the run; raises `SettingsError` where the disk refuses it, and what was kept before stays."""
    try:
        with atomic_path(path) as draft:
            yield draft
    except (OSError, RuntimeError) as error:  # h5py raises both
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise SettingsError(f"{path}: cannot be written: {why}; make room, then the same command goes on after the last epoch") from None


def _loaded(checkpoint: Path) -> keras.Model:
    """The network and optimizer of a checkpoint; Keras unpacks the file on the disk."""
    try:
        return keras.models.load_model(checkpoint)
    except OSError as error:
        raise SettingsError(
            f"{checkpoint}: cannot be loaded: {error.strerror or error}; make room in the folder for temporary files"
        ) from None


def _history(checkpoint: Path, identity: dict[str, str]) -> list[Epoch]:
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            kept = json.loads(archive.read("history.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise SettingsError(f"{checkpoint}: cannot resume from this checkpoint ({error}); move it away to start again") from None
    if kept["identity"] != identity:
        raise SettingsError(
            f"{checkpoint.parent} holds a run of another recipe, other data or other votes; choose another OUT, or move it away"
        )
    history: list[Epoch] = kept["history"]
    print(f"resuming {checkpoint.parent} after epoch {len(history)}", flush=True)
    return history


def _digest(*arrays: npt.NDArray) -> str:
    """sha256 of pictures and targets: with others, it is another run."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
