"""Files that every kernel computes to the same bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from networks import both, chain, varied_faces

from convert.exact import BELOW, exact
from convert.pack import unpacked
from convert.validate import kernels_apart
from edgefer.types import Pixels

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pictures() -> Pixels:
    return varied_faces()


@pytest.fixture(scope="module")
def plain(pictures: Pixels) -> tuple[bytes, bytes]:
    """The published nano network, as the converter leaves it."""
    import keras

    return both(keras.models.load_model(ROOT / "models" / "nano" / "nano.keras", compile=False), pictures)


@pytest.fixture(scope="module")
def made(plain: tuple[bytes, bytes], pictures: Pixels) -> bytes:
    content = exact(*plain, pictures)
    assert content
    return content


def answers(model: bytes, pictures: Pixels, kernels: OpResolverType = OpResolverType.AUTO) -> np.ndarray:
    """Probabilities (n, K) 0..1, from uint8 or float32 files."""
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (pixels,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    said = []
    for picture in pictures:
        interpreter.set_tensor(pixels["index"], picture[None, :, :, None].astype(pixels["dtype"]))
        interpreter.invoke()
        said.append(interpreter.get_tensor(scores["index"])[0].astype(np.float32))
    return np.array(said) / (256 if scores["dtype"] == np.uint8 else 1)


def test_kernels_that_disagree_about_a_file_agree_about_the_exact_one(plain: tuple[bytes, bytes], made: bytes, pictures: Pixels) -> None:
    assert kernels_apart(plain[0], pictures) > 1
    ours, theirs = (answers(made, pictures, each) for each in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES))
    assert np.array_equal(ours, theirs)
    assert len(np.unique(ours, axis=0)) > 20, "answers that differ from picture to picture"


def test_the_exact_file_is_nearer_to_the_float_network_than_the_converters(
    plain: tuple[bytes, bytes], made: bytes, pictures: Pixels
) -> None:
    assert len(made) < len(plain[0])
    true, before, after = (answers(each, pictures) for each in (plain[1], plain[0], made))
    assert np.abs(after - true).mean() <= 0.5 * np.abs(before - true).mean()
    changed_before, changed_after = (np.mean(each.argmax(axis=1) != true.argmax(axis=1)) for each in (before, after))
    assert changed_after <= min(0.04, changed_before / 2)


def test_no_sum_of_the_exact_file_is_half_a_step(made: bytes) -> None:
    content = unpacked(made)
    tensors = content.subgraphs[0].tensors
    layers = [operator for operator in content.subgraphs[0].operators if len(operator.inputs) == 3]
    assert len(layers) == 27, "the stem, twelve pairs, the mean and the dense layer"
    for layer in layers:
        weights, bias = (np.asarray(content.buffers[tensors[index].buffer].data, np.uint8) for index in layer.inputs[1:])
        assert not (weights.view(np.int8) % 2).any()
        assert (bias.view(np.int32) % 2).all()
        scales = [tensors[index].quantization.scale for index in (layer.inputs[0], layer.inputs[1], layer.outputs[0])]
        ratio = scales[0].astype(np.float64) * scales[1] / scales[2]
        shift = -np.log2(ratio / BELOW)
        assert np.abs(shift - np.round(shift)).max() < 2.0**-21
        assert (ratio < 2.0 ** -np.round(shift)).all(), "under the power of two: TensorFlow Lite would halve the sum first"
        assert shift.min() > 1.9


def test_a_network_that_is_no_chain_is_left_to_the_caller(pictures: Pixels) -> None:
    import keras
    from keras import layers

    class Shortcut(layers.Layer):
        def call(self, x: Any) -> Any:
            return x + keras.ops.relu(x - 0.5)

    end = [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    assert exact(*both(chain(layers.Conv2D(4, 3), layers.ReLU(), Shortcut(), *end), pictures), pictures) is None


@pytest.mark.parametrize("gain", [1, 500])
def test_a_layer_without_room_for_its_weights_is_left_to_the_caller(gain: int, pictures: Pixels) -> None:
    import keras
    from keras import layers

    def opposed(shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Equal channels, added and subtracted: nothing comes of large weights."""
        return keras.ops.broadcast_to(keras.ops.array([gain, -gain, gain, -gain], dtype)[:, None], shape)

    body = [
        layers.Conv2D(4, 3, kernel_initializer=keras.initializers.Constant(0.1), activation="relu"),
        layers.Conv2D(4, 1, kernel_initializer=opposed, bias_initializer="ones", activation="relu"),
        layers.GlobalAveragePooling2D(),
    ]
    made = exact(*both(chain(*body, layers.Dense(3), layers.Softmax()), pictures), pictures)
    assert (made is None) == (gain > 1)


def test_a_chain_without_depthwise_layers_gets_its_mean_as_one(pictures: Pixels) -> None:
    from keras import layers

    model, real = both(
        chain(layers.Conv2D(4, 3, 2), layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")), pictures
    )
    made = exact(model, real, pictures)
    assert made
    assert kernels_apart(made, pictures) == 0
    assert np.abs(answers(made, pictures) - answers(real, pictures)).max() <= 3 / 256


def test_the_output_keeps_its_scale(pictures: Pixels) -> None:
    from keras import layers

    model, real = both(
        chain(layers.Conv2D(4, 3, 2), layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(3, "relu", kernel_initializer="ones")),
        pictures,
    )
    made = exact(model, real, pictures)
    assert made

    def last(content: bytes) -> float:
        graph = unpacked(content).subgraphs[0]
        return float(graph.tensors[graph.operators[-2].outputs[0]].quantization.scale[0])

    assert last(made) == last(model) != 1
