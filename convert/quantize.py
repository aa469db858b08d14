"""TensorFlow's converter in a process of its own: it leaks memory at each call and prints to the terminal."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from convert.foreign import Foreign, wrapped
from edgefer.errors import ModelError
from edgefer.types import Pixels

CALIBRATION_PICTURES = 500


def quantize(model: Path, recipe: str, images: Pixels, foreign: Foreign | None = None) -> bytes:
    """A ``.keras`` file -> the bytes of a TFLite flatbuffer without a card, calibrated on ``images`` (n, H, W) uint8.

    ``foreign``: the network at ``model`` is somebody else's, and is wrapped to read such pictures.
    Raises `ModelError` with the last line of the converter's output if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        pictures, result = Path(folder) / "images.npy", Path(folder) / "model.tflite"
        np.save(pictures, images)
        command = [sys.executable, "-m", "convert.quantize", str(model), recipe, str(pictures), str(result)]
        command += [msgspec.json.encode(foreign).decode()] if foreign else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not result.is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
            raise ModelError(f"{model}: TensorFlow could not convert it with recipe {recipe}: {lines[-1]}")
        return result.read_bytes()


def _convert(arguments: argparse.Namespace) -> None:
    import keras
    import tensorflow as tf

    from convert.exact import exact
    from convert.pack import packed
    from convert.recipes import RECIPES, calibration_pictures

    foreign = msgspec.json.decode(arguments.foreign, type=Foreign) if arguments.foreign else None
    model = wrapped(foreign) if foreign else keras.models.load_model(arguments.model, compile=False)
    height, width = model.input_shape[1:3]

    # A fixed batch of one: with a dynamic batch size XNNPACK cannot plan its memory.
    single = keras.Input(batch_shape=(1, height, width, 1), name="pixels")
    network = keras.Model(single, model(single, training=False))
    images = np.load(arguments.images)

    def converted(recipe: str) -> bytes:
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        RECIPES[recipe](converter, calibration_pictures(images, CALIBRATION_PICTURES, seed=2013))
        return packed(converter.convert())

    result = converted(arguments.recipe)
    if arguments.recipe == "int8" and not foreign:
        result = exact(result, converted("float32"), images) or result
    Path(arguments.result).write_bytes(result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="one conversion, for 'python -m convert'")
    for name in ("model", "recipe", "images", "result"):
        parser.add_argument(name)
    parser.add_argument("foreign", nargs="?", default="")
    _convert(parser.parse_args())
