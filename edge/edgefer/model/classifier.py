"""The classifier: crops in, probabilities out, through the TFLite runtime, after a check of the card against the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgefer.errors import ModelError
from edgefer.model.card import Card, read_model, split_card
from edgefer.model.prior import ratio, shifted
from edgefer.model.runtime import open_interpreter
from edgefer.model.store import check_published, find_model
from edgefer.types import Model, Pixels, Scores


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
        if path.suffix == ".keras":
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
        # int8 input is the raw pixel minus 128: one sign bit, no arithmetic.
        self._flip = np.uint8(0x80) if self.input["dtype"] == np.int8 else np.uint8(0)

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
            pixels = crop[None, :, :, None]
            if self.input["dtype"] == np.float32:
                self._interpreter.set_tensor(self.input["index"], pixels.astype(np.float32))
            else:
                self._interpreter.set_tensor(self.input["index"], (pixels ^ self._flip).view(self.input["dtype"]))
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
    wanted = {np.uint8: (1.0, 0), np.int8: (1.0, -128), np.float32: (0.0, 0)}.get(tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    # A scale that is 0.1 % off shifts level 255 by less than half a level.
    if wanted is None or abs(scale - wanted[0]) > 1e-3 or zero_point != wanted[1]:
        raise ModelError(
            f"{path}: input is {np.dtype(tensor['dtype']).name} with scale {scale:.4g} and zero point {zero_point}: raw pixels 0..255 "
            "do not fit; calibrate with the full 0..255 range and convert again"
        )


def _shape(tensor: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(side) for side in tensor["shape"])
