"""Models that somebody else trained: what is asked, what is refused, and that their answers stay."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from command import in_process, one_line
from keras import layers

from convert.__main__ import main
from convert.foreign import labels_of, look_at, wrapped
from convert.foreign_tflite import with_probabilities
from edgefer.errors import ModelError
from edgefer.model.card import ADOPTED, read_card
from edgefer.model.classifier import Classifier


def network(size: int = 48, channels: int = 1, *, rescaling: bool = False, activation: str | None = "softmax") -> keras.Model:
    """A small classifier of three classes with random weights that tells pictures apart."""
    keras.utils.set_random_seed(7)
    body = [layers.Rescaling(1 / 255)] if rescaling else []
    body += [layers.Conv2D(4, 5, 4, activation="relu"), layers.Flatten(), layers.Dense(3, activation=activation, name="answer")]
    return keras.Sequential([keras.Input((size, size, channels)), *body])


def as_tflite(model: keras.Model, path: Path, *, integers: bool = False) -> Path:
    """A TFLite file as a tutorial makes it: without a card."""
    import tensorflow as tf

    single = keras.Input(batch_shape=(1, *model.input_shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(single, model(single, training=False)))
    if integers:
        random = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([random.random((1, *model.input_shape[1:]), np.float32)] for _ in range(20))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    return path


def crops(size: int = 48) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (20, size, size), np.uint8)


def test_what_the_file_does_not_say_is_asked_in_one_line(tmp_path: Path) -> None:
    network().save(tmp_path / "mine.h5")
    asked = one_line(in_process(main, tmp_path / "mine.h5").stderr)
    for fact in ("mine.h5", "LABELS=", "3 names", "SCALE=0..1", "-1..1", "0..255", "CROP="):
        assert fact in asked
    network(rescaling=True).save(tmp_path / "scaled.keras")
    asked = one_line(in_process(main, tmp_path / "scaled.keras").stderr)
    assert "LABELS=" in asked
    assert "SCALE=" not in asked, "a Rescaling layer is seen"


@pytest.mark.parametrize(
    ("labels", "facts"), [("a,b", ["2 names", "3 numbers"]), ("a,b,b", ["different"]), ("a,b,uncertain", ["uncertain"])]
)
def test_labels_that_do_not_fit_name_what_does(labels: str, facts: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        labels_of(labels, 3)
    for fact in facts:
        assert fact in str(caught.value)


@pytest.mark.parametrize("text", ["wink\nbored\nfröhlich\n", "0 wink\n1 bored\n2 fröhlich\n"])
def test_labels_may_be_a_text_file_with_numbers_or_without(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    assert labels_of(str(tmp_path / "labels.txt"), 3) == ("wink", "bored", "fröhlich")


@pytest.mark.slow
def test_an_h5_in_colour_becomes_an_int8_file_on_luma_that_answers_as_its_source(tmp_path: Path) -> None:
    source = network(64, 3)
    source.save(tmp_path / "little.h5")
    done = in_process(main, tmp_path / "little.h5", "--labels", "wink,bored,fröhlich", "--scale=-1..1", "--crop", 0.2)
    assert done.returncode == 0, done.stderr
    assert "drawn faces" in done.stdout
    made = tmp_path / "little-int8.tflite"
    card = read_card(made)
    assert (card.labels, card.crop_margin) == (("wink", "bored", "fröhlich"), 0.2)
    assert card.provenance["provenance"] == ADOPTED
    assert "three times" in card.provenance["colour"]
    luma = crops(64)
    wanted = source.predict(np.repeat(luma[..., None] / 127.5 - 1, 3, axis=3), verbose=0)
    assert np.abs(Classifier(made)(luma) - wanted).mean() < 0.03


def in_the_form_of_keras_2(path: Path) -> None:
    """The description that Keras 2 wrote into an ``.h5``: the first layer has the input's shape, and there are no modules."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        first, second, *others = config["config"]["layers"]
        second["config"]["batch_input_shape"] = first["config"].get("batch_shape") or first["config"]["batch_input_shape"]
        config["config"]["layers"] = [second, *others]
        for layer in config["config"]["layers"]:
            for key in ("module", "registered_name", "build_config"):
                layer.pop(key, None)
            layer["config"]["dtype"] = "float32"
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.3.1"


def test_an_h5_of_keras_2_is_read(tmp_path: Path) -> None:
    source = network()
    source.save(tmp_path / "old.h5")
    in_the_form_of_keras_2(tmp_path / "old.h5")
    found = look_at(tmp_path / "old.h5")
    assert (found.height_px, found.channels, found.classes, found.raw) == (48, 1, 3, False)
    luma = crops()[..., None].astype(np.float32)
    assert np.allclose(wrapped(found, batch=None).predict(luma, verbose=0), source.predict(luma, verbose=0), atol=1e-5)


def test_logits_become_probabilities(tmp_path: Path) -> None:
    source = network(activation=None)
    source.save(tmp_path / "logits.keras")
    found = look_at(tmp_path / "logits.keras")
    luma = crops()[..., None].astype(np.float32)
    likely = wrapped(found, batch=None).predict(luma, verbose=0)
    assert likely.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(likely.argmax(axis=1), source.predict(luma, verbose=0).argmax(axis=1))


def test_a_float_tflite_file_in_colour_with_logits_is_adopted_as_it_is(tmp_path: Path) -> None:
    source = network(40, 3, activation=None)
    path = as_tflite(source, tmp_path / "theirs.tflite")
    assert "SCALE=" in one_line(in_process(main, path).stderr)
    done = in_process(main, path, "--labels", "a,b,c", "--scale", "0..1")
    assert done.returncode == 0, done.stderr
    made = tmp_path / "theirs-adopted.tflite"
    luma = crops(40)
    logits = source.predict(np.repeat(luma[..., None] / 255, 3, axis=3), verbose=0)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(Classifier(made)(luma) - wanted).max() < 1e-3


def test_a_quantized_tflite_file_of_any_scale_gets_the_levels_it_wants(tmp_path: Path) -> None:
    source = network()
    path = as_tflite(source, tmp_path / "quantized.tflite", integers=True)
    done = in_process(main, path, "--labels", "a,b,c")
    assert done.returncode == 0, "its scale shows that it reads 0..1: " + done.stderr
    card = read_card(tmp_path / "quantized-adopted.tflite")
    assert (card.input.black, card.input.white, card.quantization) == (0, 1, "int8")
    luma = crops()
    wanted = source.predict(luma[..., None] / 255, verbose=0)
    assert np.abs(Classifier(tmp_path / "quantized-adopted.tflite")(luma) - wanted).mean() < 0.03


def test_a_file_that_answers_with_probabilities_stays_to_the_byte(tmp_path: Path) -> None:
    content = as_tflite(network(), tmp_path / "soft.tflite").read_bytes()
    assert with_probabilities(content) == content


def test_a_saved_model_is_read_by_its_signature(tmp_path: Path) -> None:
    source = network(activation=None)
    source.export(tmp_path / "saved", verbose=False)
    found = look_at(tmp_path / "saved")
    assert (found.width_px, found.channels, found.classes) == (48, 1, 3)
    luma = crops()[..., None].astype(np.float32)
    likely = wrapped(found, batch=None).predict(luma, verbose=0)
    assert likely.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(likely.argmax(axis=1), source.predict(luma, verbose=0).argmax(axis=1))


def test_code_in_a_file_is_refused_with_its_name_and_what_to_do(tmp_path: Path) -> None:
    for ending in ("keras", "h5"):
        model = keras.Sequential(
            [keras.Input((48, 48, 1)), layers.Lambda(lambda x: x / 255, name="shrink"), layers.Flatten(), layers.Dense(3)]
        )
        model.save(tmp_path / f"lambda.{ending}")
        refused = one_line(in_process(main, tmp_path / f"lambda.{ending}", "--labels", "a,b,c", "--scale", "0..1").stderr)
        for fact in (f"lambda.{ending}", "'shrink'", "Rescaling"):
            assert fact in refused

    @keras.saving.register_keras_serializable(package="mine")
    class Swirl(layers.Layer):
        def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
            return inputs

    keras.Sequential([keras.Input((48, 48, 1)), Swirl(name="swirl"), layers.Flatten(), layers.Dense(3)]).save(tmp_path / "custom.keras")
    refused = one_line(in_process(main, tmp_path / "custom.keras", "--labels", "a,b,c").stderr)
    assert "'swirl'" in refused
    assert "mine>Swirl" in refused


@pytest.mark.parametrize(
    ("name", "facts"),
    [("net.onnx", ["ONNX", "TFLite"]), ("net.pt", ["PyTorch"]), ("net.pb", ["SavedModel"]), ("empty", ["saved_model.pb"])],
)
def test_what_is_no_keras_and_no_tflite_file_is_named(tmp_path: Path, name: str, facts: list[str]) -> None:
    if "." in name:
        (tmp_path / name).write_bytes(b"x")
    else:
        (tmp_path / name).mkdir()
    refused = one_line(in_process(main, tmp_path / name, "--labels", "a,b,c").stderr)
    for fact in facts:
        assert fact in refused


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("none.h5", None, "no such file"),
        ("empty.tflite", b"", "empty"),
        ("half.keras", b"PK\x03\x04 and no more", "damaged"),
        ("x.bin", b"x", ".tflite"),
    ],
)
def test_a_file_that_cannot_be_a_model_is_never_answered_with_the_same_command(
    tmp_path: Path, name: str, content: bytes | None, fact: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused = one_line(in_process(main, tmp_path / name, "--labels", "a,b,c").stderr)
    assert fact in refused
    assert "make convert" not in refused


def test_weights_without_a_network_ask_for_the_whole_model(tmp_path: Path) -> None:
    network().save_weights(tmp_path / "net.weights.h5")
    assert "model.save" in one_line(in_process(main, tmp_path / "net.weights.h5", "--labels", "a,b,c").stderr)


def test_a_network_of_another_size_or_without_a_picture_is_refused(tmp_path: Path) -> None:
    network(24).save(tmp_path / "small.keras")
    assert "24x24" in one_line(in_process(main, tmp_path / "small.keras").stderr)
    keras.Sequential([keras.Input((10,)), layers.Dense(3)]).save(tmp_path / "table.keras")
    assert "not a picture" in one_line(in_process(main, tmp_path / "table.keras").stderr)
