"""The training stream: shuffled, batched and augmented with tf.data, exactly repeatable from any epoch."""

from __future__ import annotations

import math

import numpy.typing as npt
import tensorflow as tf

from edge.types import Pixels
from train.recipe import Augment, Recipe


def training_stream(
    images: Pixels, targets: npt.NDArray, recipe: Recipe, first_epoch: int = 0, said: npt.NDArray | None = None
) -> tuple[tf.data.Dataset, int]:
    """An endless stream of (b, 48, 48, 1) float32 pixels 0..255 and (b, classes) targets, and its steps an epoch.

    ``targets`` is (n, classes); ``said`` what teachers say of every view of every picture, (views, n, classes): they have
    ``recipe.distill.share`` of the target then, and epoch e shows view e modulo views. Every random number comes from
    (seed, epoch, step): a run resumed at an epoch sees what it would have seen.
    """
    wanted, heard = tf.constant(targets), None if said is None else tf.constant(said)
    stream, steps = varied(images, recipe, first_epoch, views=None if said is None else len(said))

    def with_targets(x: tf.Tensor, share: tf.Tensor, chosen: tf.Tensor, view: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        y = blend(tf.gather(wanted, chosen), share)
        if heard is not None:
            y = (1 - recipe.distill.share) * y + recipe.distill.share * tf.gather(heard[view], chosen)
        return x, y

    return stream.map(with_targets).prefetch(tf.data.AUTOTUNE), steps


def varied(images: Pixels, recipe: Recipe, first_epoch: int = 0, views: int | None = None) -> tuple[tf.data.Dataset, int]:
    """The pictures of every epoch, shuffled, augmented and blended: batches of (pixels, share, indices into ``images``, view).

    ``share`` is each picture's own share of the blend that `blend` made, 1 without mixup.
    """
    count, batch = len(images), recipe.batch_size
    steps = math.ceil(count / batch)
    pixels = tf.constant(images[..., None])

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        view = epoch % views if views else epoch
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[recipe.seed, tf.cast(view, tf.int32)])
        batches = tf.data.Dataset.from_tensor_slices(order).batch(batch).enumerate(start=view * steps)
        return batches.map(lambda step, chosen: (step, chosen, view))

    def vary(step: tf.Tensor, chosen: tf.Tensor, view: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.constant(recipe.seed, tf.int64), step])
        share = mixup_share(recipe.mixup, seed)
        return blend(augment(tf.gather(pixels, chosen), recipe.augment, seed), share), share, chosen, view

    epochs = tf.data.Dataset.range(first_epoch, first_epoch + 1_000_000)
    return epochs.flat_map(epoch_batches).map(vary, num_parallel_calls=tf.data.AUTOTUNE), steps


def augment(images: tf.Tensor, how: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Vary a batch (b, H, W, 1) of pixels 0..255; float32 out, same shape and range.

    Rotation, zoom, shear, shift and mirror are one affine transform a picture: one pass, one interpolation.
    """
    batch, size = tf.shape(images)[0], images.shape[1]
    draw = tf.random.stateless_uniform([17, batch], seed, minval=-1.0)
    out = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=_affine(draw[:7], how, size),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=how.fill.upper(),
    )
    if how.brightness or how.contrast:
        gain = (1 + how.contrast * draw[7])[:, None, None, None]
        offset = (255 * how.brightness * draw[8])[:, None, None, None]
        mean = tf.reduce_mean(out, axis=[1, 2, 3], keepdims=True)
        out = tf.clip_by_value((out - mean) * gain + mean + offset, 0.0, 255.0)
    if how.erase:
        out = _erase(out, draw[9:14], how.erase, size)
    if how.blur:
        out = _blur(out, draw[14:], how.blur)
    if how.noise:
        out = _noise(out, draw[16], how.noise, seed)
    return out


def _affine(draw: tf.Tensor, how: Augment, size: int) -> tf.Tensor:
    """(b, 8) maps from output pixel to input pixel, about the centre, from seven uniform draws -1..1 a picture."""
    angle = draw[0] * (how.rotation_deg * math.pi / 180)
    shear = draw[1] * (how.shear_deg * math.pi / 180)
    zoom_x, zoom_y = 1 + how.zoom * draw[2], 1 + how.zoom * draw[3]
    mirror = tf.where(draw[4] < 0, -1.0, 1.0) if how.flip else tf.ones_like(angle)
    shift_x, shift_y = draw[5] * how.shift * size, draw[6] * how.shift * size
    a, b = mirror * tf.cos(angle) * zoom_x, -tf.sin(angle + shear) * zoom_y
    d, e = mirror * tf.sin(angle) * zoom_x, tf.cos(angle + shear) * zoom_y
    middle = (size - 1) / 2
    c, f = middle - a * middle - b * middle + shift_x, middle - d * middle - e * middle + shift_y
    zero = tf.zeros_like(a)
    return tf.stack([a, b, c, d, e, f, zero, zero], axis=1)


def _erase(images: tf.Tensor, draw: tf.Tensor, share: float, size: int) -> tf.Tensor:
    """Random erasing (Zhong et al. 2017): a rectangle of a fifth to a half of each side becomes flat grey."""
    unit = (draw + 1) / 2
    chosen = unit[0] < share
    half = (0.1 + 0.15 * unit[1]) * size
    aspect = 0.6 + 0.8 * unit[4]
    place = tf.range(size, dtype=tf.float32)
    rows = tf.abs(place[None] - (unit[2] * size)[:, None]) < (half * aspect)[:, None]
    columns = tf.abs(place[None] - (unit[3] * size)[:, None]) < (half / aspect)[:, None]
    hole = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]
    return tf.where(hole[..., None], tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True), images)


def _blur(images: tf.Tensor, draw: tf.Tensor, share: float) -> tf.Tensor:
    """Soften a share of the pictures by up to what a face of 16 pixels shows once it is enlarged to 48."""
    weights = tf.constant([1.0, 2.0, 3.0, 2.0, 1.0])
    kernel = (weights[:, None] * weights[None, :] / tf.reduce_sum(weights) ** 2)[:, :, None, None]
    padded = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]], "SYMMETRIC")
    soft = tf.nn.conv2d(padded, kernel, 1, "VALID")
    unit = (draw + 1) / 2
    amount = tf.where(unit[0] < share, unit[1], 0.0)[:, None, None, None]
    return images + amount * (soft - images)


def _noise(images: tf.Tensor, draw: tf.Tensor, most: float, seed: tf.Tensor) -> tf.Tensor:
    """Add a sensor's noise in bad light: normal, its deviation from 0 to ``most`` grey levels; half the pictures have none."""
    deviation = most * tf.maximum(draw, 0.0)[:, None, None, None]
    return tf.clip_by_value(images + deviation * tf.random.stateless_normal(tf.shape(images), seed + 1), 0.0, 255.0)


def mixup_share(alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """A picture's own share of its blend (Zhang et al. 2017, mixup): one Beta(alpha, alpha) a batch; 1 where ``alpha`` is 0."""
    if not alpha:
        return tf.constant(1.0)
    gamma = tf.random.stateless_gamma([2], seed, alpha)
    return gamma[0] / (gamma[0] + gamma[1])


def blend(batch: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Blend each of a batch's pictures, or targets, with its neighbour's; same shape."""
    return share * batch + (1 - share) * tf.roll(batch, 1, axis=0)
