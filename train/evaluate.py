"""``make evaluate``: what a Keras or TFLite model scores on a dataset; a TFLite file goes through edge's classifier."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from edge.card import read_card
from edge.classify import Classifier
from edge.crop import crop_face
from edge.errors import DataError, EdgeferError, ModelError
from edge.quiet import quiet_native
from edge.store import find_model
from edge.types import Box, Pixels, Scores
from train.data import WHERE_TO_GET, audit, load
from train.metrics import measure


def scores_of(model: Path, images: Pixels) -> Scores:
    """Probabilities (n, K) of a ``.keras`` or ``.tflite`` file for pictures (n, H, W) uint8.

    A TFLite file sees them as on the device: cut by `crop_face`, through `Classifier`.
    """
    if model.suffix == ".keras":
        with quiet_native():
            import keras

        try:
            network = keras.models.load_model(model, compile=False)
        except Exception as error:  # Keras raises whatever its reader meets
            raise ModelError(f"{model}: Keras cannot load it: {str(error).splitlines()[0]}") from None
        return np.asarray(network.predict(images[..., None], batch_size=256, verbose=0), np.float32)
    classifier = Classifier(model)
    height, width = images.shape[1:]
    spec, whole = classifier.card.input, Box(0, 0, width, height)
    crops = [crop_face(image, whole, 0.0, spec.height_px, spec.width_px) for image in images]
    return classifier(np.stack(crops))


def main() -> None:
    """Print accuracy, macro-F1, ECE and recalls, with and without the pictures that also stand in training."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description=main.__doc__)
    parser.add_argument("model", help="a .keras or .tflite file, or one of edgefer's own models")
    parser.add_argument("data", help="FER2013: folder, zip or csv")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    try:
        _evaluate(options)
    except EdgeferError as error:
        raise SystemExit(f"evaluate: {error}") from None


def _evaluate(options: argparse.Namespace) -> None:
    path = find_model(options.model)
    if not options.data:
        raise DataError(f"which dataset? {WHERE_TO_GET}")
    card = read_card(path)
    data = load(Path(options.data), card.labels)
    if options.split not in data.splits:
        raise DataError(f"{options.data}: no {options.split} split; there are {', '.join(data.splits)}")
    split = data.splits[options.split]
    scores = scores_of(path, split.images)
    views = {options.split: np.ones(len(split), bool)}
    if options.split == "validation":
        views["validation without repeats"] = audit(data).validation_unique
    figures = {name: measure(scores[mask], split.labels[mask], card.labels) for name, mask in views.items()}
    if options.json:
        print(json.dumps({name: {**f.numbers(), "recall": f.recall} for name, f in figures.items()}, indent=1))
        return
    print(f"{path} ({card.quantization}) on {options.data}")
    for name, f in figures.items():
        print(f"{name:28}{f.images:>6} images  accuracy {100 * f.accuracy:5.2f} %  macro-F1 {f.macro_f1:.3f}  ECE {f.ece:.3f}")
    last = figures[name]
    print("recall  " + "  ".join(f"{label} {100 * value:.0f} %" for label, value in last.recall.items()))


if __name__ == "__main__":
    main()
