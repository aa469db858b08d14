"""Training on several GPUs or machines with TensorFlow's own strategies: the same steps as one process takes, cut into equal slices.

Keras 3 cannot `fit` under the multi-worker strategy: it takes the figures of a step, which belong to a replica, for tensors. So the loop is
here, for both strategies; the step, the optimizer, the metrics and the callbacks in it are the compiled Keras model's.
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
"""Validation pictures a replica takes at once."""

START_S = 600
"""How long a worker waits at the start for the others to come."""


def strategy_for(mode: str) -> tf.distribute.Strategy:
    """TensorFlow's strategy for ``--distribute``. Must come before anything else is asked of TensorFlow.

    "multiworker" returns when every worker of ``TF_CONFIG`` (`train.cluster`) is there.
    """
    if keras.backend.backend() != "tensorflow":
        raise SettingsError(f"--distribute {mode} needs Keras' backend tensorflow; ~/.keras/keras.json says {keras.backend.backend()}")
    tf.get_logger().setLevel("ERROR")  # it announces each strategy, and a lost worker in pages
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
    """TensorFlow waits for the workers for an hour, deaf to signals and holding Python's lock: here Ctrl-C and the alarm clock end it."""
    kept = signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.alarm(START_S)  # nobody catches it: the system ends the process
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGINT, kept)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # TensorFlow has put in a handler that lets the signal pass


@contextmanager
def workers_watched() -> Iterator[None]:
    """Inside, a worker that dies or falls silent is a `WorkerLost` in the others.

    TensorFlow notices: a closed connection at once, silence after its heartbeat's 10 s.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise WorkerLost(
            f"another worker is gone ({_reason(error)}); the same command on every worker goes on at the last finished epoch"
        ) from None


def agree(strategy: tf.distribute.Strategy, what: str) -> None:
    """Raises `SettingsError` unless every worker says the same ``what``: recipe, data, epochs done and epochs wanted."""
    number = int.from_bytes(hashlib.sha256(what.encode()).digest()[:7])
    own = strategy.experimental_distribute_values_from_function(lambda place: tf.constant([number], tf.int64))
    if len(set(strategy.gather(own, axis=0).numpy().tolist())) > 1:
        raise SettingsError(
            "the workers disagree: each needs the same recipe, data, votes and --epochs, and OUT on storage that all of them share"
        )


def steps_of(pictures: int, batch_size: int, replicas: int) -> int:
    """Steps an epoch: the last batch counts where every replica gets a picture of it. Raises `SettingsError` for unequal slices."""
    if batch_size % replicas:
        raise SettingsError(f"batch_size {batch_size} is of all replicas together and cannot be shared equally by {replicas}; change it")
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
    """What ``model.fit`` does, under ``strategy``; ``model`` was compiled in its scope.

    Every worker makes the whole of ``stream``, batches (b, 48, 48, 1) and (b, classes), and cuts its replicas' slices out of each: so
    augmentation and mixup are one process's. Slices are equal, as batch normalisation and the mean of the gradients need: where the last
    batch of an epoch does not divide, its remainder (fewer pictures than replicas) is left out. Validation leaves nothing out.
    """

    @tf.function(reduce_retracing=True)
    def train_step(batch: tuple[tf.Tensor, tf.Tensor]) -> None:
        strategy.run(model.train_step, args=(batch,))

    @tf.function(reduce_retracing=True)
    def test_step(batch: tuple[tf.Tensor, tf.Tensor]) -> None:
        strategy.run(model.test_step, args=(batch,))

    replicas = strategy.num_replicas_in_sync
    test_steps = math.ceil(math.ceil(len(validation[0]) / replicas) / VALIDATION_SLICE)
    batches = iter(strategy.distribute_datasets_from_function(lambda place: training_slices(stream, place)))
    tests = iter(strategy.distribute_datasets_from_function(lambda place: validation_slices(*validation, test_steps, place)))
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)  # in a replica it would be too late for its variables
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
        figures = model.get_metrics_result()  # all workers together: reading a metric adds up the replicas'
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


def training_slices(stream: Iterator[tuple[tf.Tensor, npt.NDArray]], place: tf.distribute.InputContext) -> tf.data.Dataset:
    """Of each batch of the endless ``stream`` the slices of the replicas at ``place``, one after the other."""
    replicas = place.num_replicas_in_sync
    here = replicas // place.num_input_pipelines
    first = here * place.input_pipeline_id

    def cut(*batch: tf.Tensor) -> tf.data.Dataset:
        size = tf.shape(batch[0])[0] // replicas
        own = (part[first * size : (first + here) * size] for part in batch)
        return tf.data.Dataset.from_tensor_slices(tuple(tf.reshape(part, [here, size, *part.shape[1:]]) for part in own))

    first_x, first_y = next(stream)
    shapes = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in (first_x, first_y))
    whole = tf.data.Dataset.from_generator(lambda: itertools.chain([(first_x, first_y)], stream), output_signature=shapes)
    cuts = whole.filter(lambda x, y: tf.shape(x)[0] >= replicas).flat_map(cut)
    # Else the workers would ask each other at every step whether there is more.
    return cuts.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).prefetch(tf.data.AUTOTUNE)


def validation_slices(images: Pixels, targets: npt.NDArray, steps: int, place: tf.distribute.InputContext) -> tf.data.Dataset:
    """Every picture once in ``steps`` steps of all replicas, endlessly repeated; slices differ by a picture, which the metrics weigh."""
    here = place.num_replicas_in_sync // place.num_input_pipelines
    parts = np.array_split(np.arange(len(images)), place.num_replicas_in_sync)[here * place.input_pipeline_id :][:here]
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
    """The one line of TensorFlow's message that says what happened."""
    return str(error.message).rpartition("aborted by: ")[2].strip().partition("\n")[0][:200]
