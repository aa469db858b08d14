"""The classifier: crops in, probabilities out, through the TFLite runtime, after a check of the card against the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgefer.errors import ModelError
from edgefer.model.card import ADOPTED, Card, read_model, split_card
from edgefer.model.prior import ratio, shifted
from edgefer.model.runtime import open_interpreter
from edgefer.model.store import check_published, find_model
from edgefer.types import Model, Pixels, Scores

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
"""Endings of Keras' model files."""


class Classifier:
    """A model file opened for inference; not to be shared between threads.

    Raises `ModelError` for a file that is missing, truncated, without a card, changed since it was published, or
    whose card and tensors disagree, and `MissingLibrary` where no runtime is installed. ``prior`` is how often each expression
    is expected, see `edgefer.model.prior`; empty: as the card states.

    >>> classifier = Classifier("small")  # or the path of a .tflite file
    >>> scores = classifier(crops)  # (n, 48, 48) uint8 -> (n, 7) float32
    """

    def __init__(self, model: str | Path = "small", threads: int = 1, prior: str | Mapping[str, float] = "") -> None:
        path = find_model(str(model))
        if path.suffix.lower() in KERAS_SUFFIXES or (path / "saved_model.pb").is_file():
            raise ModelError(f"{path}: a Keras model; make a TFLite file of it with 'make convert MODEL={path}'")
        content = read_model(path)
        self.path = path
        graph, self.card = split_card(content, str(path))
        self.sha256 = check_published(path, content)
        self.size_bytes = len(content)
        self._interpreter = open_interpreter(graph, threads, path)
        self.input = self._interpreter.get_input_details()[0]
        self.output = self._interpreter.get_output_details()[0]
        _check_tensors(self.card, self.input, self.output, path)
        self._ratio = ratio(prior, self.card.prior, self.card.labels, str(path)) if prior else None
        self._values = _values(self.card, self.input)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the model's outputs."""
        return self.card.labels

    @property
    def identity(self) -> Model:
        """The model's name, digest and labels, for observations."""
        return Model(self.card.name, self.sha256, self.labels)

    @property
    def accelerated(self) -> bool:
        """Whether XNNPACK runs the graph; without it an int8 model is many times slower."""
        operators: list[dict[str, Any]] = getattr(self._interpreter, "_get_ops_details", list)()
        return any(operator["op_name"] == "DELEGATE" for operator in operators)

    def __call__(self, crops: Pixels) -> Scores:
        """Raw luma crops (n, H, W) uint8 -> probabilities (n, K) float32, 0..1."""
        scores = np.empty((len(crops), len(self.labels)), np.float32)
        for row, crop in zip(scores, crops, strict=True):
            pixels = self._values[crop][None, :, :, None]
            if self.card.input.channels == 3:
                pixels = np.repeat(pixels, 3, axis=3)
            self._interpreter.set_tensor(self.input["index"], pixels)
            self._interpreter.invoke()
            row[:] = self._probabilities(self._interpreter.get_tensor(self.output["index"])[0])
        return scores if self._ratio is None else shifted(scores, self._ratio)

    def _probabilities(self, raw: Any) -> Any:
        """Quantized softmax -> 0..1; widened to float32 before the subtraction, since int8 minus -128 overflows."""
        scale, zero_point = self.output["quantization"]
        return raw if scale == 0 else (raw.astype(np.float32) - zero_point) * np.float32(scale)


def _check_tensors(card: Card, tensor: dict[str, Any], output: dict[str, Any], path: Path) -> None:
    """Raises `ModelError` unless the tensors match the card in size and classes, and the input is raw 0..255."""
    expected = (1, card.input.height_px, card.input.width_px, card.input.channels)
    if (found := _shape(tensor)) != expected:
        raise ModelError(f"{path}: the card says input {expected}, the model has {found}; convert it again")
    if (found := _shape(output)) != (1, len(card.labels)):
        raise ModelError(f"{path}: {len(card.labels)} labels, but the model's output is {found}; convert it again")
    low, high = _range(tensor)
    black, white = card.input.black, card.input.white
    # edgefer's own files hold every level; an adopted file may clip some, as it was calibrated by somebody else.
    slack = (0.25 if card.provenance.get("provenance") == ADOPTED else 0.002) * abs(white - black)
    if tensor["dtype"] not in (np.uint8, np.int8, np.float32) or not low - slack <= min(black, white) < max(black, white) <= high + slack:
        scale, zero_point = tensor["quantization"]
        raise ModelError(
            f"{path}: input is {np.dtype(tensor['dtype']).name} with scale {scale:.4g} and zero point {zero_point}: pixels 0..255, "
            f"read as {black:g}..{white:g}, do not fit; calibrate with the full range and convert again"
        )


def _range(tensor: dict[str, Any]) -> tuple[float, float]:
    """Least and largest value that a tensor can hold."""
    scale, zero_point = tensor["quantization"]
    if tensor["dtype"] not in (np.uint8, np.int8) or scale == 0:
        return float("-inf"), float("inf")
    held = np.iinfo(tensor["dtype"])
    return (held.min - zero_point) * scale, (held.max - zero_point) * scale


def _values(card: Card, tensor: dict[str, Any]) -> Any:
    """What the tensor gets for each luma 0..255, (256,) of its type; for edgefer's own files that is the pixel itself, or minus 128."""
    black, white, (scale, zero_point) = card.input.black, card.input.white, tensor["quantization"]
    read = black + np.arange(256) * ((white - black) / 255)
    if tensor["dtype"] == np.float32:
        return read.astype(np.float32)
    held = np.iinfo(tensor["dtype"])
    return np.clip(np.rint(read / scale) + zero_point, held.min, held.max).astype(tensor["dtype"])


def _shape(tensor: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(side) for side in tensor["shape"])
