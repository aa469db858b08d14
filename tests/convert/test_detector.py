"""The face detector made of published weights: the same network, in int8, with its origin."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from command import in_process
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convert.detector import main, quantized, with_card
from convert.photographs import best_setting, load_photographs, matches
from convert.yunet import YuNetGraph, equalized, read_graph
from edgefer.detectors.yunet_network import STRIDES, DetectorCard, Network, canvas_of, read_detector
from edgefer.errors import DataError, ModelError
from edgefer.luma import luma_of
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box, Pixels

HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
CHANNELS = 8


class Builder:
    """An ONNX graph of YuNet's form with few channels and random weights."""

    def __init__(self, shared: bool) -> None:
        self._random = np.random.default_rng(5)
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: list[onnx.TensorProto] = []
        x = self._relu(self._conv("input", "stem", (CHANNELS, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]))
        maps = []
        for stage in range(6):
            for half in (1, 2) if stage else (2,):
                x = self._relu(self._unit(x, f"backbone.model{stage}.conv{half}", CHANNELS))
            maps.append(x)
            if stage in (0, 2, 3, 4):
                x = self._node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
        top = ""
        for level in (2, 1, 0):
            x = maps[3 + level]
            if top:
                scales = self._array("scales", np.array([1, 1, 2, 2], np.float32))
                up = self._node(
                    "Resize", [top, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
                )
                x = self._node("Add", [x, up])
            top = self._relu(self._unit(x, f"neck.lateral_convs.{level}", CHANNELS))
            head = self._relu(self._unit(top, f"bbox_head.multi_level_share_convs.{level}.0", CHANNELS)) if shared else top
            for name, channels in HEADS.items():
                found = self._unit(head, f"bbox_head.multi_level_{name}.{level}", channels)
                self._end(found, channels, f"{name}_{STRIDES[level]}")

    def model(self) -> onnx.ModelProto:
        outputs = [helper.make_tensor_value_info(f"{name}_{stride}", 1, None) for stride in STRIDES for name in HEADS]
        graph = helper.make_graph(self._nodes, "yunet", [helper.make_tensor_value_info("input", 1, None)], outputs, self._arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])

    def _end(self, x: str, channels: int, name: str) -> None:
        """Cells in rows, probabilities instead of logits."""
        x = self._node("Transpose", [x], perm=[0, 2, 3, 1])
        self._arrays.append(numpy_helper.from_array(np.array([1, -1, channels]), f"{name}.shape"))
        x = self._node("Reshape", [x, f"{name}.shape"])
        self._nodes.append(helper.make_node("Sigmoid" if channels == 1 else "Identity", [x], [name]))

    def _unit(self, x: str, name: str, channels: int) -> str:
        x = self._conv(x, f"{name}.conv1", (channels, CHANNELS, 1, 1))
        return self._conv(x, f"{name}.folded", (channels, 1, 3, 3), pads=[1, 1, 1, 1], group=channels)

    def _conv(self, x: str, name: str, shape: tuple[int, ...], **options: Any) -> str:
        weights = self._random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        bias = self._random.normal(0, 0.1, shape[0]).astype(np.float32)
        scale = 1 / 255 if name == "stem" else 1.0
        return self._node("Conv", [x, self._array(f"{name}.weight", scale * weights), self._array(f"{name}.bias", bias)], **options)

    def _relu(self, x: str) -> str:
        return self._node("Relu", [x])

    def _node(self, kind: str, inputs: list[str], **options: Any) -> str:
        name = f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **options))
        return name

    def _array(self, name: str, values: Any) -> str:
        self._arrays.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name


@pytest.fixture(scope="module", params=[False, True], ids=["heads-on-the-neck", "shared-head"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "yunet_toy.onnx"
    onnx.save(Builder(request.param).model(), path)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn faces and two backgrounds, in the layout of the development data."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "faces" / "images").mkdir(parents=True)
    (folder / "nofaces").mkdir()
    rows = []
    for index in range(4):
        scene = Scene(SyntheticOptions(size="320x240", seed=index))
        cv2.imwrite(str(folder / "faces" / "images" / f"{index}.png"), scene.draw(0))
        box = scene.truth(0)[0].box
        rows.append([f"{index}.png", box.x, box.y, box.w, box.h])
        cv2.imwrite(str(folder / "nofaces" / f"{index}.png"), Scene(SyntheticOptions(size="320x240", faces=0, seed=index)).draw(0))
    with (folder / "faces" / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "x", "y", "w", "h"], *rows])
    return folder


def picture(height: int, width: int) -> Pixels:
    return luma_of(Scene(SyntheticOptions()).draw(0))[100 : 100 + height, 200 : 200 + width]


def of_onnx(path: Path, luma: Pixels) -> list[np.ndarray]:
    """What the file answers for a grey picture by ONNX's reference implementation: (cells, 16) for each stride."""
    colour = np.repeat(luma[None, None].astype(np.float32), 3, axis=1)
    names = [f"{name}_{stride}" for stride in STRIDES for name in HEADS]
    found = ReferenceEvaluator(str(path)).run(names, {"input": colour})
    return [np.concatenate(found[4 * level : 4 * level + 4], axis=-1)[0] for level in range(3)]


def answers(graph: YuNetGraph, luma: Pixels) -> list[np.ndarray]:
    """The same of the rebuilt network: probabilities of face and object, offsets of box and landmarks."""
    rows = [output.reshape(-1, 16) for output in of_graph(graph, luma)]
    return [np.hstack([1 / (1 + np.exp(-cells[:, :2])), cells[:, 2:]]) for cells in rows]


def of_graph(graph: YuNetGraph, luma: Pixels) -> list[np.ndarray]:
    return [output.numpy()[0] for output in graph(canvas_of(luma).astype(np.float32))]


def test_the_rebuilt_network_gives_the_numbers_of_the_onnx_file(weights: Path) -> None:
    luma = picture(64, 96)
    for ours, theirs in zip(answers(read_graph(weights), luma), of_onnx(weights, luma), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", ["yunet_s_640_640", "yunet_n_320_320"])
def test_the_published_weights_are_rebuilt_exactly(name: str, shared_data: Path) -> None:
    path = shared_data / "yunet" / f"{name}.onnx"
    luma = picture(96, 64)
    for ours, theirs in zip(answers(read_graph(path), luma), of_onnx(path, luma), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_equalizing_changes_no_output_but_by_the_gain(weights: Path) -> None:
    graph, luma = read_graph(weights), picture(96, 96)
    even, gains = equalized(graph, [canvas_of(luma).astype(np.float32)])
    assert gains.shape == (3, 16)
    for before, after, gain in zip(of_graph(graph, luma), of_graph(even, luma), gains, strict=True):
        np.testing.assert_allclose(after / gain, before, rtol=1e-3, atol=1e-3)


def test_equalized_channels_use_one_range_and_no_more(weights: Path) -> None:
    luma, peaks = picture(96, 96), {}
    canvas = canvas_of(luma).astype(np.float32)
    even, _ = equalized(read_graph(weights), [canvas])
    even(canvas, lambda name, x: peaks.update({name: np.abs(x.numpy()).max(axis=(0, 1, 2))}))
    assert peaks
    for name, peak in peaks.items():
        assert peak.min() == pytest.approx(peak.max(), rel=0.01), name


def test_the_file_is_all_integer_near_the_float_network_and_takes_any_multiple_of_32(weights: Path, tmp_path: Path) -> None:
    graph = read_graph(weights)
    model, gains = quantized(graph, [picture(240, 320), picture(200, 200)])
    path = tmp_path / "toy.tflite"
    path.write_bytes(with_card(model, DetectorCard("toy", gains.tolist())))
    detector = Network(path)
    for height, width in ((64, 64), (96, 160), (250, 100)):
        luma = picture(height, width)
        for exact, ours, gain in zip(of_graph(graph, luma), detector.maps(luma), gains, strict=True):
            assert ours.shape == exact.shape
            within = np.abs(exact * gain) < 0.95
            assert within.mean() > 0.5
            assert np.corrcoef(exact[within], ours[within])[0, 1] > 0.95


@pytest.mark.parametrize("weights", [True], indirect=True, ids=["shared-head"])
def test_the_command_writes_a_detector_that_says_where_it_is_from(weights: Path, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "yunet.tflite"
    done = in_process(main, weights, "--data", photographs, "--out", out)
    assert done.returncode == 0, done.stderr
    _, card = read_detector(out)
    assert card.provenance["source"] == weights.name
    assert len(card.provenance["source_sha256"]) == 64
    assert card.provenance["licence"] == "Apache-2.0"
    assert "8 photographs" in card.provenance["calibration"]
    assert card.provenance["convert tensorflow-cpu"]
    assert card.metrics.keys() >= {"float_recall", "int8_recall", "float_score", "int8_score", "score_deviation"}
    assert "int8_recall" in done.stdout
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("weights", [True], indirect=True, ids=["shared-head"])
@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "WEIGHTS="),
        (["{data}/faces/boxes.csv", "--data", "{data}"], "not a YuNet ONNX file"),
        (["{data}/none.onnx", "--data", "{data}"], "none.onnx"),
        (["{weights}", "--data", "{out}"], "faces/boxes.csv"),
        (["{weights}", "--data", "{data}", "--out", "{out}/no/x.tflite"], "no such folder"),
        (["{weights}", "--data", "{data}", "--out", "{out}/x.tflite", "--max-loss", "-1"], "nothing was written"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    weights: Path, photographs: Path, tmp_path: Path, arguments: list[str], wanted: str
) -> None:
    done = in_process(main, *(each.format(data=photographs, weights=weights, out=tmp_path) for each in arguments))
    assert done.returncode
    assert wanted in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_face_is_found_once_and_the_surer_box_chooses_first() -> None:
    face = Box(0, 0, 100, 100)
    assert matches([Box(0, 0, 90, 100), Box(0, 0, 100, 100)], [face]) == [True, False]
    assert matches([Box(300, 0, 100, 100)], [face]) == [False]


def test_the_best_setting_has_the_precision_asked_for() -> None:
    path, face, wrong = Path("a.png"), Box(0, 0, 100, 100), Box(500, 0, 100, 100)
    found = {path: [(face, 0.9), (wrong, 0.5), (Box(200, 0, 100, 100), 0.3)]}
    faces = {path: [face, Box(200, 0, 100, 100)]}
    strict, loose = best_setting(found, faces, 1.0), best_setting(found, faces, 0.6)
    assert (strict.least_score, strict.recall, strict.precision) == (0.9, 0.5, 1.0)
    assert (loose.least_score, loose.recall) == (0.3, 1.0)
    assert loose.precision == pytest.approx(2 / 3)


def test_a_folder_without_labels_names_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"faces/boxes\.csv"):
        load_photographs(tmp_path)


def test_a_changed_detector_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    content = with_card(b"model", DetectorCard("x", [[1.0]]))
    path.write_bytes(content)
    assert read_detector(path)[1].gains == [[1.0]]
    path.write_bytes(b"m0del" + content[5:])
    with pytest.raises(ModelError, match="sha256"):
        read_detector(path)
