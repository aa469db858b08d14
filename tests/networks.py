"""What tests of int8 files share: small networks as TFLite files, and pictures to fit them on."""

from __future__ import annotations

from typing import Any

import numpy as np

from convert.pack import packed
from convert.recipes import RECIPES, calibration_pictures
from edgefer.model.golden import golden_pictures
from edgefer.types import Pixels


def varied_faces() -> Pixels:
    """Drawn faces, each as it is, mirrored, dimmed and with noise: 48 of them."""
    random = np.random.default_rng(2013)
    faces = np.concatenate([golden_pictures(48, 48), golden_pictures(48, 48)[:, :, ::-1]]).astype(np.float32)
    dimmed = np.concatenate([faces * share for share in (0.5, 0.75, 1.0, 1.25)])
    noisy = dimmed + random.normal(0, 10, dimmed.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def both(network: Any, pictures: Pixels) -> tuple[bytes, bytes]:
    """A Keras network as the int8 file that the converter makes and as the float32 one."""
    import keras
    import tensorflow as tf

    single = keras.Input(batch_shape=(1, 48, 48, 1))
    files = []
    for recipe in ("int8", "float32"):
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(single, network(single, training=False)))
        RECIPES[recipe](converter, calibration_pictures(pictures, 100, seed=1))
        files.append(packed(converter.convert()))
    return files[0], files[1]


def chain(*layers: Any) -> Any:
    """A network of those layers on raw pixels."""
    import keras

    keras.utils.set_random_seed(2013)
    return keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Rescaling(1 / 255), *layers])
