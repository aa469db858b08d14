"""Facts about a model file, for ``edgefer show``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgefer.model.card import Card, read_model, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model

Facts = dict[str, object]


def describe(name_or_path: str) -> Facts:
    """Path, sha256, size in bytes, labels, input, metrics and provenance of a ``.tflite`` or ``.keras`` file.

    A ``.tflite`` is opened and checked as the daemon does; raises `ModelError` where it is refused.
    """
    path = find_model(name_or_path)
    if path.suffix == ".keras":
        content = read_model(path)
        card = split_card(content, str(path))[1]
        shape = [1, card.input.height_px, card.input.width_px, card.input.channels]
        tensor: Facts = {"shape": shape, "dtype": "float32", "quantization": None}
        return _facts(path, hashlib.sha256(content).hexdigest(), len(content), card, tensor)
    return facts_of(Classifier(path))


def card_of(name_or_path: str) -> Card:
    """The card of a ``.tflite`` or ``.keras`` file; raises `ModelError` where there is none."""
    path = find_model(name_or_path)
    return split_card(read_model(path), str(path))[1]


def facts_of(classifier: Classifier) -> Facts:
    """The same facts about an open model."""
    scale, zero_point = classifier.input["quantization"]
    tensor = {
        "shape": [int(side) for side in classifier.input["shape"]],
        "dtype": np.dtype(classifier.input["dtype"]).name,
        "quantization": {"scale": float(scale), "zero_point": int(zero_point)} if scale else None,
    }
    return _facts(classifier.path, classifier.sha256, classifier.size_bytes, classifier.card, tensor)


def _facts(path: Path, sha256: str, size_bytes: int, card: Card, tensor: Facts) -> Facts:
    return {
        "name": card.name,
        "path": str(path),
        "sha256": sha256,
        "size": size_bytes,
        "labels": list(card.labels),
        "input": tensor,
        "crop_margin": card.crop_margin,
        "quantization": card.quantization,
        "uncertain_below": card.uncertain_below,
        "prior": card.prior,
        "metrics": card.metrics,
        "provenance": card.provenance,
    }
