"""An int8 network that every runtime computes to the same bit.

A layer's sum of products is multiplied by a ratio of scales and rounded. XNNPACK does this in floating point and rounds to even;
TensorFlow Lite's own kernels round fixed-point numbers twice, away from zero. They differ near half a step, and a difference in one
layer grows in the next. Here every ratio is a power of two, weights are even and biases are odd: no sum is half a step, and all
kernels round it alike. The mean over the picture, where kernels differ most, becomes a depthwise convolution: one more such sum.

This costs the weights more than a bit, so they are fitted again, layer by layer. A layer is fitted to the outputs of the float
network, given the integer activations of the layers before it: by least squares, then to the nearest even weight. A channel that
uses a small part of its range is scaled up, and the next layer scales it back (Nagel et al. 2019, "Data-free quantization").
Activations are counted in steps of 1; only the last layer's scale has a meaning outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from convert.pack import kind, kind_of, unpacked, written
from edgefer.types import Pixels

Array = npt.NDArray[Any]
Op = schema.BuiltinOperator
RELU = schema.ActivationFunctionType.RELU

PICTURES, ROWS = 128, 20_000
"""Pictures that the network is fitted on, and positions in them that a layer is fitted on."""

LEAST_SHIFT, MOST_SHIFT = 2, 12
"""A sum is divided by 2^2 to 2^12. Divided by 2, every odd sum would be half a step."""

LARGEST_WEIGHT = 126

BELOW = 1 - 2.0**-22
"""Scales are this factor below a power of two. TensorFlow Lite keeps a ratio as a 31-bit number in [0.5, 1); with exactly 0.5 it
would halve and round a sum before the shift. A sum that does not saturate is below 2^20, and this factor does not change it."""

SPREAD, HEADROOM, ROOM = 16.0, 1.2, 16.0
"""A channel is scaled up 16 times at most. A sixth of its range stays free for other pictures, and its weights stay below `ROOM`."""

DAMPING, ROUNDING = 0.01, 1 / 12
"""Ridge: this share of the inputs' mean power, and the power of rounding. Weights that the pictures do not determine stay as they are."""

_SUMS = {Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.MEAN}
_ALSO = {Op.QUANTIZE, Op.SOFTMAX}


def exact(model: bytes, real: bytes, images: Pixels) -> bytes | None:
    """The int8 flatbuffer ``model`` with weights on which all kernels agree; ``real`` is the same network in float32.

    ``images`` (n, H, W) uint8 are pictures to fit on. None if the network is not a chain of convolutions, means and dense layers on
    raw pixels, or if a layer amplifies so much that its weights do not fit.
    """
    content, source = unpacked(model), unpacked(real)
    operators, twins = _sums_of(content), _sums_of(source)
    if not operators or [kind(content, each) for each in operators] != [kind(source, twin) for twin in twins]:
        return None
    tensors = content.subgraphs[0].tensors
    pixels = tensors[operators[0].inputs[0]].quantization
    if (pixels.scale[0], pixels.zeroPoint[0]) != (1.0, -128):
        return None
    random = np.random.default_rng(2013)
    # Activations of the float network and of the integer network, both in steps of the layer's output.
    float_acts: Array = images[random.permutation(len(images))[:PICTURES], ..., None].astype(np.float32)
    int_acts = float_acts
    spread: Array = np.ones(1, np.float32)
    step_before = 1.0
    for operator, twin in zip(operators, twins, strict=True):
        weights, bias = _real_weights(source, twin)
        if kind(content, operator) == Op.MEAN:
            _as_convolution(content, operator)
        if not _has_bias(operator):
            operator.inputs = np.array([*operator.inputs[:2], _new_tensor(content, "bias", (len(bias),), np.int32)], np.int32)
        layer = _layer(content, operator)
        out = tensors[operator.outputs[0]].quantization
        step, lowest, highest = float(out.scale[0]), -128 - int(out.zeroPoint[0]), 127 - int(out.zeroPoint[0])
        float_taps, int_taps = list(layer.taps(float_acts)), list(layer.taps(int_acts))
        weights, bias = weights * (step_before / step / (spread if layer.depthwise else spread[:, None])), bias / step
        float_acts = layer.sum(float_taps, weights) + bias
        if lowest or operator is operators[-1]:
            spread = np.ones(len(bias), np.float32)
        else:
            spread = _spread(float_acts, highest, np.abs(weights).max(axis=tuple(range(weights.ndim - 1))))
            out.scale, operator.builtinOptions.fusedActivationFunction = np.ones(1, np.float32), RELU
        weights, bias, float_acts = weights * spread, bias * spread, np.clip(float_acts * spread, lowest, highest)
        chosen = random.permutation(float_acts[..., 0].size)[:ROWS]
        found = _fitted(layer.rows(float_taps, chosen), layer.rows(int_taps, chosen), layer.grouped(weights), bias)
        if found is None:
            return None
        whole, shift, odd = found
        whole = layer.ungrouped(whole, weights)
        int_acts = np.clip(np.round((layer.sum(int_taps, whole) + odd) * 2.0**-shift), lowest, highest).astype(np.float32)
        unit = (2.0**-shift * BELOW * out.scale[0]).astype(np.float32)
        stored = (whole if layer.depthwise else np.moveaxis(whole, -1, 0)).astype(np.int8)
        _put(content, tensors[operator.inputs[1]], stored, unit / tensors[operator.inputs[0]].quantization.scale[0])
        _put(content, tensors[operator.inputs[2]], odd.astype(np.int32), unit)
        step_before = step
    used = {tensor.buffer for tensor in tensors} | {note.buffer for note in content.metadata or []}
    for index, buffer in enumerate(content.buffers):
        if index not in used:
            buffer.data = None
    return written(content, len(model))


@dataclass(frozen=True, slots=True)
class _Layer:
    """How a layer sums: a dense layer over all inputs, a convolution over the inputs at each position of its kernel."""

    depthwise: bool
    kernel: tuple[int, int]
    options: Any
    """Stride and padding; None for a dense layer."""

    def taps(self, x: Array) -> Iterator[Array]:
        """For each position of the kernel, its inputs (n, h', w', c) in ``x`` (n, h, w, c)."""
        if self.options is None:
            yield x.reshape(len(x), 1, 1, -1)
            return
        stride, (down, across) = (self.options.strideH, self.options.strideW), self.kernel
        if self.options.padding == schema.Padding.SAME:
            sides = zip(x.shape[1:3], stride, self.kernel, strict=True)
            missing = [max((-(-size // by) - 1) * by + width - size, 0) for size, by, width in sides]
            x = np.pad(x, ((0, 0), *((by // 2, by - by // 2) for by in missing), (0, 0)))
        rows, columns = x.shape[1] - down + 1, x.shape[2] - across + 1
        for row in range(down):
            for column in range(across):
                yield x[:, row : row + rows : stride[0], column : column + columns : stride[1]]

    def sum(self, taps: list[Array], weights: Array) -> Array:
        """Sums (n, h', w', out) float32 of ``taps`` times ``weights`` (positions, in, out), or depthwise (positions, channels)."""
        weights = weights.astype(np.float32)
        products = (tap * weight if self.depthwise else tap @ weight for tap, weight in zip(taps, weights, strict=True))
        total = next(products)
        for product in products:
            total = total + product
        return total

    def rows(self, taps: list[Array], chosen: Array) -> Array:
        """Inputs at ``chosen`` positions, (groups, rows, in): one group, or for depthwise one for each channel."""
        rows = np.stack([tap.reshape(-1, tap.shape[-1])[chosen] for tap in taps], axis=1).astype(np.float64)
        return rows.transpose(2, 0, 1) if self.depthwise else rows.reshape(1, len(rows), -1)

    def grouped(self, weights: Array) -> Array:
        """``weights`` as (groups, in, out), to multiply `rows` with."""
        return weights.T[..., None] if self.depthwise else weights.reshape(1, -1, weights.shape[-1])

    def ungrouped(self, weights: Array, like: Array) -> Array:
        """Undo `grouped`."""
        return weights[..., 0].T if self.depthwise else weights.reshape(like.shape)


def _layer(content: schema.ModelT, operator: Any) -> _Layer:
    shape, which = content.subgraphs[0].tensors[operator.inputs[1]].shape, kind(content, operator)
    if which == Op.FULLY_CONNECTED:
        return _Layer(depthwise=False, kernel=(1, 1), options=None)
    return _Layer(depthwise=which == Op.DEPTHWISE_CONV_2D, kernel=(int(shape[1]), int(shape[2])), options=operator.builtinOptions)


def _sums_of(content: schema.ModelT) -> list[Any]:
    """The operators that sum products, in order; empty if the graph is not a chain, or has an operator of another kind."""
    graph = content.subgraphs[0]
    chain = all(int(after.inputs[0]) == int(before.outputs[0]) for before, after in pairwise(graph.operators))
    if not chain or not all(kind(content, operator) in _ALSO or _is_plain(content, operator) for operator in graph.operators):
        return []
    return [operator for operator in graph.operators if kind(content, operator) in _SUMS]


def _is_plain(content: schema.ModelT, operator: Any) -> bool:
    """Whether an operator sums products as `_Layer` does."""
    tensors, which = content.subgraphs[0].tensors, kind(content, operator)
    shapes = [list(tensors[index].shape) for index in operator.inputs if index >= 0]
    if which == Op.MEAN:
        axes = np.asarray(content.buffers[tensors[operator.inputs[1]].buffer].data, np.uint8).view(np.int32)
        return len(shapes[0]) == 4 and sorted(axes) == [1, 2]
    if which not in _SUMS:
        return False
    options = operator.builtinOptions
    dense = which == Op.FULLY_CONNECTED
    return dense or (shapes[0][-1] == shapes[1][-1] and options.dilationHFactor == options.dilationWFactor == 1)


def _real_weights(content: schema.ModelT, operator: Any) -> tuple[Array, Array]:
    """Weights of a float32 layer, (positions, in, out) or depthwise (positions, channels), and its bias."""
    tensors = content.subgraphs[0].tensors
    if kind(content, operator) == Op.MEAN:
        _, height, width, channels = tensors[operator.inputs[0]].shape
        return np.full((height * width, channels), 1 / (height * width), np.float32), np.zeros(channels, np.float32)
    values = [
        np.asarray(content.buffers[tensors[index].buffer].data, np.uint8).view(np.float32) for index in operator.inputs[1:] if index >= 0
    ]
    shape = tensors[operator.inputs[1]].shape
    depthwise = kind(content, operator) == Op.DEPTHWISE_CONV_2D
    positions = values[0].reshape(-1, shape[-1]) if depthwise else np.moveaxis(values[0].reshape(shape[0], -1, shape[-1]), 0, -1)
    return positions, values[1] if _has_bias(operator) else np.zeros(positions.shape[-1], np.float32)


def _has_bias(operator: Any) -> bool:
    return len(operator.inputs) == 3 and operator.inputs[2] >= 0


def _spread(float_acts: Array, highest: int, largest: Array) -> Array:
    """Factor for each channel of ``float_acts`` (..., channels) to use the range up to ``highest``; ``largest`` are its largest weights."""
    peak = np.clip(float_acts, 0, highest).reshape(-1, float_acts.shape[-1]).max(axis=0)
    most = np.minimum(SPREAD, ROOM / np.maximum(largest, 1e-9))
    return np.maximum(np.minimum(highest / np.maximum(HEADROOM * peak, 1e-9), most), 1.0).astype(np.float32)


def _fitted(float_rows: Array, int_rows: Array, wanted: Array, bias: Array) -> tuple[Array, Array, Array] | None:
    """Integer weights, shifts and biases whose sums of ``int_rows`` are those of ``float_rows`` with ``wanted`` and ``bias``.

    Rows are (groups, rows, in), ``wanted`` and the even weights (groups, in, out), for depthwise layers (channels, in, 1);
    ``bias``, the odd biases and the shifts are (all out,). None if a weight is too large.
    """
    aim = float_rows @ wanted
    centred = int_rows - int_rows.mean(axis=1, keepdims=True)
    power = centred.transpose(0, 2, 1) @ centred / int_rows.shape[1]
    power += (DAMPING * np.trace(power, axis1=1, axis2=2) / power.shape[1] + ROUNDING)[:, None, None] * np.eye(power.shape[1])
    missed = centred.transpose(0, 2, 1) @ (aim - centred @ wanted) / int_rows.shape[1]
    best = wanted + np.linalg.solve(power, missed)
    shift = np.minimum(np.floor(np.log2(LARGEST_WEIGHT / np.maximum(np.abs(best).max(axis=1), 1e-9))), MOST_SHIFT)
    if shift.min() < LEAST_SHIFT:
        return None
    scale = 2.0**shift
    whole = 2 * np.round(best * scale[:, None] / 2)
    left = aim.mean(axis=1) - (int_rows.mean(axis=1, keepdims=True) @ whole)[:, 0] / scale + bias.reshape(len(aim), -1)
    return whole, shift.reshape(-1), (2 * np.floor(left * scale / 2) + 1).reshape(-1)


def _as_convolution(content: schema.ModelT, operator: Any) -> None:
    """Turn a MEAN over the picture into a depthwise convolution of the picture's size; its weights are set later."""
    tensors = content.subgraphs[0].tensors
    _, height, width, channels = tensors[operator.inputs[0]].shape
    weights = _new_tensor(content, "mean/weights", (1, int(height), int(width), int(channels)), np.int8)
    operator.inputs = np.array([operator.inputs[0], weights], np.int32)
    tensors[operator.outputs[0]].shape = np.array([1, 1, 1, channels], np.int32)
    codes = [kind_of(code) for code in content.operatorCodes]
    if Op.DEPTHWISE_CONV_2D not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = Op.DEPTHWISE_CONV_2D
        code.version = 3  # the first with a scale a channel
        content.operatorCodes.append(code)
        codes.append(Op.DEPTHWISE_CONV_2D)
    operator.opcodeIndex = codes.index(Op.DEPTHWISE_CONV_2D)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
    operator.builtinOptions, operator.builtinOptionsType = options, schema.BuiltinOptions.DepthwiseConv2DOptions


def _new_tensor(content: schema.ModelT, name: str, shape: tuple[int, ...], number: type) -> int:
    """Add a tensor without values, with a scale for each channel of its last axis; returns its index."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
    tensor.type = schema.TensorType.INT8 if number is np.int8 else schema.TensorType.INT32
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.zeroPoint = np.zeros(shape[-1], np.int64)
    tensor.quantization.quantizedDimension = len(shape) - 1
    tensors = content.subgraphs[0].tensors
    tensors.append(tensor)
    return len(tensors) - 1


def _put(content: schema.ModelT, tensor: Any, values: Array, scale: Array) -> None:
    """Give a tensor a buffer of its own with ``values``, and a scale for each channel."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    content.buffers.append(buffer)
    tensor.buffer = len(content.buffers) - 1
    tensor.quantization.scale = scale
