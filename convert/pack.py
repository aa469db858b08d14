"""The same flatbuffer, smaller: equal vectors are written once, and detours through floating point are removed.

The converter writes a zero point of eight bytes for every channel, twice, and all of them are zero: a tenth of a small file. It
names a tensor after every operation folded into it: the first name is enough. It keeps ELU in floating point, between a DEQUANTIZE
and a QUANTIZE, although every runtime has an 8-bit ELU, a table of the same values.
"""

from __future__ import annotations

import re

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"
INT8 = schema.TensorType.INT8
WEIGHTS_ALIGNMENT = 16
"""Bytes; the schema requires it for tensor data, and the generated Python ignores it."""


class _Once(flatbuffers.Builder):
    """A builder that writes equal vectors of numbers only once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray) -> int:  # noqa: N802 - flatbuffers' name
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803 - flatbuffers' names
        return super().StartVector(elemSize, numElems, WEIGHTS_ALIGNMENT if elemSize == 1 else alignment)


def packed(model: bytes) -> bytes:
    """A TFLite flatbuffer with the answers of ``model``: equal vectors shared, short tensor names, ELU in 8 bits."""
    content = unpacked(model)
    for graph in content.subgraphs:
        _without_detours(content, graph)
        for tensor in graph.tensors:
            # functional_1/mobilenet_1/s1_b1_dw_1/depthwise;functional_1/… -> s1_b1_dw_1/depthwise
            tensor.name = re.sub(rb"^functional(_\d+)?/[^/]+/", b"", tensor.name.partition(b";")[0])
    return written(content, len(model))


def unpacked(model: bytes) -> schema.ModelT:
    """A flatbuffer as mutable objects."""
    return schema.ModelT.InitFromPackedBuf(np.frombuffer(model, np.uint8), 0)


def written(content: schema.ModelT, about_bytes: int) -> bytes:
    """The objects as a flatbuffer of some ``about_bytes``; equal vectors are written once."""
    builder = _Once(about_bytes)
    builder.Finish(content.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def kind(content: schema.ModelT, operator: schema.OperatorT) -> int:
    """The `BuiltinOperator` of an operator."""
    return kind_of(content.operatorCodes[operator.opcodeIndex])


def kind_of(code: schema.OperatorCodeT) -> int:
    """The `BuiltinOperator` of a code; old operators are in the deprecated field."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _without_detours(content: schema.ModelT, graph: schema.SubGraphT) -> None:
    """Remove the DEQUANTIZE before and the QUANTIZE after each ELU of 8 bits."""
    made_by = {int(tensor): operator for operator in graph.operators for tensor in operator.outputs}
    read_by: dict[int, list[schema.OperatorT]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            read_by.setdefault(int(tensor), []).append(operator)
    detours = set()
    for operator in graph.operators:
        if kind(content, operator) != schema.BuiltinOperator.ELU:
            continue
        before, after = made_by.get(int(operator.inputs[0])), read_by.get(int(operator.outputs[0]), [])
        if not before or len(after) != 1 or len(read_by[int(before.outputs[0])]) != 1:
            continue
        ends = [graph.tensors[before.inputs[0]].type, graph.tensors[after[0].outputs[0]].type]
        if (kind(content, before), kind(content, after[0])) == (
            schema.BuiltinOperator.DEQUANTIZE,
            schema.BuiltinOperator.QUANTIZE,
        ) and ends == [INT8, INT8]:
            operator.inputs, operator.outputs = before.inputs, after[0].outputs
            detours |= {id(before), id(after[0])}
    graph.operators = [operator for operator in graph.operators if id(operator) not in detours]
