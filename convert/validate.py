"""Compares a converted file with its source, through the runtime's own classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgefer.errors import ModelError
from edgefer.native_stderr import silence_native_stderr
from edgefer.types import Pixels, Scores
from train.data import Split
from train.evaluate import scores_of
from train.metrics import measure, uncertain_threshold
from train.recipe import Gate

ANSWERED_RIGHT = 0.75
"""From `uncertain_below` on, this share of the answers on validation pictures is right; answers below are "uncertain"."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracies and agreement, 0..1, over the same pictures."""

    images: int
    source_accuracy: float
    accuracy: float
    macro_f1: float
    agreement: float
    """Share of pictures on which both give the same answer."""
    ece: float
    """Expected calibration error of the converted file, 0..1."""
    uncertain_below: float
    """The probability from which `ANSWERED_RIGHT` of the answers are right."""

    @property
    def loss_points(self) -> float:
        """Accuracy lost, in points (hundredths)."""
        return 100 * (self.source_accuracy - self.accuracy)


def compare(source: Path, converted: Path, split: Split, labels: tuple[str, ...]) -> Comparison:
    """The Keras model against the TFLite file, on every picture of ``split``."""
    return compare_scores(scores_of(source, split.images), scores_of(converted, split.images), split, labels)


def compare_scores(before: Scores, after: Scores, split: Split, labels: tuple[str, ...]) -> Comparison:
    """The same, from the probabilities (n, K) of both."""
    figures = measure(after, split.labels, labels)
    return Comparison(
        images=len(split),
        source_accuracy=measure(before, split.labels, labels).accuracy,
        accuracy=figures.accuracy,
        macro_f1=figures.macro_f1,
        agreement=float(np.mean(before.argmax(axis=1) == after.argmax(axis=1))),
        ece=figures.ece,
        uncertain_below=uncertain_threshold(after, split.labels, ANSWERED_RIGHT),
    )


def kernels_apart(model: bytes, images: Pixels) -> int:
    """Largest difference, in 256ths of probability, between XNNPACK's kernels and TensorFlow Lite's own on ``images`` (n, H, W) uint8."""
    answers = []
    for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        with silence_native_stderr():
            interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kernels)
            interpreter.allocate_tensors()
        (pixels,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
        scored = []
        for image in images:
            interpreter.set_tensor(pixels["index"], image[None, :, :, None])
            interpreter.invoke()
            scored.append(interpreter.get_tensor(scores["index"])[0].astype(int))
        answers.append(np.array(scored))
    with_xnnpack, without = answers
    return int(np.abs(with_xnnpack - without).max())


def check_gate(found: Comparison, gate: Gate) -> None:
    """Raises `ModelError` if the converted file lost more than the gate allows."""
    if found.loss_points > gate.max_loss_points:
        raise ModelError(
            f"accuracy fell by {found.loss_points:.2f} points ({100 * found.source_accuracy:.2f} % to {100 * found.accuracy:.2f} %), "
            f"at most {gate.max_loss_points:g} allowed; nothing was written. Train longer, or pass MAX_LOSS=…"
        )
    if found.agreement < gate.min_agreement:
        raise ModelError(
            f"the converted file agrees with its source on {100 * found.agreement:.1f} % of pictures, at least "
            f"{100 * gate.min_agreement:g} % required; nothing was written. Train longer, or pass ARGS=--min-agreement=…"
        )


def check_all_integer(model: bytes) -> None:
    """Raises `ModelError` with the name of the first floating-point operator of a flatbuffer."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # The XNNPACK delegate would replace the operators that are to be listed.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    kinds = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    for operator in interpreter._get_ops_details():
        used = [*operator["inputs"], *operator["outputs"]]
        if any(np.issubdtype(kinds[index], np.floating) for index in used if index in kinds):
            raise ModelError(f"operator {operator['op_name']} works in floating point: the model is not fully int8")
