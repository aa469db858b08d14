"""The training stream: shuffled, batched and augmented pictures, exactly repeatable from any epoch on every backend of Keras."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from edgefer.types import Pixels
from train.data import SIZE_PX
from train.recipe import Augment, Recipe

Tensor = Any
"""A tensor of the backend, or a NumPy array."""

Indices = npt.NDArray[np.intp]
Targets = npt.NDArray[np.float32]
Soft = npt.NDArray[np.float32]
"""Soft targets: the teachers' probabilities, (views, n, classes)."""

DRAWS = 17
"""Uniform draws -1..1 that vary one picture."""


def training_stream(
    images: Pixels, targets: Targets, recipe: Recipe, first_epoch: int = 0, soft: Soft | None = None, unlabelled: int = 0
) -> tuple[Iterator[tuple[Tensor, Targets]], int]:
    """An endless stream of (b, 48, 48, 1) float32 pixels 0..255 and (b, classes) targets, and its steps an epoch.

    ``targets`` is (n, classes); ``soft`` the teachers' probabilities for every view of every picture, (views, n, classes). They
    have ``recipe.distill.share`` of the target, all of it for the last ``unlabelled`` pictures; epoch e shows view e modulo views.
    Every random number is NumPy's and comes from (seed, view): a run resumed at an epoch sees what it would have seen, on
    any backend.
    """
    views = None if soft is None else len(soft)
    stream, steps = varied(images, recipe, first_epoch, views, unlabelled)
    return ((x, target(chosen, view, targets, recipe, soft, unlabelled, share)) for x, share, chosen, view in stream), steps


def target(
    chosen: Indices, view: int, targets: Targets, recipe: Recipe, soft: Soft | None, unlabelled: int = 0, share: float = 1.0
) -> Targets:
    """The targets (b, classes) of the pictures ``chosen`` in a view; see `training_stream`."""
    own = blend(targets[chosen], share)
    if soft is None:
        return own
    share_of_teachers = np.where(chosen < len(targets) - unlabelled, recipe.distill.share, 1.0).astype(np.float32)[:, None]
    return np.asarray((1 - share_of_teachers) * own + share_of_teachers * soft[view][chosen], np.float32)


def batches(
    count: int, recipe: Recipe, first_epoch: int = 0, views: int | None = None, unlabelled: int = 0
) -> tuple[Iterator[tuple[Indices, int, np.random.Generator]], int]:
    """Which of ``count`` pictures are in each batch, its view and its random numbers; and the steps an epoch.

    An epoch has all pictures but the last ``unlabelled``, and of those as many as are `recipe.distill.unlabelled` of the epoch.
    """
    labelled = count - unlabelled
    drawn = epoch_size(count, recipe, unlabelled) - labelled

    def endless() -> Iterator[tuple[Indices, int, np.random.Generator]]:
        for epoch in itertools.count(first_epoch):
            view = epoch % views if views else epoch
            random = np.random.default_rng([recipe.seed, view])
            order = random.permutation(labelled)
            if drawn:
                order = random.permutation(np.concatenate([order, labelled + random.permutation(unlabelled)[:drawn]]))
            for first in range(0, len(order), recipe.batch_size):
                yield order[first : first + recipe.batch_size], view, random

    return endless(), math.ceil((labelled + drawn) / recipe.batch_size)


def epoch_size(count: int, recipe: Recipe, unlabelled: int = 0) -> int:
    """Pictures an epoch; see `batches`."""
    labelled, part = count - unlabelled, recipe.distill.unlabelled
    return labelled + min(unlabelled, round(labelled * part / (1 - part)))


def varied(
    images: Pixels, recipe: Recipe, first_epoch: int = 0, views: int | None = None, unlabelled: int = 0
) -> tuple[Iterator[tuple[Tensor, float, Indices, int]], int]:
    """The pictures of every epoch, shuffled, augmented and blended: batches of (pixels, share, indices into ``images``, view).

    ``share`` is each picture's own share of the blend that `blend` made, 1 without mixup. Pictures larger than 48x48 are
    cropped to their middle after the affine transform, so that the surroundings of the face move in.
    """

    def vary(pixels: Tensor, draw: Tensor, noise: Tensor, share: Tensor) -> Tensor:
        return blend(augment(pixels, recipe.augment, draw, noise), share)

    plan, steps = batches(len(images), recipe, first_epoch, views, unlabelled)

    def stream() -> Iterator[tuple[Tensor, float, Indices, int]]:
        as_one = in_one_graph(vary)
        for chosen, view, random in plan:
            share = mixup_share(recipe.mixup, random)
            draw, noise = draws(random, recipe.augment, (len(chosen), SIZE_PX, SIZE_PX, 1))
            yield as_one(images[chosen, ..., None], draw, noise, np.array(share, np.float32)), share, chosen, view

    return stream(), steps


def in_one_graph(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` compiled by the backend, if it can."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def draws(random: np.random.Generator, how: Augment, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Random numbers of `augment` for a batch of ``shape``: (DRAWS, b) uniform -1..1, and normal noise, empty without ``how.noise``."""
    uniform = random.uniform(-1.0, 1.0, (DRAWS, shape[0])).astype(np.float32)
    return uniform, random.standard_normal(shape if how.noise else (0,), np.float32)


def augment(images: Tensor, how: Augment, draw: Tensor, noise: Tensor) -> Tensor:
    """Vary a batch (b, H, W, 1) of pixels 0..255 by the numbers of `draws`; (b, 48, 48, 1) float32 out, same range.

    Rotation, zoom, shear, shift and mirror are one affine transform per picture, with one interpolation.
    """
    size = images.shape[1]
    out = ops.image.affine_transform(
        ops.cast(images, "float32"), _affine(draw[:7], how, size), "bilinear", how.fill, data_format="channels_last"
    )
    out, size = middle(out), SIZE_PX
    if how.brightness or how.contrast:
        gain = (1 + how.contrast * draw[7])[:, None, None, None]
        offset = (255 * how.brightness * draw[8])[:, None, None, None]
        mean = ops.mean(out, axis=(1, 2, 3), keepdims=True)
        out = ops.clip((out - mean) * gain + mean + offset, 0.0, 255.0)
    if how.erase:
        out = _erase(out, draw[9:14], how.erase, size)
    if how.blur:
        out = _blur(out, draw[14:], how.blur)
    if how.noise:
        out = _noise(out, draw[16], how.noise, noise)
    return out


def middle(images: Tensor) -> Tensor:
    """The 48x48 pixels in the middle of pictures (n, H, W, …)."""
    rim = (images.shape[1] - SIZE_PX) // 2
    return images[:, rim : rim + SIZE_PX, rim : rim + SIZE_PX] if rim else images


def _affine(draw: Tensor, how: Augment, size: int) -> Tensor:
    """(b, 8) maps from output pixel to input pixel, about the centre, from seven uniform draws -1..1 per picture."""
    angle = draw[0] * (how.rotation_deg * math.pi / 180)
    shear = draw[1] * (how.shear_deg * math.pi / 180)
    zoom_x, zoom_y = 1 + how.zoom * draw[2], 1 + how.zoom * draw[3]
    mirror = ops.where(draw[4] < 0, -1.0, 1.0) if how.flip else ops.ones_like(angle)
    shift_x, shift_y = draw[5] * how.shift * size, draw[6] * how.shift * size
    a, b = mirror * ops.cos(angle) * zoom_x, -ops.sin(angle + shear) * zoom_y
    d, e = mirror * ops.sin(angle) * zoom_x, ops.cos(angle + shear) * zoom_y
    middle = (size - 1) / 2
    c, f = middle - a * middle - b * middle + shift_x, middle - d * middle - e * middle + shift_y
    zero = ops.zeros_like(a)
    return ops.stack([a, b, c, d, e, f, zero, zero], axis=1)


def _erase(images: Tensor, draw: Tensor, share: float, size: int) -> Tensor:
    """Random erasing (Zhong et al. 2017): a rectangle of a fifth to a half of each side becomes flat grey."""
    unit = (draw + 1) / 2
    chosen = unit[0] < share
    half = (0.1 + 0.15 * unit[1]) * size
    aspect = 0.6 + 0.8 * unit[4]
    index = ops.arange(size, dtype="float32")
    rows = ops.abs(index[None] - (unit[2] * size)[:, None]) < (half * aspect)[:, None]
    columns = ops.abs(index[None] - (unit[3] * size)[:, None]) < (half / aspect)[:, None]
    hole = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]
    return ops.where(hole[..., None], ops.mean(images, axis=(1, 2, 3), keepdims=True), images)


def _blur(images: Tensor, draw: Tensor, share: float) -> Tensor:
    """Soften a share of the pictures, up to the blur of a face of 16 pixels enlarged to 48."""
    weights = np.array([1.0, 2.0, 3.0, 2.0, 1.0], np.float32)
    kernel = (weights[:, None] * weights[None, :] / weights.sum() ** 2)[:, :, None, None]
    padded = ops.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]], "symmetric")
    soft = ops.conv(padded, kernel, 1, "valid", data_format="channels_last")
    unit = (draw + 1) / 2
    amount = ops.where(unit[0] < share, unit[1], 0.0)[:, None, None, None]
    return images + amount * (soft - images)


def _noise(images: Tensor, draw: Tensor, most: float, noise: Tensor) -> Tensor:
    """Add sensor noise: normal, deviation 0 to ``most`` grey levels; half of the pictures have none."""
    deviation = most * ops.maximum(draw, 0.0)[:, None, None, None]
    return ops.clip(images + deviation * noise, 0.0, 255.0)


def mixup_share(alpha: float, random: np.random.Generator) -> float:
    """A picture's own share of its blend (Zhang et al. 2017, mixup): one Beta(alpha, alpha) per batch; 1 if ``alpha`` is 0."""
    return random.beta(alpha, alpha) if alpha else 1.0


def blend(batch: Tensor, share: Tensor) -> Tensor:
    """Blend each picture, or target, of a batch with its neighbour; same shape."""
    # A NumPy array stays one: a result of the backend would have to be waited for.
    neighbour = (np if isinstance(batch, np.ndarray) else ops).roll(batch, 1, axis=0)
    return share * batch + (1 - share) * neighbour
