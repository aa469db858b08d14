"""``make convert RECIPE=c``: an int8 file as C99 for a microcontroller, one ``.c`` and one ``.h``, with the same scores to the byte.

`convert.exact` makes a file a chain of integer layers whose sums are divided by powers of two. Such a layer is rewritten, without an
error, so that C needs one line for it: ``out = (sum of weight * in + bias) >> shift``, limited to a byte. The arithmetic stands
beside `_halved`, the plan of the memory beside `_lag`, and the rest in ``templates/micro.c``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from convert.exact import BELOW, LEAST_SHIFT
from convert.pack import kind, unpacked
from edgefer.errors import ModelError
from edgefer.files import draft_folder, replace_durably
from edgefer.model.card import Card, read_model, split_card
from edgefer.model.golden import golden_pictures
from edgefer.model.runtime import open_interpreter
from edgefer.types import Pixels

TEMPLATES = Path(__file__).parent / "templates"
Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Op = schema.BuiltinOperator
SUMS = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED)
NAMES = {number: name for name, number in vars(Op).items() if isinstance(number, int)}

LANES = 4
"""Channels are padded to a multiple of this: four bytes are loaded at a time."""

UNITS = 54
"""An exponential is kept in units of 2^-54: sums below 512 fit in 63 bits."""

LARGEST_SUM = 2**31 - 1


@dataclass(slots=True)
class Layer:
    """A layer as C has it; ``to`` is where its output begins in the arena, set by `_plan`."""

    name: str
    depthwise: bool
    weights: Array
    """int8 in the order that C reads them: depthwise (taps, channels), else two outputs interleaved by four inputs."""
    bias: Array
    shift: Array
    shape: Shape
    """Height, width and depth of the input."""
    out_shape: Shape
    kernel: Shape
    """Height and width, as of the stride and of the padding above and on the left."""
    stride: Shape
    pad: Shape
    zero: int
    macs: int
    to: int = 0

    @property
    def patch_bytes(self) -> int:
        """Memory beside input and output: the inputs of two positions, or for a depthwise layer a pixel of zeros."""
        return self.shape[2] if self.depthwise else 2 * _padded(math.prod(self.kernel) * self.shape[2])


def export(model: Path, out: Path) -> list[Path]:
    """Write the int8 file ``model`` as C to ``out``, a ``.c`` file, and the header beside it; returns both paths.

    Raises `ModelError` with the first layer that is not of this kind.
    """
    content = read_model(model)
    graph, card = split_card(content, str(model))
    name = re.sub(r"\W", "_", card.name, flags=re.ASCII)
    paths = [out, out.with_suffix(".h")]
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters |= {"numbers": _numbers, "quoted": _quoted}
    facts = {**_facts(graph, card, model), "name": name, "NAME": name.upper(), "header": paths[1].name, "file": model.name,
             "sha256": hashlib.sha256(content).hexdigest()}  # fmt: skip
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(out.parent) as folder:
            for path in paths:
                (folder / path.name).write_text(pages.get_template(f"micro{path.suffix}").render(facts), encoding="utf-8")
            for path in paths:
                replace_durably(folder / path.name, path)
    except OSError as error:
        raise ModelError(f"{out}: cannot write there: {error.strerror}; choose another OUT") from None
    return paths


def _facts(graph: bytes, card: Card, where: Path) -> dict[str, Any]:
    """What the templates need of the model."""
    layers, step = chain(graph, str(where))
    patch_bytes = _padded(max(layer.patch_bytes for layer in layers))
    golden = golden_pictures(card.input.height_px, card.input.width_px)
    return {
        "height": card.input.height_px,
        "width": card.input.width_px,
        "labels": card.labels,
        "prior": [round(1000 * card.prior.get(label, 0)) for label in card.labels],
        "uncertain_below": f"{256 * card.uncertain_below:.2f}",
        "uncertain_byte": math.ceil(256 * card.uncertain_below),
        "layers": layers,
        "taps": max([1, *(math.prod(layer.kernel) for layer in layers if layer.depthwise)]),
        "macs": sum(layer.macs for layer in layers),
        "arena_bytes": _plan(layers, patch_bytes),
        "const_bytes": sum(layer.weights.size + 4 * layer.bias.size + layer.shift.size for layer in layers) + 8 * 256,
        "exponentials": exponentials(step),
        "golden": [picture.ravel() for picture in golden],
        "golden_scores": scores_of(graph, golden, where),
    }


def chain(graph: bytes, where: str) -> tuple[list[Layer], float]:
    """The layers of a flatbuffer, and the scale of the last one's output, which softmax reads.

    Raises `ModelError` with the first layer that C cannot compute exactly.
    """
    content = unpacked(graph)
    operators = list(content.subgraphs[0].operators)
    ends = [kind(content, operator) for operator in operators]
    at = content.subgraphs[0].inputs[0]
    layers: list[Layer] = []
    for index, operator in enumerate(operators):
        which = kind(content, operator)
        name = content.subgraphs[0].tensors[operator.outputs[0]].name.decode(errors="replace")

        def refuse(found: str, layer: str = f"layer {index}, {NAMES.get(which, which)} {name!r}") -> ModelError:
            return ModelError(
                f"{where}: {layer}: {found}; RECIPE=c takes chains of convolutions, means and dense layers that 'make convert' made exact"
            )

        if operator.inputs[0] != at:
            raise refuse("reads not only the layer before it")
        at = operator.outputs[0]
        if which in SUMS:
            try:
                layers.append(_layer(content, operator, name, bool(layers)))
            except _NotExactError as error:
                raise refuse(str(error)) from None
        elif (which, index) not in {(Op.QUANTIZE, 0), (Op.SOFTMAX, len(ends) - 2), (Op.QUANTIZE, len(ends) - 1)}:
            raise refuse("is not an integer layer that C has")
    if ends[:1] + ends[-2:] != [Op.QUANTIZE, Op.SOFTMAX, Op.QUANTIZE] or not layers:
        raise ModelError(f"{where}: is not an int8 file that begins with raw pixels and ends with softmax; convert it with RECIPE=int8")
    tensors = content.subgraphs[0].tensors
    scores = tensors[operators[-2].outputs[0]].quantization
    if (float(scores.scale[0]), int(scores.zeroPoint[0])) != (1 / 256, -128) or operators[-2].builtinOptions.beta != 1:
        raise refuse("its softmax does not give 256ths")
    return layers, float(tensors[operators[-2].inputs[0]].quantization.scale[0])


class _NotExactError(Exception):
    """What a layer has that C cannot compute exactly."""


def _layer(content: schema.ModelT, operator: Any, name: str, inner: bool) -> Layer:
    """One layer; ``inner``: its input is padded to whole `LANES`, and not the caller's picture."""
    tensors, which, options = content.subgraphs[0].tensors, kind(content, operator), operator.builtinOptions
    before, weights, after = (tensors[index] for index in (operator.inputs[0], operator.inputs[1], operator.outputs[0]))
    if len(operator.inputs) < 3 or operator.inputs[2] < 0 or weights.type != schema.TensorType.INT8:
        raise _NotExactError("has no odd biases or no 8-bit weights")
    values = _stored(content, weights, np.int8).astype(np.int64)
    bias = _stored(content, tensors[operator.inputs[2]], np.int32).astype(np.int64)
    shape, out_shape = _shape(before), _shape(after)
    pad: Shape = (0, 0)
    stride: Shape = (1, 1)
    if which == Op.FULLY_CONNECTED:  # a convolution whose kernel is the whole picture
        if math.prod(shape) != values.shape[-1]:
            raise _NotExactError("is a dense layer at each position")
        values = values.reshape(len(bias), *shape)
    else:
        stride = (int(options.strideH), int(options.strideW))
        if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
            raise _NotExactError("is dilated")
        missing = [(o - 1) * s + k - i for o, s, k, i in zip(out_shape, stride, values.shape[1:], shape, strict=False)]
        pad = tuple(max(each, 0) // 2 for each in missing[:2])
    kernel = values.shape[1:3]
    depthwise = which == Op.DEPTHWISE_CONV_2D
    if depthwise and shape[2] == 1:  # an ordinary convolution of one channel
        values, depthwise = values.transpose(3, 1, 2, 0), False
    if values.shape[3] != shape[2] or (depthwise and out_shape[2] != shape[2]):
        raise _NotExactError("has groups of channels")
    macs = math.prod(out_shape) * (math.prod(kernel) if depthwise else values[0].size)
    zero, out_zero = (int(tensor.quantization.zeroPoint[0]) + 128 for tensor in (before, after))
    _check_limits(options.fusedActivationFunction, out_zero, float(after.quantization.scale[0]))
    values, bias, shift = _halved(values, bias, _shifts(before, weights, after, len(bias)), zero, out_zero, depthwise)
    depth, out_depth = (_padded(shape[2]) if inner else shape[2]), _padded(out_shape[2])
    return Layer(
        name, depthwise, _ordered(values, depth, out_depth, depthwise), _filled(bias, out_depth), _filled(shift, out_depth),
        (shape[0], shape[1], depth), (out_shape[0], out_shape[1], out_depth), kernel, stride, pad, zero, macs,
    )  # fmt: skip


def _shape(tensor: Any) -> Shape:
    """Height, width and depth of activations; a dense layer has depth only."""
    sides = tuple(int(side) for side in tensor.shape[1:])
    return (*(1,) * (3 - len(sides)), *sides)


def _shifts(before: Any, weights: Any, after: Any, outputs: int) -> Array:
    """By which powers of two the sums are divided, (outputs,): 2^shift * ratio of scales is `BELOW`, as `convert.exact` writes it."""
    ratio = np.float64(before.quantization.scale[0]) * np.asarray(weights.quantization.scale, np.float64) / after.quantization.scale[0]
    shift = -np.log2(ratio / BELOW)
    if np.abs(shift - np.round(shift)).max() > 2.0**-20:
        raise _NotExactError("does not divide its sums by powers of two")
    if shift.min() < LEAST_SHIFT - 0.5 or shift.max() > 30:
        raise _NotExactError(f"divides its sums by 2^{shift.min():.0f}, and 2^{LEAST_SHIFT} to 2^30 is possible")
    return np.broadcast_to(np.round(shift).astype(np.int64), outputs)


def _check_limits(activation: int, zero: int, scale: float) -> None:
    """A sum is limited to 0..255 around its zero point; RELU and RELU6 must not limit it further."""
    function = schema.ActivationFunctionType
    limits = {function.NONE: (0, 255), function.RELU: (zero, 255), function.RELU6: (zero, zero + round(6 / scale))}.get(activation)
    if not limits or limits[0] > 0 or limits[1] < 255:
        raise _NotExactError("has an activation other than RELU over the whole range")


def _halved(values: Array, bias: Array, shift: Array, zero: int, out_zero: int, depthwise: bool) -> tuple[Array, Array, Array]:
    """Weights, biases and shifts of ``out = (sum of weight * in + bias) >> shift``, equal for every input.

    The file has even weights 2w, odd biases 2b + 1 and a shift s of 2 or more, and rounds (2 * sum(w * (in - zero)) + 2b + 1) / 2^s
    to the nearest whole number. With X = sum(w * (in - zero)) + b that is floor((2X + 1 + 2^(s-1)) / 2^s), never a half;
    the 1 is decisive for no whole X, so it is floor((X + 2^(s-2)) / 2^(s-1)). Then zero * sum(w) and the output's zero point,
    out_zero * 2^(s-1), join the bias.
    """
    if (values % 2).any() or not (bias % 2).all():
        raise _NotExactError("has odd weights or even biases, so kernels may round its sums differently")
    weights = values // 2
    total = weights.sum(axis=(0, 1, 2) if depthwise else (1, 2, 3))
    constant = bias // 2 + 2 ** (shift - 2) - zero * total + out_zero * 2 ** (shift - 1)
    reach = 255 * np.abs(weights).sum(axis=(0, 1, 2) if depthwise else (1, 2, 3)) + np.abs(constant)
    if reach.max() > LARGEST_SUM:
        raise _NotExactError("has sums of more than 32 bits")
    return weights, constant, shift - 1


def _ordered(values: Array, depth: int, out_depth: int, depthwise: bool) -> Array:
    """Weights (out, height, width, in), depthwise (1, height, width, channels), padded, in the order in which C reads them."""
    height, width = values.shape[1:3]
    if depthwise:
        return _filled(values, depth).astype(np.int8).ravel()
    rows = np.zeros((out_depth, _padded(height * width * depth)), np.int8)
    rows[: len(values), : height * width * depth] = _filled(values, depth).reshape(len(values), -1)
    return rows.reshape(out_depth // 2, 2, -1, LANES).transpose(0, 2, 1, 3).ravel()


def _filled(values: Array, length: int) -> Array:
    """``values`` with zeros at the end of the last axis."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])])


def _padded(size: int) -> int:
    return -(-size // LANES) * LANES


def _stored(content: schema.ModelT, tensor: Any, number: type) -> Array:
    return np.asarray(content.buffers[tensor.buffer].data, np.uint8).view(number).reshape(tensor.shape)


def _lag(layer: Layer) -> int:
    """By how many bytes, at least, a layer's output must begin before its input so that both may share memory.

    C goes through the positions in order, two at a time. What it writes until then must end before the first byte that is read then
    or later. An output that is smaller than its input may also begin behind it: the number is negative.
    """
    (height, width, depth), (out_height, out_width, out_depth) = layer.shape, layer.out_shape
    top = np.maximum(np.arange(out_height) * layer.stride[0] - layer.pad[0], 0)[:, None]
    left = np.maximum(np.arange(out_width) * layer.stride[1] - layer.pad[1], 0)
    first = np.minimum((top * width + left) * depth, height * width * depth).ravel()
    needed = np.minimum.accumulate(first[::-1])[::-1]
    written = np.minimum(np.arange(len(first)) + 2, len(first)) * out_depth
    return int((written - needed).max())


def _plan(layers: list[Layer], reserved: int) -> int:
    """Set where each output begins in the arena, behind ``reserved`` bytes; returns the arena's bytes.

    Only a layer's input and output live at the same time. The smallest arena is searched in which each output finds room: over its
    input (see `_lag`), above it or below it, as high as possible.
    """
    sizes = [math.prod(layer.out_shape) for layer in layers]
    lags = [0, *map(_lag, layers[1:])]
    total = max(sizes)
    while not _place(layers, sizes, lags, total):
        total += LANES
    for layer in layers:
        layer.to += reserved
    return reserved + total


def _place(layers: list[Layer], sizes: list[int], lags: list[int], total: int) -> bool:
    """Place every output within ``total`` bytes; False where one has no room."""
    begin, end = total, total  # of the input: the caller's picture is elsewhere
    for layer, size, lag in zip(layers, sizes, lags, strict=True):
        first = end == begin
        over = total - size if first else (begin - lag) // LANES * LANES
        rooms = [start for start in (over, begin - size) if 0 <= start <= total - size]
        rooms += [total - size] if total - size >= end else []
        if not rooms:
            return False
        layer.to = begin = max(rooms)
        end = begin + size
    return True


def exponentials(step: float) -> list[int]:
    """e^(-k * step) for k = 0..255 as float32, in units of 2^-`UNITS`: the table of TensorFlow Lite's softmax."""
    powers = np.float32(-step) * np.arange(256, dtype=np.float32)
    return [int(np.float64(value) * 2.0**UNITS) for value in np.exp(powers.astype(np.float64)).astype(np.float32)]


def scores_of(graph: bytes, pictures: Pixels, where: Path) -> list[list[int]]:
    """Scores (n, K) 0..255 of the flatbuffer itself."""
    interpreter = open_interpreter(graph, 1, where)
    (pixels,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for picture in pictures:
        interpreter.set_tensor(pixels["index"], picture[None, :, :, None])
        interpreter.invoke()
        found.append([int(score) for score in interpreter.get_tensor(scores["index"])[0]])
    return found


def _quoted(text: str) -> str:
    """A string literal of C."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _numbers(values: Iterable[int], suffix: str = "") -> str:
    """Numbers in lines of some 130 characters."""
    line, lines = "    ", []
    for value in values:
        word = f"{int(value)}{suffix},"
        if len(line) + len(word) > 130:
            lines.append(line)
            line = "    "
        line += word
    return "\n".join([*lines, line]) + "\n"
