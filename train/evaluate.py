"""``make evaluate``: what a Keras or TFLite model scores on a dataset; a TFLite file goes through edge's classifier."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgefer.errors import DataError, EdgeferError, ModelError
from edgefer.model.card import read_card
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.native_stderr import silence_native_stderr
from edgefer.pipeline.crop import crop_face
from edgefer.types import Box, Pixels, Scores
from train.data import FERPLUS_NAME, WHERE_TO_GET, Dataset, audit, ferplus_majority, find_ferplus, load, load_ferplus
from train.metrics import Classes, measure

Scorer = Callable[[Pixels], Scores]
"""Pictures (n, H, W) uint8 -> probabilities (n, K)."""


def scores_of(model: Path, images: Pixels) -> Scores:
    """Probabilities (n, K) of a ``.keras`` or ``.tflite`` file for pictures (n, H, W) uint8."""
    return open_scorer(model)(images)


def open_scorer(model: Path) -> Scorer:
    """A ``.keras`` file by Keras; a ``.tflite`` file as on the device: cut by `crop_face`, through `Classifier`."""
    if model.suffix == ".keras":
        with silence_native_stderr():
            import keras

        try:
            network = keras.models.load_model(model, compile=False)
        except Exception as error:  # Keras raises whatever its reader meets
            raise ModelError(f"{model}: Keras cannot load it: {str(error).splitlines()[0]}") from None
        return lambda images: np.asarray(network.predict(images[..., None], batch_size=256, verbose=0), np.float32)
    classifier = Classifier(model)
    spec = classifier.card.input

    def as_on_the_device(images: Pixels) -> Scores:
        whole = Box(0, 0, images.shape[2], images.shape[1])
        return classifier(np.stack([crop_face(image, whole, 0.0, spec.height_px, spec.width_px) for image in images]))

    return as_on_the_device


def views_of(data: Dataset, split: str, votes: npt.NDArray[np.float32] | None) -> dict[str, tuple[npt.NDArray[np.bool_], Classes]]:
    """What a model is held against: name -> (which pictures (n,) bool, the class of each (n,) int).

    All of a split; of validation also without the pictures that stand in training, and, given FER+ votes, by what
    most taggers said, over the pictures on which one of the classes leads.
    """
    of = data.splits[split]
    views = {split: (np.ones(len(of), bool), of.labels)}
    if split == "validation":
        views[f"{split} without repeats"] = audit(data).validation_unique, of.labels
    if votes is not None:
        theirs = ferplus_majority(of, votes, data.labels)
        views |= {f"{name}, FER+ majority": (mask & (theirs >= 0), theirs) for name, (mask, _) in list(views.items())}
    return views


def main(arguments: list[str] | None = None) -> None:
    """Print accuracy, macro-F1, ECE and recalls, with and without the pictures that also stand in training."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description=main.__doc__)
    parser.add_argument("model", help="a .keras or .tflite file, or one of edgefer's own models")
    parser.add_argument("data", help="FER2013: folder, zip or csv")
    parser.add_argument("--ferplus", help=f"FER+ votes, {FERPLUS_NAME} (default: the one beside the data, if any)")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
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
    votes_path = find_ferplus(Path(options.data), options.ferplus)
    votes = load_ferplus(votes_path) if votes_path else None
    scores = scores_of(path, data.splits[options.split].images)
    figures = {
        name: measure(scores[mask], truth[mask], card.labels) for name, (mask, truth) in views_of(data, options.split, votes).items()
    }
    if options.json:
        print(json.dumps({name: {**f.numbers(), "recall": f.recall} for name, f in figures.items()}, indent=1))
        return
    print(f"{path} ({card.quantization}) on {options.data}")
    wide = max(map(len, figures))
    print(f"{'':{wide}}  images  accuracy  macro-F1    ECE   recall " + " ".join(f"{label:>8}" for label in card.labels))
    for name, f in figures.items():
        recalls = " ".join(f"{100 * value:6.0f} %" for value in f.recall.values())
        print(f"{name:{wide}}  {f.images:6,}  {100 * f.accuracy:6.2f} %  {f.macro_f1:8.3f}  {f.ece:.3f}          {recalls}")
    if votes is None:
        print(f"with {FERPLUS_NAME} of microsoft/FERPlus beside the data, FER+'s majority is shown too")


if __name__ == "__main__":
    main()
