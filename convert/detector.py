"""``python -m convert.detector``: YuNet's published ONNX weights in, an int8 TFLite face detector out, or nothing and the reason."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import msgspec
import numpy as np

from convert.pack import packed
from convert.photographs import Photographs, best_setting, load_photographs, read_luma
from convert.recipes import RECIPES
from convert.validate import check_all_integer
from convert.yunet import Array, YuNetGraph, equalized, read_graph
from edgefer.detectors.yunet_network import CARD, STEP_PX, DetectorCard, Network, canvas_of, detections, scores
from edgefer.errors import EdgeferError, ModelError
from edgefer.files import atomic_path
from edgefer.native_stderr import silence_native_stderr
from edgefer.types import Box, Pixels
from train.versions import installed

SEED, CALIBRATION = 2013, 85
"""Photographs with faces that the int8 ranges are taken from, and as many without."""
HEIGHT_PX, WIDTH_PX = 512, 640
"""Size of a calibration picture: what a photograph has beyond is cut off."""
PRECISION, LEAST_SCORE = 0.95, 0.1
"""Recall is compared at this precision; the sweep over scores ends at this one."""

Maps = Callable[[Pixels], Sequence[Array]]


def main(arguments: list[str] | None = None) -> None:
    """Make the int8 face detector from published YuNet weights; write it only if it finds what the float network finds."""
    parser = argparse.ArgumentParser(prog="python -m convert.detector", description=main.__doc__)
    parser.add_argument("weights", nargs="?", default="", help="YuNet's .onnx file")
    parser.add_argument("--data", default="", metavar="FOLDER", help="photographs: faces/boxes.csv, faces/images/ and nofaces/")
    parser.add_argument("--out", help="the .tflite file (default: beside the weights)")
    parser.add_argument("--licence", default="Apache-2.0", help="licence of the weights, for the record (default: Apache-2.0)")
    parser.add_argument("--max-loss", type=float, default=1.0, metavar="POINTS", help="recall it may lose (default: 1.0)")
    options = parser.parse_args(arguments)
    try:
        _convert(options)
    except EdgeferError as error:
        raise SystemExit(f"convert.detector: {error}") from None


def _convert(options: argparse.Namespace) -> None:
    if not options.weights or not options.data:
        raise ModelError("which weights and photographs? make detector WEIGHTS=yunet_n_320_320.onnx DATA=folder")
    source = Path(options.weights)
    out = Path(options.out) if options.out else source.with_suffix(".tflite")
    if not out.parent.is_dir():
        raise ModelError(f"{out}: no such folder; choose another OUT")
    with silence_native_stderr():
        graph = read_graph(source)
        import tensorflow  # noqa: F401  it announces itself when it is first imported
    photographs = load_photographs(Path(options.data))
    chosen = calibration(photographs)
    print(f"converting {source}, calibrated on {len(chosen)} photographs …", flush=True)
    model, gains = quantized(graph, [read_luma(path) for path in chosen])
    draft = DetectorCard(
        name=source.stem,
        gains=gains.round(4).tolist(),
        provenance={
            "source": source.name,
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "licence": options.licence,
            "calibration": f"{len(chosen)} of {len(photographs.faces) + len(photographs.empty)} photographs, seed {SEED}",
            **{f"convert {package}": number for package, number in installed("tensorflow-cpu", "ai-edge-litert", "onnx").items()},
        },
    )
    with atomic_path(out) as part:
        part.write_bytes(with_card(model, draft))
        metrics = compare(float_maps(graph), Network(part).maps, photographs)
        print("\n".join(f"{name}: {figure:g}" for name, figure in metrics.items()))
        lost = 100 * (metrics["float_recall"] - metrics["int8_recall"])
        if lost > options.max_loss:
            raise ModelError(
                f"recall fell by {lost:.2f} points, at most {options.max_loss:g} allowed; nothing was written. Pass --max-loss"
            )
        card = msgspec.structs.replace(draft, metrics=metrics)
        part.write_bytes(with_card(model, card))
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB; 'unzip -p {out} {CARD}' prints its origin")


def calibration(photographs: Photographs) -> list[Path]:
    """Photographs with faces and without, the same ones for the same folder."""
    random = np.random.default_rng(SEED)
    kinds = sorted(photographs.faces), photographs.empty
    return [paths[index] for paths in kinds for index in random.permutation(len(paths))[:CALIBRATION]]


def quantized(graph: YuNetGraph, pictures: Sequence[Pixels]) -> tuple[bytes, Array]:
    """The int8 flatbuffer of a float network, and the gain (3, 16) of its output channels."""
    import tensorflow as tf

    # Without a ramp of all levels the input's scale is that of the brightest picture, and raw pixels are misread.
    ramp = np.resize(np.arange(256, dtype=np.uint8), (HEIGHT_PX, WIDTH_PX))
    canvases = [canvas_of(_fitted(picture)).astype(np.float32) for picture in (ramp, *pictures)]
    even, gains = equalized(graph, canvases[1:])

    def samples() -> Iterator[list[np.ndarray]]:
        for canvas in canvases:
            yield [canvas]

    def clipped(canvas: tf.Tensor) -> list[tf.Tensor]:
        # Fused into the last convolutions. What is beyond -1..1 belongs to cells without a face.
        return [tf.maximum(tf.minimum(output, 1.0), -1.0) for output in even(canvas)]

    # The smallest input: a runtime allocates the size in the file first, and then the one it is asked for.
    single = tf.TensorSpec((1, STEP_PX + 1, STEP_PX + 1, 1), tf.float32, name="canvas")
    with silence_native_stderr():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([tf.function(clipped).get_concrete_function(single)])
        RECIPES["int8"](converter, samples)
        model = packed(converter.convert())
    check_all_integer(model)
    return model, gains


def _fitted(picture: Pixels) -> Pixels:
    """A picture in the upper left of `HEIGHT_PX` x `WIDTH_PX` black pixels."""
    part = picture[:HEIGHT_PX, :WIDTH_PX]
    return np.pad(part, ((0, HEIGHT_PX - part.shape[0]), (0, WIDTH_PX - part.shape[1])))


def with_card(model: bytes, card: DetectorCard) -> bytes:
    """``model`` with ``card`` appended in a zip of a fixed date: the same input gives the same bytes."""
    sealed = msgspec.structs.replace(card, model_sha256=hashlib.sha256(model).hexdigest())
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(CARD, (1980, 1, 1, 0, 0, 0)), msgspec.json.format(msgspec.json.encode(sealed), indent=1))
    return buffer.getvalue()


def float_maps(graph: YuNetGraph) -> Maps:
    """The float network as `YuNet.maps` is: luma in, the outputs (h, w, 16) of its strides out."""
    import tensorflow as tf

    network = tf.function(graph.__call__, reduce_retracing=True)

    def maps(luma: Pixels) -> list[Array]:
        return [output.numpy()[0] for output in network(tf.constant(canvas_of(luma).astype(np.float32)))]

    return maps


def compare(exact: Maps, quantized_maps: Maps, photographs: Photographs) -> dict[str, float]:
    """Both networks on every photograph: recall, least score and false boxes at `PRECISION`, and how far their scores are apart at most."""
    found: dict[str, dict[Path, list[tuple[Box, float]]]] = {"float": {}, "int8": {}}
    apart = 0.0
    for path in (*photographs.faces, *photographs.empty):
        luma = read_luma(path)
        both = {"float": exact(luma), "int8": quantized_maps(luma)}
        apart = max(apart, *(float(np.abs(scores(a) - scores(b)).max()) for a, b in zip(*both.values(), strict=True)))
        for name, maps in both.items():
            found[name][path] = [(face.box, face.score) for face in detections(maps, LEAST_SCORE)]
    metrics: dict[str, float] = {"precision": PRECISION, "score_deviation": apart}
    for name, boxes in found.items():
        setting = best_setting(boxes, photographs.faces, PRECISION)
        false = sum(score >= setting.least_score for path in photographs.empty for _, score in boxes[path])
        metrics |= {f"{name}_recall": setting.recall, f"{name}_score": setting.least_score, f"{name}_false": float(false)}
    return {name: round(figure, 4) for name, figure in metrics.items()}


if __name__ == "__main__":
    main()
