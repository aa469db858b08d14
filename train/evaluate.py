"""``make evaluate``: scores of a Keras or TFLite model on a dataset; a TFLite file goes through edge's classifier."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgefer.errors import DataError, EdgeferError, ModelError
from edgefer.model.card import read_card
from edgefer.model.classifier import Classifier
from edgefer.model.prior import PRIORS, ratio, shifted
from edgefer.model.store import find_model
from edgefer.native_stderr import silence_native_stderr
from edgefer.pipeline.crop import crop_face
from edgefer.types import Box, Pixels, Scores
from train.data import FERPLUS_NAME, WHERE_TO_GET, Dataset, audit, ferplus_majority, find_beside, find_ferplus, load, load_ferplus
from train.metrics import Classes, measure
from train.people import CROSSET_NAME, People, Scorer, judges


def scores_of(model: Path, images: Pixels) -> Scores:
    """Probabilities (n, K) of a ``.keras`` or ``.tflite`` file for pictures (n, H, W) uint8."""
    return open_scorer(model)(images)


def open_scorer(model: Path, prior: str = "") -> Scorer:
    """A ``.keras`` file by Keras; a ``.tflite`` file as on the device: cut by `crop_face`, through `Classifier`.

    ``prior`` is a named prior of `edgefer.model.prior`; empty: the one that the model's card states.
    """
    if model.suffix == ".keras":
        with silence_native_stderr():
            import keras

            from train.ask import asker

        try:
            network = keras.models.load_model(model, compile=False)
        except Exception as error:  # a damaged file can raise nearly any exception
            raise ModelError(f"{model}: Keras cannot load it: {str(error).splitlines()[0]}") from None

        answer = asker(network)

        def by_keras(images: Pixels) -> Scores:
            return answer(images[..., None])

        if not prior:
            return by_keras
        card = read_card(model)
        by = ratio(prior, card.prior, card.labels, str(model))
        return lambda images: shifted(by_keras(images), by)
    classifier = Classifier(model, prior=prior)
    spec = classifier.card.input

    def as_on_the_device(images: Pixels) -> Scores:
        whole = Box(0, 0, images.shape[2], images.shape[1])
        return classifier(np.stack([crop_face(image, whole, 0.0, spec.height_px, spec.width_px) for image in images]))

    return as_on_the_device


def views_of(data: Dataset, split: str, votes: npt.NDArray[np.float32] | None) -> dict[str, tuple[npt.NDArray[np.bool_], Classes]]:
    """What a model is compared with: name -> (mask of pictures (n,) bool, class of each (n,) int).

    All pictures of a split; for validation also those that are not in training; with FER+ votes also the class that most taggers
    chose, over the pictures on which one class leads.
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
    """Print accuracy, macro-F1, ECE and recalls, with and without the pictures that are also in training, and the people score."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description=main.__doc__)
    parser.add_argument("model", help="a .keras or .tflite file, or one of edgefer's own models")
    parser.add_argument("data", help="FER2013: folder, zip or csv")
    parser.add_argument("--ferplus", help=f"FER+ votes, {FERPLUS_NAME} (default: the one beside the data, if any)")
    parser.add_argument("--crosset", help=f"faces of other collections, {CROSSET_NAME} (default: the one beside the data, if any)")
    parser.add_argument("--prior", default="", choices=("", "even", *PRIORS), help="answer for this class prior (default: the model's own)")
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
    scorer = open_scorer(path, options.prior)
    scores = scorer(data.splits[options.split].images)
    figures = {
        name: measure(scores[mask], truth[mask], card.labels) for name, (mask, truth) in views_of(data, options.split, votes).items()
    }
    crosset = find_beside(Path(options.data), CROSSET_NAME, options.crosset)
    judged = None
    if votes is not None and crosset and "validation" in data.splits:
        judged = judges(data, votes, crosset).answers(scorer).people
    if options.json:
        found: dict[str, object] = {name: {**f.numbers(), "recall": f.recall} for name, f in figures.items()}
        print(json.dumps(found | ({"people": judged.numbers()} if judged else {}), indent=1))
        return
    print(f"{path} ({card.quantization}) on {options.data}")
    wide = max(map(len, figures))
    print(f"{'':{wide}}  images  accuracy  macro-F1    ECE   recall " + " ".join(f"{label:>8}" for label in card.labels))
    for name, f in figures.items():
        recalls = " ".join(f"{100 * value:6.0f} %" for value in f.recall.values())
        print(f"{name:{wide}}  {f.images:6,}  {100 * f.accuracy:6.2f} %  {f.macro_f1:8.3f}  {f.ece:.3f}          {recalls}")
    if votes is None:
        print(f"with {FERPLUS_NAME} of microsoft/FERPlus beside the data, scores against FER+'s majority are printed too")
    print(_people_line(judged) if judged else f"the people score needs {FERPLUS_NAME} and {CROSSET_NAME} (--ferplus, --crosset)")


def _people_line(found: People) -> str:
    sets = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.sets.items())
    return (
        f"people score {100 * found.score:.2f} % (standard error {100 * found.standard_error:.2f}): "
        f"validation {100 * found.original:.2f} %, FER+ majority (mean recall) {100 * found.ferplus:.2f} % "
        f"(accuracy {100 * found.ferplus_accuracy:.2f} %), "
        f"other collections (mean recall) {100 * found.cross:.2f} %: {sets}"
    )


if __name__ == "__main__":
    main()
