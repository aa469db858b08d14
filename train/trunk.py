"""The frozen layers of a network, asked once: the trained layers then learn from what those answered, at a fraction of the time.

A recipe that freezes its first layers and has a number of `views` shows the network the same varied pictures again and again, so the
frozen layers' answers are computed once a view, kept on disk in 8 bits, and the remaining layers are trained on them alone.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import msgspec
import numpy as np
import numpy.typing as npt
from keras import layers

from edgefer.files import atomic_path
from edgefer.types import Pixels
from train.ask import asker
from train.pipeline import Soft, Targets, batches, target, varied
from train.recipe import Recipe
from train.thin import is_chain

Levels = list[npt.NDArray[np.uint8]]
"""What the frozen layers answer, view by view, (n, h, w, c)."""

STEPS = 42.5
"""Levels of 0..255 to 1 in what a ReLU6 gives, 0..6."""


def divided(model: keras.Model, recipe: Recipe) -> tuple[keras.Model, keras.Model] | None:
    """The frozen layers, pixels -> activations 0..6, and the remaining ones, the same in levels 0..255 -> probabilities.

    Both share the layers of ``model``. None where the recipe freezes nothing or blends pictures, or where the network is no chain
    with a ReLU6 behind the last frozen layer.
    """
    if not recipe.model.frozen or recipe.mixup or not is_chain(model):
        return None
    at = [layer.name for layer in model.layers].index(recipe.model.frozen) + 1
    last = model.layers[at]
    if not isinstance(last, layers.ReLU) or last.max_value != 6:
        return None
    levels = keras.Input(last.output.shape[1:], name="levels")
    x = layers.Rescaling(1 / STEPS, name="activations")(levels)
    for layer in model.layers[at + 1 :]:
        x = layer(x)
    return keras.Model(model.input, last.output), keras.Model(levels, x, name=f"{model.name}_after_{recipe.model.frozen}")


def levels_of(trunk: keras.Model, images: Pixels) -> npt.NDArray[np.uint8]:
    """What the frozen layers answer about ``images`` (n, H, W) uint8 as they are, (n, h, w, c) uint8."""
    ask = asker(trunk)
    return np.concatenate([_levels(ask(images[at : at + 256, ..., None])) for at in range(0, len(images), 256)])


def kept_levels(trunk: keras.Model, images: Pixels, recipe: Recipe, unlabelled: int, out: Path) -> Levels:
    """What the frozen layers answer about every view of ``images``, mapped from files in ``out``.

    Each view is written once; a call that was interrupted goes on at the view that it had not finished.
    """
    weights = b"".join(array.tobytes() for array in trunk.get_weights())
    how = msgspec.json.encode((recipe.augment, recipe.seed, recipe.batch_size, recipe.model.frozen_views, recipe.distill.unlabelled))
    key = hashlib.sha256(weights + images.tobytes() + how).hexdigest()[:12]
    shape, views = (len(images), *trunk.output_shape[1:]), recipe.model.frozen_views
    files = [out / f"levels-{key}-{view}.npy" for view in range(views)]
    out.mkdir(parents=True, exist_ok=True)
    ask = asker(trunk) if not all(file.is_file() for file in files) else None
    for view, file in enumerate(files):
        if file.is_file() or ask is None:
            continue
        begun = time.monotonic()
        with atomic_path(file) as draft:
            levels = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
            stream, steps = varied(images, recipe, first_epoch=view, views=views, unlabelled=unlabelled)
            for pixels, _, chosen, _ in itertools.islice(stream, steps):
                levels[chosen] = _levels(ask(np.asarray(pixels)))
            levels.flush()
        print(f"frozen layers: view {view + 1}/{views}, {time.monotonic() - begun:.0f} s", flush=True)
    return [np.load(file, mmap_mode="r") for file in files]


def levels_stream(
    levels: Levels, targets: Targets, recipe: Recipe, first_epoch: int, soft: Soft | None, unlabelled: int
) -> tuple[Iterator[tuple[npt.NDArray[np.uint8], Targets]], int]:
    """`train.pipeline.training_stream` with the frozen layers' answers instead of pixels."""
    plan, steps = batches(len(targets), recipe, first_epoch, len(levels), unlabelled)
    return ((levels[view][chosen], target(chosen, view, targets, recipe, soft, unlabelled)) for chosen, view, _ in plan), steps


def _levels(activations: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.round(activations * STEPS).astype(np.uint8)
