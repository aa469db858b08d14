"""TFLite files that somebody else made: what can be seen of them, and the same file with probabilities as its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.foreign import Foreign, check_shapes
from convert.pack import kind_of, unpacked, written
from edgefer.errors import ModelError
from edgefer.model.runtime import open_interpreter

_KNOWN_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


def look_at(path: Path, content: bytes) -> Foreign:
    """What can be seen of a TFLite file; raises `ModelError` where the runtime cannot run it, or it is no classifier of pictures."""
    interpreter = _opened(path, content)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; one picture in and one answer out are needed")
    shape, answer = (tuple(int(side) for side in tensor["shape"]) for tensor in (inputs[0], outputs[0]))
    open_sides = [side for side in list(inputs[0].get("shape_signature", shape))[1:] if side < 0]
    if open_sides:
        raise ModelError(f"{path}: its input size is open; convert it again with a fixed one, such as 48x48")
    check_shapes(path, shape, answer)
    if shape[0] != 1:
        raise ModelError(f"{path}: reads {shape[0]} pictures at a time; convert it again with a batch of one")
    for tensor in (inputs[0], outputs[0]):
        if tensor["dtype"] not in (np.float32, np.uint8, np.int8):
            raise ModelError(f"{path}: tensor {tensor['name']!r} is {np.dtype(tensor['dtype']).name}; float32, uint8 or int8 is needed")
    known = _range(inputs[0])
    return Foreign(
        str(path), shape[1], shape[2], shape[3], answer[1], known is not None, *(known or (0.0, 255.0)), _quantization(content, inputs[0])
    )


def _opened(path: Path, content: bytes) -> Any:
    try:
        model = unpacked(content)
        customs = sorted({code.customCode.decode(errors="replace") for code in model.operatorCodes if code.customCode})
    except Exception:  # a damaged file can raise nearly any exception
        raise ModelError(f"{path}: not a whole TFLite file; copy or download it again") from None
    try:
        return open_interpreter(content, 1, path)
    except ModelError as error:
        if customs:
            raise ModelError(
                f"{path}: needs {', '.join(customs)}, which the runtime does not have. Convert the Keras file instead "
                "(make convert MODEL=x.keras), or make the TFLite file again with TFLITE_BUILTINS only"
            ) from None
        raise error from None


def _range(tensor: dict[str, Any]) -> tuple[float, float] | None:
    """What a quantized input reads for black and white, where its scale is that of a usual range."""
    scale, zero_point = tensor["quantization"]
    if tensor["dtype"] == np.float32 or scale == 0:
        return None
    held = np.iinfo(tensor["dtype"])
    low, high = (held.min - zero_point) * scale, (held.max - zero_point) * scale
    for black, white in _KNOWN_RANGES:
        if max(abs(low - black), abs(high - white)) <= 0.05 * (white - black):
            return black, white
    return None


def _quantization(content: bytes, tensor: dict[str, Any]) -> str:
    """The name of the recipe that such a file would have."""
    if tensor["dtype"] != np.float32:
        return "int8"
    kinds = [each.type for graph in unpacked(content).subgraphs for each in graph.tensors]
    for kind, name in ((schema.TensorType.INT8, "dynamic"), (schema.TensorType.FLOAT16, "float16")):
        if kind in kinds:
            return name
    return "float32"


def with_probabilities(content: bytes) -> bytes:
    """The file itself where its last operator is a softmax; else with one behind the last."""
    model = unpacked(content)
    (graph, *_) = model.subgraphs
    last = next(operator for operator in graph.operators if graph.outputs[0] in operator.outputs)
    passed_on = {schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE, schema.BuiltinOperator.RESHAPE}
    while kind_of(model.operatorCodes[last.opcodeIndex]) in passed_on:
        before = [operator for operator in graph.operators if last.inputs[0] in operator.outputs]
        if not before:
            break
        last = before[0]
    if kind_of(model.operatorCodes[last.opcodeIndex]) == schema.BuiltinOperator.SOFTMAX:
        return content
    answers = graph.tensors[graph.outputs[0]]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    code.version = 1 if answers.type == schema.TensorType.FLOAT32 else 2
    model.operatorCodes.append(code)
    likely = schema.TensorT()
    likely.name, likely.shape, likely.type = b"probabilities", answers.shape, answers.type
    likely.shapeSignature, likely.buffer = answers.shapeSignature, len(model.buffers)
    model.buffers.append(schema.BufferT())
    if answers.type != schema.TensorType.FLOAT32:
        likely.quantization = schema.QuantizationParametersT()
        likely.quantization.scale = np.array([1 / 256], np.float32)
        likely.quantization.zeroPoint = np.array([-128 if answers.type == schema.TensorType.INT8 else 0], np.int64)
    softmax = schema.OperatorT()
    softmax.opcodeIndex = len(model.operatorCodes) - 1
    softmax.inputs, softmax.outputs = np.array([graph.outputs[0]], np.int32), np.array([len(graph.tensors)], np.int32)
    softmax.builtinOptionsType, softmax.builtinOptions = schema.BuiltinOptions.SoftmaxOptions, schema.SoftmaxOptionsT()
    softmax.builtinOptions.beta = 1.0
    graph.tensors.append(likely)
    graph.operators.append(softmax)
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            output.tensorIndex = len(graph.tensors) - 1
    graph.outputs = softmax.outputs
    return written(model, len(content))
