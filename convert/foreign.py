"""Keras networks that somebody else trained: what can be seen of them, and the same network on raw pixels. None of their code runs."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edgefer.errors import ModelError
from edgefer.native_stderr import silence_native_stderr
from edgefer.types import RESERVED

SIZES_PX = (32, 224)
HDF5 = b"\x89HDF\r\n\x1a\n"
"""How an HDF5 file begins; Keras 2 wrote such files under the ending .keras too."""
_PYTHON_OPERATORS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile"}


class Foreign(msgspec.Struct, frozen=True):
    """What a network is given and gives back."""

    path: str
    height_px: int
    width_px: int
    channels: int
    classes: int
    raw: bool
    """It scales pixels itself, or its file says how: `black` and `white` are known."""
    black: float = 0.0
    white: float = 255.0
    """What it reads for a pixel of 0 and of 255."""
    quantization: str = ""
    """Of a TFLite file: how it is quantized."""

    def __str__(self) -> str:
        """The same for people."""
        colour = "grey" if self.channels == 1 else "colour"
        return f"{self.width_px}x{self.height_px} pixels in {colour}, {self.classes} classes"


def look_at(path: Path) -> Foreign:
    """What can be seen of a Keras file or a SavedModel; raises `ModelError` for what is not a classifier of pictures, or would run code."""
    network = load(path)
    shape, classes = network.input_shape, network.output_shape
    if isinstance(shape, list) or isinstance(classes, list) or len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ModelError(
            f"{path}: {len(network.inputs)} inputs and {len(network.outputs)} outputs; one picture in and one answer out are needed"
        )
    check_shapes(path, shape, classes)
    return Foreign(str(path), shape[1], shape[2], shape[3], classes[1], raw=_scales_itself(network))


def check_shapes(path: Path, shape: tuple[int, ...], answer: tuple[int, ...]) -> None:
    """Raises `ModelError` unless a network reads square-ish pictures, channels last, and answers with two or more numbers."""
    if len(shape) != 4:
        raise ModelError(f"{path}: its input is {shape}, not a picture (batch, height, width, channels)")
    if None in shape[1:] or min(shape[1:3]) < 1:
        raise ModelError(f"{path}: its input size is open, {shape}; save it again with a fixed one, such as Input((48, 48, 1))")
    if shape[3] not in (1, 3):
        first = "channels come first: save it with channels last" if shape[1] in (1, 3) else "1 (grey) or 3 (colour) channels are needed"
        raise ModelError(f"{path}: its input is {shape}; {first}")
    low, high = SIZES_PX
    if not (low <= shape[1] <= high and low <= shape[2] <= high):
        raise ModelError(f"{path}: reads {shape[2]}x{shape[1]} pixels; {low} to {high} are supported")
    if len(answer) != 2 or not answer[1] or answer[1] < 2:
        raise ModelError(f"{path}: answers with {answer}, not with one number for each of two or more classes")


def load(path: Path) -> Any:
    """The network of a Keras file or a SavedModel, as a Keras model; nothing in the file is run as Python."""
    with silence_native_stderr():
        import keras
    if path.is_dir():
        return _load_saved(path, keras)
    config = _config(path)
    _refuse_code(path, config)
    try:
        with silence_native_stderr(), warnings.catch_warnings(action="ignore"), _readable(path, config) as readable:
            return keras.models.load_model(readable, compile=False, safe_mode=True)
    except Exception as error:  # a foreign file can raise nearly any exception
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        if match := re.search(r"[Uu]nknown (?:layer|object)[:\s]*'?(\w+)|[Cc]ould not locate (?:class|function) '(\w+)'", str(error)):
            raise ModelError(
                f"{path}: {match[1] or match[2]!r} is no layer of Keras {keras.__version__}: a custom class, or one of Keras 2. "
                "Its code is not run: make a TFLite file where you trained it (tf.lite.TFLiteConverter), and convert that"
            ) from None
        raise ModelError(
            f"{path}: Keras {keras.__version__} cannot load it: {lines[0][:200]}. Load it with the version of Keras that saved it, "
            "then save it with model.save('model.keras'), or as a TFLite file, and convert that"
        ) from None


def _load_saved(path: Path, keras: Any) -> Any:
    """A SavedModel's signature ``serving_default`` as a Keras model."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel()
    try:
        graph.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # whatever the parser raises
        raise ModelError(f"{path}: no SavedModel ({error}); the folder with saved_model.pb is needed") from None
    operators = {
        node.op
        for meta in graph.meta_graphs
        for of in (meta.graph_def.node, *(f.node_def for f in meta.graph_def.library.function))
        for node in of
    }
    if found := sorted(operators & _PYTHON_OPERATORS):
        raise ModelError(f"{path}: has the operator {found[0]}, which runs Python or opens files; save the network without it")
    try:
        with silence_native_stderr():
            signature = tf.saved_model.load(str(path)).signatures["serving_default"]
            (pixels,) = signature.structured_input_signature[1].values()
            layer = keras.layers.TFSMLayer(str(path), call_endpoint="serving_default")
            inputs = keras.Input(pixels.shape[1:])
            (answers,) = layer(inputs).values()
            return keras.Model(inputs, answers)
    except Exception as error:  # a foreign file can raise nearly any exception
        raise ModelError(f"{path}: its signature serving_default cannot be used: {str(error).splitlines()[0][:200]}") from None


@contextmanager
def _readable(path: Path, config: Any) -> Iterator[Path]:
    """The file, or of an HDF5 file a copy that Keras 3 reads: named .h5, and a Sequential of Keras 2 with the InputLayer that it lacks."""
    network = config.get("config") if isinstance(config, dict) else None
    layers = network if isinstance(network, list) else network.get("layers", []) if isinstance(network, dict) else []
    shape = layers[0].get("config", {}).get("batch_input_shape") if layers else None
    lacks_input = config.get("class_name") == "Sequential" and shape and layers[0].get("class_name") != "InputLayer"
    if zipfile.is_zipfile(path) or (path.suffix.lower() in (".h5", ".hdf5") and not lacks_input):
        yield path
        return
    import h5py

    if lacks_input:
        layers.insert(0, {"class_name": "InputLayer", "config": {"batch_input_shape": shape, "dtype": "float32", "name": "pixels"}})
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, Path(folder) / "model.h5"))
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
        yield copy


def _refuse_code(path: Path, config: Any) -> None:
    """Raises `ModelError` for weights without a network, Lambda layers and classes that are not Keras'."""
    for part in _parts(config):
        name = part.get("class_name", "")
        inside = part.get("config")
        called = inside.get("name", name) if isinstance(inside, dict) else name
        if name == "Lambda":
            raise ModelError(
                f"{path}: the Lambda layer {called!r} holds Python code, and no code from a file is run. Replace it by a layer of Keras "
                "(a scaling is keras.layers.Rescaling) and save again, or make a TFLite file where you trained it and convert that"
            )
        registered = str(part.get("registered_name") or "")
        module = str(part.get("module") or "keras")
        if ">" in registered or not module.startswith(("keras", "builtins", "tensorflow", "tf_keras")):
            raise ModelError(
                f"{path}: {called!r} is a custom object ({registered or f'{module}.{name}'}), whose code would have "
                "to run. Make a TFLite file where you trained it (tf.lite.TFLiteConverter), and convert that"
            )


def _config(path: Path) -> Any:
    """The description of a network in a Keras file."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(path) as file:
            text = file.attrs.get("model_config")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not a whole Keras file ({error}); copy or download it again") from None
    if text is None:
        raise ModelError(f"{path}: holds weights but no network; where you trained it, save both: model.save('model.keras')")
    return json.loads(text)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every object of a description, at any depth."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _parts(value)
    elif isinstance(config, list):
        for value in config:
            yield from _parts(value)


def _scales_itself(network: Any) -> bool:
    """Whether a layer before the first convolution scales the pixels."""
    for layer in _layers(network):
        kind = type(layer).__name__
        if kind in ("Rescaling", "Normalization"):
            return True
        if "Conv" in kind or kind in ("Dense", "TFSMLayer"):
            return False
    return False


def _layers(network: Any) -> Iterator[Any]:
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def wrapped(foreign: Foreign, batch: int | None = 1) -> Any:
    """The network on (batch, H, W, 1) raw luma 0..255, answering with probabilities (batch, K)."""
    import keras
    from keras import layers

    network = load(Path(foreign.path))
    pixels = keras.Input((foreign.height_px, foreign.width_px, 1), batch_size=batch, name="pixels")
    x = pixels
    if (foreign.black, foreign.white) != (0.0, 255.0):
        x = layers.Rescaling((foreign.white - foreign.black) / 255, offset=foreign.black, name="scale")(x)
    if foreign.channels == 3:
        x = layers.Concatenate(name="luma_three_times")([x, x, x])
    x = network(x, training=False)
    if not _is_softmax(network):
        x = layers.Softmax(name="probabilities")(_logits(x, network))
    return keras.Model(pixels, x, name="adopted")


def _last(network: Any) -> Any:
    layer = network.layers[-1]
    return _last(layer) if hasattr(layer, "layers") else layer


def _is_softmax(network: Any) -> bool:
    """Whether the answers are probabilities: by the last layer, or, where it cannot be seen, by the answers to two pictures."""
    import numpy as np

    last = _last(network)
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    if type(last).__name__ == "Softmax" or activation == "softmax":
        return True
    if type(last).__name__ != "TFSMLayer":
        return False
    shape = network.input_shape[1:]
    answers = np.asarray(network(np.stack([np.zeros(shape, np.float32), np.random.default_rng(0).random(shape, np.float32)])))
    return bool((answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=0.02))


def _logits(x: Any, network: Any) -> Any:
    """The answers as logits; of independent probabilities (sigmoid) their logarithms, so that the order stays."""
    from keras import ops

    activation = getattr(getattr(_last(network), "activation", None), "__name__", "")
    return ops.log(ops.maximum(x, 1e-6)) if activation == "sigmoid" else x


def labels_of(text: str, classes: int) -> tuple[str, ...]:
    """The labels of ``LABELS=``: words with commas between, or a text file with one a line, numbers before them or not.

    Raises `ModelError` where their number is not the model's.
    """
    try:
        named = Path(text).is_file()
    except OSError:  # a long list is no file name
        named = False
    if named:
        lines = [line.strip() for line in Path(text).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        numbered = all(line.split()[0] == str(index) and " " in line for index, line in enumerate(lines))
        labels = [line.partition(" ")[2].strip() if numbered else line for line in lines]
    else:
        labels = [word.strip() for word in text.split(",")]
    if len(labels) != classes or "" in labels or len(set(labels)) < len(labels) or set(labels) & set(RESERVED):
        raise ModelError(
            f"LABELS={text}: {len(labels)} names, the model answers with {classes} numbers: give {classes} different ones, in the order "
            f"of its outputs, none of them {', '.join(RESERVED)}"
        )
    return tuple(labels)
