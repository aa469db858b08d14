"""YuNet from its published ONNX file, rebuilt as a graph on luma that keeps its accuracy in int8.

Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector". A stem convolution, then units of a pointwise and a depthwise
convolution: six stages, a top-down neck, and for each of the strides 8, 16 and 32 one output of 16 channels. The rebuilt graph gives
the numbers of the ONNX file; it differs where a TFLite runtime would lose time or accuracy:

- The stem takes luma: a weight is the sum of the three for red, green and blue.
- The input has a row above and a column on the left that are 0: the stem's padding, which TensorFlow would add on the other side.
- Nearest-neighbour upsampling is `depth_to_space` of the tensor four times over: XNNPACK runs it, and takes any picture size.
- The four heads of a stride (face, object, box, landmarks) are one unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgefer.detectors.yunet import scores
from edgefer.errors import ModelError

if TYPE_CHECKING:
    import tensorflow as tf  # loaded where it is used: it takes seconds

Array = npt.NDArray[np.float32]
Record = Callable[[str, Any], None]

_STAGES, _POOLED = 6, (0, 2, 3, 4)
"""Stages of the backbone, and those that a pooling follows: stages 3, 4 and 5 have the strides 8, 16 and 32."""
_HEADS = ("cls", "obj", "bbox", "kps")
_MAY_BE_FACE, _HEADROOM = 0.05, 1.1
"""Cells with this score count for the range of the outputs, and that range is this much wider than theirs."""
_MOST_SPREAD = 50.0
"""A channel is multiplied by this much at most: what calibration hardly shows must not overflow."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A pointwise convolution (in, out) and the depthwise one (3, 3, out) after it, with their biases (out,)."""

    point: Array
    point_bias: Array
    depth: Array
    depth_bias: Array


@dataclass(frozen=True, slots=True)
class YuNetGraph:
    """The network: a stem (3, 3, 1, out) with its bias, and the units by name; called with a canvas."""

    stem: Array
    stem_bias: Array
    units: Mapping[str, Unit]

    def __call__(self, canvas: tf.Tensor, record: Record | None = None) -> list[tf.Tensor]:
        """A canvas (1, H + 1, W + 1, 1) float32 of 0..255 -> (1, H / s, W / s, 16) for the strides s of 8, 16 and 32.

        H and W are multiples of 32. ``record`` is called with a unit's name and its pointwise output, and with "head.N" and output N.
        """
        import tensorflow as tf

        def unit(x: tf.Tensor, name: str) -> tf.Tensor:
            it = self.units[name]
            x = tf.nn.conv2d(x, it.point[None, None], 1, "VALID") + it.point_bias
            if record:
                record(name, x)
            return tf.nn.depthwise_conv2d(x, it.depth[..., None], [1, 1, 1, 1], "SAME") + it.depth_bias

        x = tf.nn.relu(tf.nn.conv2d(canvas, self.stem, 2, "VALID") + self.stem_bias)
        maps = []
        for stage in range(_STAGES):
            for name in (f"backbone.model{stage}.conv1", f"backbone.model{stage}.conv2"):
                x = tf.nn.relu(unit(x, name)) if name in self.units else x
            if stage >= _STAGES - 3:
                maps.append(x)
            if stage in _POOLED:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        for level in (2, 1, 0):
            below = maps[level] if level == 2 else maps[level] + tf.nn.depth_to_space(tf.concat([maps[level + 1]] * 4, -1), 2)
            maps[level] = tf.nn.relu(unit(below, f"neck.lateral_convs.{level}"))
        found = []
        for level, x in enumerate(maps):
            shared = f"bbox_head.multi_level_share_convs.{level}.0"
            found.append(unit(tf.nn.relu(unit(x, shared)) if shared in self.units else x, f"head.{level}"))
        return found


def read_graph(path: Path) -> YuNetGraph:
    """The float network of a published YuNet file; raises `ModelError` for anything else."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(path).graph
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        stem, *rest = [node for node in graph.node if node.op_type == "Conv"]
        after = {node.input[0]: node for node in rest}
        units = {}
        for node in rest:
            name, is_point, _ = node.input[1].partition(".conv1.weight")
            if is_point:
                point, bias = (arrays[key] for key in node.input[1:])
                depth, depth_bias = (arrays[key] for key in after[node.output[0]].input[1:])
                units[name] = Unit(point[:, :, 0, 0].T, bias, np.moveaxis(depth[:, 0], 0, -1), depth_bias)
        weights, stem_bias = (arrays[key] for key in stem.input[1:])
        for level in range(3):
            parts = [units.pop(f"bbox_head.multi_level_{head}.{level}") for head in _HEADS]
            units[f"head.{level}"] = Unit(*(np.concatenate(each, -1) for each in zip(*map(_arrays, parts), strict=True)))
    except OSError as error:
        raise ModelError(f"{path}: cannot read the weights: {error.strerror}") from None
    except (DecodeError, KeyError, ValueError, IndexError) as error:
        raise ModelError(f"{path}: not a YuNet ONNX file ({error!r}); docs/log.md names the two that are known to work") from None
    return YuNetGraph(np.moveaxis(weights.sum(axis=1, keepdims=True), (0, 1), (3, 2)), stem_bias, units)


def equalized(graph: YuNetGraph, canvases: Iterable[Array]) -> tuple[YuNetGraph, Array]:
    """The same network with channels of equal range, and the gain (3, 16) of each output channel.

    int8 has one scale for all channels of a tensor. The channels of a pointwise output are multiplied up to the range of the widest
    one, and the depthwise weights divided by the same (Nagel et al. 2019, "Data-free quantization"). Cells that may be a face have
    outputs of -1..1 on the ``canvases``; other cells may have more, such as the object logit -50 of a plain wall.
    """
    peaks: dict[str, Array] = {}

    def record(name: str, rows: Array) -> None:
        peaks[name] = np.maximum(peaks.get(name, 0.0), np.abs(rows).max(axis=0, initial=0.0))

    for canvas in canvases:
        for level, cells in enumerate(graph(canvas, lambda name, x: record(name, x.numpy().reshape(-1, x.shape[-1])))):
            record(f"output.{level}", cells.numpy()[scores(cells.numpy()) >= _MAY_BE_FACE])
    gains = 1 / np.float32(_HEADROOM) / np.stack([peaks[f"output.{level}"] for level in range(3)])
    units = {}
    for name, unit in graph.units.items():
        spread = np.minimum(peaks[name].max() / np.maximum(peaks[name], 1e-9), np.float32(_MOST_SPREAD))
        gain = gains[int(name[-1])] if name.startswith("head.") else np.float32(1)
        units[name] = Unit(unit.point * spread, unit.point_bias * spread, unit.depth / spread * gain, unit.depth_bias * gain)
    return replace(graph, units=units), gains


def _arrays(unit: Unit) -> tuple[Array, ...]:
    return unit.point, unit.point_bias, unit.depth, unit.depth_bias
