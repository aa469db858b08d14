"""What a network that is not trained answers about many pictures, as fast as this machine can."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgefer.native_stderr import silence_native_stderr

Ask = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
"""Pixels (b, H, W, 1) float32 0..255 -> what the network answers, (b, …) float32."""


def asker(network: keras.Model) -> Ask:
    """``network`` as a function: by LiteRT on a CPU under TensorFlow, where it takes a third of Keras' time; else by Keras."""
    if keras.backend.backend() != "tensorflow":
        return lambda pixels: np.asarray(network.predict_on_batch(pixels), np.float32)
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    if tf.config.list_physical_devices("GPU"):
        return lambda pixels: np.asarray(network.predict_on_batch(pixels), np.float32)
    network = _in_float32(network)
    single = keras.Input(batch_shape=(1, *network.input_shape[1:]))
    with silence_native_stderr(), redirect_stdout(io.StringIO()):  # Keras prints where it put the copy that is converted
        flatbuffer = tf.lite.TFLiteConverter.from_keras_model(keras.Model(single, network(single, training=False))).convert()
        # More threads than cores wait for each other.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        interpreter = Interpreter(model_content=flatbuffer, num_threads=cores)
        interpreter.allocate_tensors()
    (inside,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()

    def by_litert(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        answers = np.empty((len(pixels), *out["shape"][1:]), np.float32)
        for answer, picture in zip(answers, np.asarray(pixels, np.float32), strict=True):
            interpreter.set_tensor(inside["index"], picture[None])
            interpreter.invoke()
            answer[...] = interpreter.get_tensor(out["index"])[0]
        return answers

    return by_litert


def _in_float32(network: keras.Model) -> keras.Model:
    """The same network in float32: the converter has no bfloat16."""

    def in_float32(layer: keras.layers.Layer) -> keras.layers.Layer:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    same = keras.models.clone_model(network, clone_function=in_float32)
    same.set_weights(network.get_weights())
    return same
