"""A published network for classes of one's own: first a new last layer on its frozen features, then its later layers thawed."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import msgspec
import numpy as np
import numpy.typing as npt
from keras import layers

from edgefer.types import Pixels
from train.ask import asker
from train.head import Features, Head
from train.metrics import Classes
from train.pipeline import middle, training_stream, varied
from train.recipe import Recipe, load_recipe

VIEWS = 6
"""Varied views of a picture that the frozen features are taken of."""
BATCH = 32
_PICTURES_A_STEP = 15
"""Times each picture is seen while thawed, within `_STEPS`."""
_STEPS = (120, 1200)
_RATE = 2e-4
_SMOOTHING = 0.05


def how_to_vary(seed: int) -> Recipe:
    """The recipe of ``small``, of which the variations of pictures are used: no teachers, no blends."""
    recipe = load_recipe("small")
    distill = msgspec.structs.replace(recipe.distill, teachers=[], unlabelled=0.0)
    return msgspec.structs.replace(recipe, batch_size=BATCH, mixup=0.0, seed=seed, distill=distill)


def load_start(path: Path) -> keras.Model:
    """A network in float32, its batch normalisations frozen: a few pictures would spoil their statistics."""
    network = keras.models.load_model(path, compile=False)

    def in_float32(layer: layers.Layer) -> layers.Layer:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    same = keras.models.clone_model(network, clone_function=in_float32)
    same.set_weights(network.get_weights())
    return same


def features_of(network: keras.Model, images: Pixels, recipe: Recipe) -> Features:
    """What the layer before the last answers about pictures (n, H, W) uint8 with a rim: (`VIEWS`, n, d).

    View 0 is the picture as it is, view 1 its mirror image, the others are varied as in training.
    """
    ask = asker(keras.Model(network.input, network.layers[-1].input))
    plain = middle(images)[..., None].astype(np.float32)
    found = [ask(plain), ask(plain[:, :, ::-1])]
    stream, steps = varied(images, recipe)
    for _ in range(VIEWS - len(found)):
        view = np.empty_like(found[0])
        for pixels, _, chosen, _ in itertools.islice(stream, steps):
            view[chosen] = ask(np.asarray(pixels))
        found.append(view)
    return np.stack(found)


def with_head(network: keras.Model, head: Head, name: str) -> keras.Model:
    """The network with another last layer."""
    scores = layers.Dense(head.kernel.shape[1], activation="softmax", dtype="float32", name="scores")
    model = keras.Model(network.input, scores(network.layers[-1].input), name=network.name)
    scores.set_weights([head.kernel, head.bias])
    return model


def steps_for(pictures: int) -> int:
    """Training steps for that many pictures: sized by what is to be learned, not by epochs."""
    return min(max(_PICTURES_A_STEP * pictures // BATCH, _STEPS[0]), _STEPS[1])


def thaw(model: keras.Model, images: Pixels, classes: Classes, recipe: Recipe, steps: int, say: Callable[[str], None]) -> None:
    """Train the later half of the layers and the last one, on varied pictures; every class weighs alike."""
    weighty = [layer for layer in model.layers if layer.weights]
    for index, layer in enumerate(weighty):
        layer.trainable = index >= len(weighty) // 2 and not isinstance(layer, layers.BatchNormalization)
    count = int(model.output_shape[-1])
    weight = 1 / np.maximum(np.bincount(classes, minlength=count), 1)
    weight = weight * len(classes) / weight[classes].sum()
    warmup = max(1, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(_RATE / 20, steps - warmup, warmup_target=_RATE, warmup_steps=warmup)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.01), loss=keras.losses.CategoricalCrossentropy(label_smoothing=_SMOOTHING)
    )
    stream, _ = training_stream(images, np.eye(count, dtype=np.float32)[classes], recipe)
    begun, told = time.monotonic(), time.monotonic()
    for step, (pixels, wanted) in enumerate(itertools.islice(_whole(stream), steps), 1):
        model.train_on_batch(pixels, wanted, sample_weight=weight[wanted.argmax(axis=1)].astype(np.float32))
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"thawed: step {step} of {steps}, {(told - begun) / step * (steps - step):.0f} s to go")
    for layer in model.layers:
        layer.trainable = True


def _whole(stream: Iterator[tuple[npt.NDArray, npt.NDArray]]) -> Iterator[tuple[npt.NDArray, npt.NDArray]]:
    """Batches of one size: another size would compile the step again."""
    pixels, wanted = next(stream)
    size = len(wanted)
    while True:
        yield np.asarray(pixels), wanted
        pixels, wanted = next(stream)
        while len(wanted) < size:
            more, theirs = next(stream)
            pixels, wanted = np.concatenate([pixels, more])[:size], np.concatenate([wanted, theirs])[:size]


def sharpen(model: keras.Model, divisor: float) -> None:
    """Divide the logits by a temperature, inside the graph."""
    last = model.layers[-1]
    last.set_weights([array / divisor for array in last.get_weights()])


def loss_of(scores: npt.NDArray[np.float32], classes: Classes, weight_alike: int) -> float:
    """Mean negative log-likelihood, every one of ``weight_alike`` classes with the same weight."""
    each = -np.log(np.maximum(scores[np.arange(len(classes)), classes], 1e-6))
    means = [each[classes == label].mean() for label in range(weight_alike) if (classes == label).any()]
    return float(np.mean(means)) if means else math.inf
