"""The same flatbuffer, smaller: what stands in it many times is written once and pointed at.

Of every channel the converter notes a zero point of eight bytes, twice, and all of them are zero: a tenth of a small file. A
tensor is named after every operation that was folded into it: the first is enough.
"""

from __future__ import annotations

import re

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"
WEIGHTS_ALIGNMENT = 16
"""Bytes; the schema asks it of every tensor's data, and the generated Python does not heed it."""


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
    """A TFLite flatbuffer that answers as ``model`` does, equal vectors shared and the names of tensors short."""
    content = schema.ModelT.InitFromPackedBuf(np.frombuffer(model, np.uint8), 0)
    for graph in content.subgraphs:
        for tensor in graph.tensors:
            # functional_1/mobilenet_1/s1_b1_dw_1/depthwise;functional_1/… -> s1_b1_dw_1/depthwise
            tensor.name = re.sub(rb"^functional(_\d+)?/[^/]+/", b"", tensor.name.partition(b";")[0])
    builder = _Once(len(model))
    builder.Finish(content.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())
