from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from command import in_process, one_line
from toy import LABELS

from convert.__main__ import main
from convert.pack import packed
from convert.quantize import quantize
from convert.recipes import RECIPES, calibration_pictures
from convert.validate import check_all_integer, check_gate, compare
from edgefer.errors import ModelError
from edgefer.model.card import attach_card, read_card, split_card
from edgefer.model.classifier import Classifier
from train.data import Split, load
from train.evaluate import scores_of
from train.recipe import Gate

ROOT = Path(__file__).parents[2]


def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    return in_process(main, *arguments)


@pytest.fixture(scope="module")
def converted(toy_run: Path, toy_int8: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The toy model in every recipe; float32 and dynamic lie beside the model, where the command writes them by default."""
    model = tmp_path_factory.mktemp("converted") / "toy_recipe.keras"
    for name in (model.name, "run.json"):
        shutil.copy(toy_run / name, model.with_name(name))
    for recipe in ("float32", "dynamic"):
        done = convert(model, "--recipe", recipe, "--max-loss", 10, "--min-agreement", 0.8)
        assert done.returncode == 0, done.stderr
        assert "42 validation images" in done.stdout
        assert "XNNPACK" not in done.stdout
    return {"int8": toy_int8} | {recipe: model.with_name(f"toy_recipe-{recipe}.tflite") for recipe in ("float32", "dynamic")}


@pytest.fixture(scope="module")
def validation(folder: Path) -> Split:
    return load(folder, LABELS).splits["validation"]


@pytest.mark.parametrize("recipe", ["int8", "float32", "dynamic"])
def test_the_converted_file_answers_as_its_source_does(recipe: str, converted: dict[str, Path], toy_run: Path, validation: Split) -> None:
    found = compare(toy_run / "toy_recipe.keras", converted[recipe], validation, LABELS)
    assert found.agreement >= (1.0 if recipe == "float32" else 0.9)
    before, after = (scores_of(path, validation.images) for path in (toy_run / "toy_recipe.keras", converted[recipe]))
    assert np.abs(before - after).mean() <= {"float32": 1e-4, "dynamic": 0.02, "int8": 0.04}[recipe]


def test_the_card_keeps_its_fields_and_gets_the_figures_of_the_conversion(converted: dict[str, Path], toy_run: Path) -> None:
    source, card = read_card(toy_run / "toy_recipe.keras"), read_card(converted["int8"])
    assert card.labels == source.labels
    assert card.quantization == "int8"
    assert card.provenance.items() > source.provenance.items()
    assert len(card.provenance["keras_sha256"]) == 64
    assert 0 <= card.metrics["int8_accuracy"] <= 1
    assert card.metrics["int8_agreement"] >= 0.9


def test_int8_reads_raw_pixels_and_holds_no_float_operator(converted: dict[str, Path]) -> None:
    classifier = Classifier(converted["int8"])
    assert classifier.input["dtype"] == np.uint8
    assert classifier.input["quantization"] == (1.0, 0)
    assert classifier.accelerated
    check_all_integer(converted["int8"].read_bytes())


def test_a_file_with_a_float_operator_is_noticed(converted: dict[str, Path]) -> None:
    for recipe in ("float32", "dynamic"):
        with pytest.raises(ModelError, match=r"operator [A-Z_0-9]+ .*int8"):
            check_all_integer(converted[recipe].read_bytes())


def test_int8_is_a_fraction_of_float32(converted: dict[str, Path]) -> None:
    assert converted["int8"].stat().st_size < 0.6 * converted["float32"].stat().st_size


@pytest.mark.parametrize("recipe", ["int8", "float16"])
def test_a_packed_file_is_smaller_and_answers_to_the_bit_alike(toy_run: Path, validation: Split, tmp_path: Path, recipe: str) -> None:
    import keras
    import tensorflow as tf

    single = keras.Input(batch_shape=(1, 48, 48, 1))
    model = keras.models.load_model(toy_run / "toy_recipe.keras", compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(single, model(single, training=False)))
    RECIPES[recipe](converter, calibration_pictures(validation.images, 20, seed=1))
    loose, card = converter.convert(), read_card(toy_run / "toy_recipe.keras")
    tight = packed(loose)
    assert len(tight) < len(loose)
    assert packed(tight) == tight
    files = [tmp_path / "loose.tflite", tmp_path / "tight.tflite"]
    for path, content in zip(files, (loose, tight), strict=True):
        path.write_bytes(attach_card(content, card))
    before, after = (scores_of(path, validation.images) for path in files)
    assert np.array_equal(before, after)


def test_elu_works_in_integers_and_answers_to_the_bit_as_in_float(validation: Split) -> None:
    import keras
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    layers = keras.layers
    keras.utils.set_random_seed(2013)
    body = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3),
        layers.ELU(),
        layers.Conv2D(4, 3),
        layers.ELU(),
        layers.GlobalAveragePooling2D(),
    ]
    model = keras.Sequential([keras.Input(batch_shape=(1, 48, 48, 1)), *body, layers.Dense(3, activation="softmax")])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    RECIPES["int8"](converter, calibration_pictures(validation.images, 20, seed=1))
    loose = converter.convert()
    with pytest.raises(ModelError, match=r"operator [A-Z_0-9]+ .*int8"):
        check_all_integer(loose)
    tight = packed(loose)
    check_all_integer(tight)

    def answers(content: bytes) -> list[list[int]]:
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        (pixels,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
        said = []
        for image in validation.images[:20]:
            interpreter.set_tensor(pixels["index"], image[None, :, :, None])
            interpreter.invoke()
            said.append(interpreter.get_tensor(scores["index"])[0].tolist())
        return said

    assert answers(tight) == answers(loose)
    assert len({tuple(said) for said in answers(tight)}) > 1


def test_the_weights_of_a_packed_file_begin_at_multiples_of_16_bytes(converted: dict[str, Path]) -> None:
    content, _ = split_card(converted["int8"].read_bytes(), "toy")
    model = schema.Model.GetRootAs(content, 0)
    # Of each buffer: where its vector of bytes begins in the file; 4 is the field's place in the schema's table.
    tables = [model.Buffers(index)._tab for index in range(model.BuffersLength())]
    begins = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(begins) > 5
    assert all(begin % 16 == 0 for begin in begins)


def test_the_first_calibration_picture_holds_every_level() -> None:
    pictures = list(calibration_pictures(np.full((20, 48, 48), 90, np.uint8), 5, seed=1)())
    assert len(pictures) == 6
    assert set(np.unique(pictures[0][0])) == set(range(256))
    assert all(picture[0].shape == (1, 48, 48, 1) and picture[0].dtype == np.float32 for picture in pictures)


def test_a_file_calibrated_without_the_full_range_is_refused_by_the_runtime(toy_run: Path, tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    card = read_card(toy_run / "toy_recipe.keras")
    single = keras.Input(batch_shape=(1, 48, 48, 1))
    model = keras.models.load_model(toy_run / "toy_recipe.keras", compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(single, model(single, training=False)))
    dark = [[np.full((1, 48, 48, 1), level, np.float32)] for level in range(0, 200, 10)]
    RECIPES["int8"](converter, lambda: iter(dark))
    path = tmp_path / "dark.tflite"
    path.write_bytes(attach_card(converter.convert(), card))
    with pytest.raises(ModelError, match=r"uint8.* 0\.7\d+ .*\b0\b.*0\.\.255"):
        Classifier(path)


def test_a_file_that_loses_too_much_is_refused_and_the_file_before_it_stays(toy_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "kept.tflite"
    out.parent.mkdir()
    out.write_bytes(b"before")
    done = convert(toy_run / "toy_recipe.keras", "--recipe", "float32", "--max-loss", "-50", "--out", out)
    assert done.returncode == 1
    assert "-50" in one_line(done.stderr)
    assert list(out.parent.iterdir()) == [out]
    assert out.read_bytes() == b"before"


def test_the_gate_is_about_points_and_agreement(toy_run: Path, converted: dict[str, Path], validation: Split) -> None:
    found = compare(toy_run / "toy_recipe.keras", converted["int8"], validation, LABELS)
    check_gate(found, Gate(100, 0, ""))
    with pytest.raises(ModelError, match="101 %"):
        check_gate(found, Gate(100, 1.01, ""))
    with pytest.raises(ModelError, match=f"{found.loss_points:.2f} points.*MAX_LOSS"):
        check_gate(found, Gate(found.loss_points - 0.1, 0, ""))


@pytest.mark.slow
def test_int8_is_compared_on_both_kernels_and_a_second_conversion_gives_the_same_bytes(
    toy_int8: Path, toy_run: Path, tmp_path: Path
) -> None:
    done = convert(toy_run / "toy_recipe.keras", "--max-loss", 10, "--min-agreement", 0.8, "--out", tmp_path / "second.tflite")
    assert done.returncode == 0, done.stderr
    assert "42 validation images" in done.stdout
    assert any("XNNPACK" in line and " 42 " in line for line in done.stdout.splitlines())
    assert (tmp_path / "second.tflite").read_bytes() == toy_int8.read_bytes()


@pytest.mark.parametrize("damage", ["missing", "truncated", "no card", "tflite"])
def test_a_bad_source_is_one_clear_line(toy_run: Path, converted: dict[str, Path], tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.keras"
    if damage == "truncated":
        path.write_bytes((toy_run / "toy_recipe.keras").read_bytes()[:5000])
    elif damage == "no card":
        shutil.copy(toy_run / "checkpoint.keras", path)
    elif damage == "tflite":
        path = converted["int8"]
    done = convert(path)
    assert done.returncode == 1
    assert path.name in one_line(done.stderr)


def test_no_model_or_an_impossible_path_is_one_clear_line(toy_run: Path, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-m", "convert"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "make convert MODEL=" in one_line(ended.stderr)
    assert "make convert MODEL=" in one_line(convert("").stderr)
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "x.tflite"):
        done = convert(toy_run / "toy_recipe.keras", "--out", out)
        assert done.returncode == 1
        assert f"{out}:" in one_line(done.stderr)


def test_a_model_without_its_run_asks_which_dataset(toy_run: Path, tmp_path: Path) -> None:
    shutil.copy(toy_run / "toy_recipe.keras", tmp_path)
    done = convert(tmp_path / "toy_recipe.keras")
    assert done.returncode == 1
    assert "DATA=" in one_line(done.stderr)


def test_the_converters_own_error_is_reported(toy_run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.keras"
    broken.write_bytes((toy_run / "toy_recipe.keras").read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"broken\.keras.* int8: \S"):
        quantize(broken, "int8", np.zeros((4, 48, 48), np.uint8))


def test_the_keras_file_with_its_card_is_still_a_keras_file(toy_run: Path, validation: Split) -> None:
    assert scores_of(toy_run / "toy_recipe.keras", validation.images[:3]).shape == (3, 7)
