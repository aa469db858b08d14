"""An int8 file as C: the same scores to the byte, from strict compilers and under sanitizers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from command import in_process, one_line
from micro import STRICT, nano, needs
from networks import both, chain, varied_faces

from convert.__main__ import main as convert
from convert.c_export import export, scores_of
from convert.exact import exact
from convert.pack import unpacked, written
from edgefer.model.card import attach_card, read_card, split_card
from edgefer.model.store import find_model
from edgefer.types import Pixels
from train.data import load

__all__ = ["nano"]

SCORE = Path(__file__).with_name("score.c")
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def file_scores(model: Path, pictures: Pixels) -> np.ndarray:
    """Scores (n, K) uint8 of a file, by LiteRT."""
    return np.array(scores_of(split_card(model.read_bytes(), str(model))[0], pictures, model), np.uint8)


def c_scores(model: Path, pictures: Pixels, compiler: str = "gcc", options: tuple[str, ...] = ("-O2",)) -> np.ndarray:
    """Scores (n, K) uint8 of an exported model ``<name>.c``."""
    needs(compiler)
    program = model.with_name(f"{model.stem}-{compiler}{'-'.join(options)}".replace("=", "-").replace(",", "-"))
    command = [compiler, *STRICT, *options, f"-DMODEL={model.stem}", f"-I{model.parent}", "-o", program, SCORE, model]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "libclang_rt" in built.stderr:
        pytest.skip("not here: clang's sanitizers (libclang-rt-dev)")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], input=pictures.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, np.uint8).reshape(len(pictures), -1)


@pytest.fixture(scope="module")
def pictures() -> Pixels:
    """1,000 pictures in random order: drawn faces, noise, and coarse noise."""
    random = np.random.default_rng(26)
    noise = random.integers(0, 256, (300, 48, 48))
    coarse = np.repeat(np.repeat(random.integers(0, 256, (604, 6, 6)), 8, axis=1), 8, axis=2)
    return np.asarray(random.permutation(np.concatenate([varied_faces(), noise, coarse])), np.uint8)


@pytest.fixture(scope="module")
def wanted(pictures: Pixels) -> np.ndarray:
    return file_scores(find_model("nano"), pictures)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_scores_are_those_of_the_file(compiler: str, nano: Path, pictures: Pixels) -> None:
    wanted = file_scores(find_model("nano"), pictures[:200])
    assert len(np.unique(wanted, axis=0)) > 100
    assert np.array_equal(c_scores(nano, pictures[:200], compiler), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("options", [("-O2",), SANITIZED], ids=["plain", "sanitized"])
@pytest.mark.parametrize(("model", "count"), [("nano", 100), ("small", 30)])
def test_the_scores_of_drawn_pictures_are_those_of_the_file(
    model: str, count: int, compiler: str, options: tuple[str, ...], pictures: Pixels, tmp_path: Path
) -> None:
    code, _ = export(find_model(model), tmp_path / f"{model}.c")
    assert np.array_equal(c_scores(code, pictures[:count], compiler, options), file_scores(find_model(model), pictures[:count]))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("options", [("-O2",), SANITIZED], ids=["plain", "sanitized"])
def test_the_scores_of_a_thousand_validation_pictures_are_those_of_the_file(
    shared_data: Path, nano: Path, compiler: str, options: tuple[str, ...]
) -> None:
    model = find_model("nano")
    images = load(shared_data / "fer2013.zip", read_card(model).labels).splits["validation"].images
    chosen = images[np.random.default_rng(26).permutation(len(images))[:1000]]
    assert np.array_equal(c_scores(nano, chosen, compiler, options), file_scores(model, chosen))


def test_softmax_is_that_of_the_file_for_any_scores_of_the_last_layer(nano: Path, tmp_path: Path) -> None:
    """The file without its layers: softmax and the change to uint8, in float32, on logits as they may come."""
    needs("gcc")
    content = unpacked(split_card(find_model("nano").read_bytes(), "nano")[0])
    graph = content.subgraphs[0]
    graph.operators = graph.operators[-2:]
    graph.inputs = np.array([graph.operators[0].inputs[0]], np.int32)
    interpreter = Interpreter(model_content=written(content, 10_000))
    interpreter.allocate_tensors()
    (logits,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    random = np.random.default_rng(26)
    drawn = random.normal(random.integers(-60, 60, (5000, 1)), random.choice([3, 10, 30, 60, 128], (5000, 1)), (5000, 7))
    rows, wanted = np.clip(np.rint(drawn), -128, 127).astype(np.int8), []
    for row in rows:
        interpreter.set_tensor(logits["index"], row.reshape(logits["shape"]))
        interpreter.invoke()
        wanted.append(interpreter.get_tensor(scores["index"])[0].copy())
    (tmp_path / "softmax.c").write_text(
        f'#include <stdio.h>\n#include "{nano}"\nint main(void) {{\n    uint8_t in[7], out[7];\n'
        "    while (fread(in, 7, 1, stdin) == 1) softmax(in, out), fwrite(out, 7, 1, stdout);\n    return 0;\n}\n"
    )
    subprocess.run(["gcc", "-O2", f"-I{nano.parent}", "-o", tmp_path / "softmax", tmp_path / "softmax.c"], check=True)
    # The layers give bytes: int8 plus 128.
    done = subprocess.run([tmp_path / "softmax"], input=(rows.view(np.uint8) ^ 0x80).tobytes(), capture_output=True, check=True)
    assert np.array_equal(np.frombuffer(done.stdout, np.uint8).reshape(-1, 7), wanted)


def made(layers: list[Any], folder: Path, whole: bool = True) -> Path:
    """An int8 file with a card of a chain of those layers; ``whole``: made exact."""
    faces = varied_faces()
    model, real = both(chain(*layers), faces)
    content = exact(model, real, faces) if whole else model
    assert content
    card = msgspec.structs.replace(read_card(find_model("nano")), name="own", labels=("a", 'b "c"', "d\\e"), prior={})
    path = folder / "own-int8.tflite"
    path.write_bytes(attach_card(content, card))
    return path


@pytest.mark.slow
def test_a_chain_of_ones_own_exports_whatever_its_sizes(tmp_path: Path, pictures: Pixels) -> None:
    """Odd widths, padding on one side and on none, strides, a kernel that is no square, a dense layer behind a dense one."""
    from keras import initializers, layers

    kernel = initializers.RandomUniform(-0.5, 0.8, seed=26)  # so that few sums are negative, and 0 behind RELU
    own = made(
        [
            layers.DepthwiseConv2D(3, padding="same", activation="relu", depthwise_initializer=kernel),
            layers.Conv2D(5, (3, 5), 2, padding="same", activation="relu", kernel_initializer=kernel),
            layers.DepthwiseConv2D(5, 1, padding="same", activation="relu", depthwise_initializer=kernel),
            layers.Conv2D(18, 2, activation="relu", kernel_initializer=kernel),
            layers.DepthwiseConv2D(3, 2, activation="relu", depthwise_initializer=kernel),
            layers.Conv2D(7, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(9, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ],
        tmp_path,
    )
    code, header = export(own, tmp_path / "own.c")
    wanted = file_scores(own, pictures[:100])
    assert len(np.unique(wanted, axis=0)) > 20
    assert np.array_equal(c_scores(code, pictures[:100], options=SANITIZED), wanted)
    assert "edgefer_own_classes = 3" in header.read_text()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_program_that_checks_the_golden_pictures_passes_and_a_changed_weight_fails(compiler: str, nano: Path, tmp_path: Path) -> None:
    needs(compiler)
    code, results = nano.read_text(), []
    bias = re.search(r"bias_26\[\] = \{\n *(-?\d+),", code)
    assert bias
    changed = f"{code[: bias.start(1)]}{int(bias[1]) + 90000}{code[bias.end(1) :]}"
    for text in (code, changed):
        (tmp_path / "check.c").write_text(text)
        build = [compiler, *STRICT, "-O2", "-DEDGEFER_MAIN", f"-I{nano.parent}", "-o", tmp_path / "check", tmp_path / "check.c"]
        subprocess.run(build, check=True)
        results.append(subprocess.run([tmp_path / "check"], capture_output=True, text=True, check=False))
    assert [done.returncode for done in results] == [0, 1]
    assert "6 of 6" in results[0].stdout


def test_nano_fits_a_microcontroller_and_its_code_can_be_read(nano: Path) -> None:
    needs("gcc")
    header, code = nano.with_suffix(".h").read_text(), nano.read_text()
    stated = {name: int(value) for name, value in re.findall(r"edgefer_nano_(\w+) = (\d+)", header)}
    assert stated["arena_bytes"] <= 128_000
    assert stated["const_bytes"] <= 230_000 - 8_000
    subprocess.run(["gcc", "-Os", "-c", "-o", nano.with_suffix(".o"), nano], check=True)
    printed = subprocess.run(["size", nano.with_suffix(".o")], capture_output=True, text=True, check=True).stdout
    text, _, bss = map(int, printed.splitlines()[1].split()[:3])
    assert text <= 230_000
    assert stated["arena_bytes"] <= bss <= stated["arena_bytes"] + 64
    written_lines = [line for line in code.splitlines() if not re.fullmatch(r"[-\d,ul ]*(\}[,;])?", line)]
    tables = [line for line in written_lines if re.match(r"(static const \w+ (weights|bias|shift)_|/\* \d+: |    \{weights_)", line)]
    assert len(written_lines) - len(tables) < 400
    assert "float" not in re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    assert re.findall(r"#include <(\w+)\.h>", code.partition("#ifdef EDGEFER_MAIN")[0]) == ["string", "arm_acle"]


def test_the_header_has_labels_prior_and_threshold_of_the_card(nano: Path) -> None:
    card, header, code = read_card(find_model("nano")), nano.with_suffix(".h").read_text(), nano.read_text()
    assert ", ".join(f'"{label}"' for label in card.labels) in code
    assert ", ".join(str(round(1000 * share)) for share in card.prior.values()) in code
    below = re.search(r"uncertain_below = (\d+)", header)
    assert below
    assert (int(below[1]) - 1) / 256 < card.uncertain_below <= int(below[1]) / 256


@pytest.mark.parametrize(
    ("model", "facts"),
    [("report", ["layer 1", "CONV_2D", "block1_conv1", "powers of two"]), ("small-float16", ["layer 0", "DEQUANTIZE"])],
)
def test_a_file_that_is_no_exact_chain_is_one_line_that_names_the_layer(model: str, facts: list[str], tmp_path: Path) -> None:
    path = model if model == "report" else find_model("small").with_name(f"{model}.tflite")
    done = in_process(convert, path, "--recipe", "c", "--out", tmp_path / "x.c")
    assert done.returncode == 1
    assert all(fact in one_line(done.stderr) for fact in facts), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_chain_that_was_not_made_exact_is_refused(tmp_path: Path) -> None:
    from keras import layers

    own = made([layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(3, "softmax")], tmp_path, whole=False)
    assert "CONV_2D" in one_line(in_process(convert, own, "--recipe", "c").stderr)
    assert not (tmp_path / "own.c").exists()


@pytest.mark.parametrize("out", ["nano", "nano.h", ""])
def test_another_name_than_that_of_a_c_file_is_one_line(out: str, tmp_path: Path) -> None:
    done = in_process(convert, "nano", "--recipe", "c", "--out", tmp_path / out)
    assert done.returncode == 1
    assert str(tmp_path) in one_line(done.stderr)
    assert "OUT=nano.c" in done.stderr


def test_a_keras_file_exports_the_int8_file_beside_it(tmp_path: Path) -> None:
    keras = tmp_path / "nano.keras"
    done = in_process(convert, keras, "--recipe", "c")
    assert "nano-int8.tflite" in one_line(done.stderr)
    (tmp_path / "nano-int8.tflite").write_bytes(find_model("nano").read_bytes())
    assert in_process(convert, keras, "--recipe", "c").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"nano-int8.tflite", "nano.c", "nano.h"}
