"""The quantization recipes; a function's name is the choice on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgefer.types import Pixels

if TYPE_CHECKING:
    import tensorflow as tf  # imported where it is used: the command line needs only the recipes' names

Calibration = Callable[[], Iterator[list[np.ndarray]]]


def int8(converter: tf.lite.TFLiteConverter, calibration: Calibration) -> None:
    """Weights and activations in 8 bits, uint8 pixels in, uint8 probabilities out; no float operator is left."""
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8


def dynamic(converter: tf.lite.TFLiteConverter, calibration: Calibration) -> None:
    """Weights in 8 bits; activations float32, quantized at run time; float32 pixels in."""
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def float16(converter: tf.lite.TFLiteConverter, calibration: Calibration) -> None:
    """Weights in 16 bits, arithmetic in float32: half the size of float32, the same answers."""
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def float32(converter: tf.lite.TFLiteConverter, calibration: Calibration) -> None:
    """Nothing quantized: the file to compare with, and for machines on which float is faster."""


RECIPES = {recipe.__name__: recipe for recipe in (int8, float16, float32, dynamic)}


def calibration_pictures(images: Pixels, count: int, seed: int) -> Calibration:
    """``count`` random pictures of (n, H, W) uint8 training images, and a ramp of all levels 0..255.

    Without the ramp the brightest of these pictures sets the input's scale, and raw pixels are misread.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    height, width = images.shape[1:]
    ramp = np.resize(np.arange(256, dtype=np.float32), (1, height, width, 1))

    def pictures() -> Iterator[list[np.ndarray]]:
        yield [ramp]
        for image in images[chosen]:
            yield [image[None, :, :, None].astype(np.float32)]

    return pictures
