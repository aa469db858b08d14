"""Training on several GPUs or machines with TensorFlow's strategies: the steps of one process, cut into equal slices.

Keras 3 cannot `fit` under the multi-worker strategy: it expects tensors where a step returns values per replica. So the loop is here, for
both strategies. The step, the optimizer, the metrics and the callbacks are the compiled Keras model's.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgefer.errors import SettingsError, WorkerLost
from edgefer.types import Pixels

VALIDATION_SLICE = 256
"""Validation pictures per replica and step."""

START_S = 600
"""Seconds a worker waits at the start for the others."""


def strategy_for(mode: str) -> tf.distribute.Strategy:
    """TensorFlow's strategy for ``--distribute``. Must be called before any other use of TensorFlow.

    "multiworker" returns when all workers of ``TF_CONFIG`` (`train.cluster`) are connected.
    """
    if keras.backend.backend() != "tensorflow":
        raise SettingsError(f"--distribute {mode} needs Keras' backend tensorflow; ~/.keras/keras.json says {keras.backend.backend()}")
    tf.get_logger().setLevel("ERROR")  # it prints each strategy, and pages about a lost worker
    if mode == "multiworker":
        try:
            with _start_bounded():
                return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.UnknownError as error:
            raise SettingsError(f"TF_CONFIG: this worker cannot listen at its own address: {_reason(error)}") from None
    if not tf.config.list_physical_devices("GPU"):
        raise SettingsError("--distribute mirrored: TensorFlow finds no GPU here; without --distribute the CPU trains with all its cores")
    return tf.distribute.MirroredStrategy()


@contextmanager
def _start_bounded() -> Iterator[None]:
    """TensorFlow waits up to an hour for the workers, ignores signals and holds Python's lock; within this, Ctrl-C and an alarm end it."""
    kept = signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.alarm(START_S)  # there is no handler: the system ends the process
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGINT, kept)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # TensorFlow installs a handler that ignores the signal


@contextmanager
def workers_watched() -> Iterator[None]:
    """Within it, a worker that dies or stops answering raises `WorkerLost` in the others.

    TensorFlow detects a closed connection at once, a missing heartbeat after 10 s.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise WorkerLost(
            f"another worker is gone ({_reason(error)}); the same command on every worker continues after the last finished epoch"
        ) from None


def agree(strategy: tf.distribute.Strategy, what: str) -> None:
    """Raises `SettingsError` unless ``what`` is equal on all workers: recipe, data, epochs done and epochs wanted."""
    number = int.from_bytes(hashlib.sha256(what.encode()).digest()[:7])
    own = strategy.experimental_distribute_values_from_function(lambda context: tf.constant([number], tf.int64))
    if len(set(strategy.gather(own, axis=0).numpy().tolist())) > 1:
        raise SettingsError(
            "the workers disagree: each needs the same recipe, data, votes and --epochs, and OUT on storage that all of them share"
        )


def steps_of(pictures: int, batch_size: int, replicas: int) -> int:
    """Steps per epoch; a last batch with fewer pictures than replicas does not count. Raises `SettingsError` for unequal slices."""
    if batch_size % replicas:
        raise SettingsError(f"batch_size {batch_size} is for all replicas together and cannot be divided equally by {replicas}; change it")
    return pictures // batch_size + (pictures % batch_size >= replicas)


def fit(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    stream: Iterator[tuple[tf.Tensor, npt.NDArray]],
    steps: int,
    validation: tuple[Pixels, npt.NDArray],
    epochs: range,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """``model.fit`` under ``strategy``; ``model`` was compiled in its scope.

    Every worker computes the whole ``stream``, batches (b, 48, 48, 1) and (b, classes), and takes its replicas' slices of each batch, so
    augmentation and mixup are those of one process. Slices are equal, as batch normalisation and the mean of the gradients require: the
    remainder of a last batch, fewer pictures than replicas, is left out. Validation covers all pictures.
    """

    @tf.function(reduce_retracing=True)
    def train_step(batch: tuple[tf.Tensor, tf.Tensor]) -> None:
        strategy.run(model.train_step, args=(batch,))

    @tf.function(reduce_retracing=True)
    def test_step(batch: tuple[tf.Tensor, tf.Tensor]) -> None:
        strategy.run(model.test_step, args=(batch,))

    replicas = strategy.num_replicas_in_sync
    test_steps = math.ceil(math.ceil(len(validation[0]) / replicas) / VALIDATION_SLICE)
    batches = iter(strategy.distribute_datasets_from_function(lambda context: training_slices(stream, context)))
    tests = iter(strategy.distribute_datasets_from_function(lambda context: validation_slices(*validation, test_steps, context)))
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)  # its variables cannot be created inside a replica
    progress = strategy.extended.should_checkpoint and sys.stdout.isatty()
    called = keras.callbacks.CallbackList(callbacks, add_progbar=progress, model=model, verbose=1, epochs=epochs.stop, steps=steps)
    model.stop_training = False
    called.on_train_begin()
    for epoch in epochs:
        model.reset_metrics()
        called.on_epoch_begin(epoch)
        for step in range(steps):
            called.on_train_batch_begin(step)
            train_step(next(batches))
            called.on_train_batch_end(step)
        figures = model.get_metrics_result()  # reading a metric sums over all replicas
        model.reset_metrics()
        called.on_test_begin()
        for _ in range(test_steps):
            test_step(next(tests))
        tested = model.get_metrics_result()
        called.on_test_end(tested)
        called.on_epoch_end(epoch, {**figures, **{f"val_{name}": value for name, value in tested.items()}})
        if model.stop_training:
            break
    called.on_train_end()


def training_slices(stream: Iterator[tuple[tf.Tensor, npt.NDArray]], context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The slices of each batch of the endless ``stream`` for the replicas of ``context``, one after the other."""
    replicas = context.num_replicas_in_sync
    here = replicas // context.num_input_pipelines
    first = here * context.input_pipeline_id

    def cut(*batch: tf.Tensor) -> tf.data.Dataset:
        size = tf.shape(batch[0])[0] // replicas
        own = (part[first * size : (first + here) * size] for part in batch)
        return tf.data.Dataset.from_tensor_slices(tuple(tf.reshape(part, [here, size, *part.shape[1:]]) for part in own))

    first_x, first_y = next(stream)
    shapes = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in (first_x, first_y))
    whole = tf.data.Dataset.from_generator(lambda: itertools.chain([(first_x, first_y)], stream), output_signature=shapes)
    cuts = whole.filter(lambda x, y: tf.shape(x)[0] >= replicas).flat_map(cut)
    # Otherwise the workers exchange messages at every step to learn whether there is more.
    return cuts.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).prefetch(tf.data.AUTOTUNE)


def validation_slices(images: Pixels, targets: npt.NDArray, steps: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """All pictures once in ``steps`` steps of all replicas, repeated endlessly; slices differ by one picture, which the metrics weigh."""
    here = context.num_replicas_in_sync // context.num_input_pipelines
    parts = np.array_split(np.arange(len(images)), context.num_replicas_in_sync)[here * context.input_pipeline_id :][:here]
    slices = [np.array_split(part, steps) for part in parts]

    def one_round() -> Iterator[tuple[npt.NDArray, npt.NDArray]]:
        for step in range(steps):
            for own in slices:
                yield images[own[step]][..., None], targets[own[step]]

    shapes = (
        tf.TensorSpec((None, *images.shape[1:], 1), images.dtype),
        tf.TensorSpec((None, targets.shape[1]), targets.dtype),
    )
    return tf.data.Dataset.from_generator(one_round, output_signature=shapes).repeat()


def _reason(error: tf.errors.OpError) -> str:
    """The line of TensorFlow's message with the reason."""
    return str(error.message).rpartition("aborted by: ")[2].strip().partition("\n")[0][:200]
