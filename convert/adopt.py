"""Models that somebody else trained: asked about, converted, compared and given a card."""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import tempfile
import zipfile
from pathlib import Path

import msgspec
import numpy as np

from convert import foreign_tflite
from convert.foreign import HDF5, Foreign, labels_of, look_at, wrapped
from convert.material import drawn_faces, enlarged, read_for
from convert.quantize import quantize
from convert.validate import Comparison, check_all_integer, check_gate, compare_scores
from edgefer.errors import ModelError
from edgefer.files import write_atomic
from edgefer.model.card import ADOPTED, CARD, Card, InputSpec, attach_card
from edgefer.model.classifier import KERAS_SUFFIXES
from edgefer.types import Pixels, Scores
from train.data import Split, audit
from train.evaluate import scores_of
from train.recipe import Gate
from train.versions import installed

OTHERS = {
    ".pb": "a frozen graph; save the model as a SavedModel folder or a .keras file",
    ".onnx": "an ONNX file; convert it to a SavedModel or a TFLite file first (onnx2tf)",
    ".pt": "a PyTorch file; export it to TFLite first (ai-edge-torch, or ONNX and onnx2tf)",
    ".pth": "a PyTorch file; export it to TFLite first (ai-edge-torch, or ONNX and onnx2tf)",
    ".json": "a network without weights; save both: model.save('model.keras')",
}
_CALIBRATIONS, _SMALL_LOSS_POINTS = (500, 100), 0.3
"""Pictures to calibrate with, and the loss of accuracy from which the second number is tried too."""
_UNCERTAIN_BELOW = 0.35
"""Without pictures to choose it by: the default of a card."""


def is_foreign(path: Path) -> bool:
    """Whether a model is a Keras file, SavedModel or TFLite file without edgefer's card; raises `ModelError` for what it cannot be."""
    if path.suffix.lower() in OTHERS:
        raise ModelError(f"{path}: {OTHERS[path.suffix.lower()]}")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ModelError(
                f"{path}: a folder without saved_model.pb: no SavedModel; give a .keras, .h5 or .tflite file, or the SavedModel's folder"
            )
        return True
    if not path.is_file():
        raise ModelError(f"{path}: no such file; a .keras, .h5 or .tflite file, or the folder of a SavedModel is expected")
    if path.suffix.lower() not in (*KERAS_SUFFIXES, ".tflite"):
        raise ModelError(f"{path}: no .keras, .h5 or .tflite file and no SavedModel folder; save the model as one of these")
    with path.open("rb") as file:
        begin = file.read(8)
    if not begin or (path.suffix == ".keras" and not zipfile.is_zipfile(path) and begin != HDF5):
        raise ModelError(f"{path}: {'truncated or damaged' if begin else 'the file is empty'}; get it again, or save the model again")
    try:
        with zipfile.ZipFile(path) as archive:
            return CARD not in archive.namelist()
    except zipfile.BadZipFile:
        return True


def adopt(source: Path, options: argparse.Namespace) -> None:
    """Give a foreign model what it lacks, convert and compare it, and write it with its card."""
    tflite = source.suffix.lower() == ".tflite"
    content = source.read_bytes() if tflite else b""
    foreign = foreign_tflite.look_at(source, content) if tflite else look_at(source)
    print(f"{source}: {'a TFLite file' if tflite else 'a Keras network'} of {foreign}", flush=True)
    labels, foreign = _asked(source, foreign, options)
    crop = 0.0 if options.crop is None else options.crop
    if not -0.4 <= crop <= 2:
        raise ModelError(f"CROP={crop:g}: a margin of -0.4 to 2, as a share of the face's box, is expected")
    recipe = foreign.quantization if tflite else options.recipe
    out = Path(options.out) if options.out else source.with_name(f"{source.stem}-{'adopted' if tflite else recipe}.tflite")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ModelError(f"{out}: {'is a folder' if out.is_dir() else 'its folder does not exist'}; choose another OUT")
    train, validation = _pictures(options.data, labels, foreign)
    card = Card(
        name=source.stem,
        input=_input(foreign, tflite),
        crop_margin=crop,
        quantization=recipe,
        uncertain_below=_UNCERTAIN_BELOW,
        provenance=_provenance(source, foreign),
        labels=labels,
    )
    if tflite:
        model = foreign_tflite.with_probabilities(content)
        answers = _answers(model, card, validation.images)
        found = compare_scores(answers, answers, validation, labels)
    else:
        print(f"converting with recipe {recipe} …", flush=True)
        model, found, judged = _quantized(card, foreign, train, validation, bool(options.data))
        check_gate(judged, _gate(options))
    print(_compared(found, recipe, bool(options.data), None if tflite else "Keras"))
    if options.data:
        card = msgspec.structs.replace(card, metrics=_metrics(found, recipe), uncertain_below=found.uncertain_below)
    write_atomic(out, attach_card(model, card), "OUT=")
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB, adopted\nnext: edgefer run --model {shlex.quote(str(out))}")


def _input(foreign: Foreign, tflite: bool) -> InputSpec:
    """A converted file reads raw luma; a TFLite file stays as it is, and the device gives it what it wants."""
    if not tflite:
        return InputSpec(foreign.height_px, foreign.width_px)
    return InputSpec(foreign.height_px, foreign.width_px, 1 if foreign.channels == 1 else 3, foreign.black, foreign.white)


def _quantized(card: Card, foreign: Foreign, train: Split, validation: Split, real: bool) -> tuple[bytes, Comparison, Comparison]:
    """The converted network, its comparison with its source on ``validation``, and on more pictures where these are few.

    An int8 file that loses more than `_SMALL_LOSS_POINTS` is calibrated on fewer pictures too; the better one is kept.
    """
    calibration = train.images[np.random.default_rng(2013).permutation(len(train))]
    many, few = enlarged(validation, train) if real else validation, len(validation)
    wanted = _source_answers(foreign, many.images)
    tried: list[tuple[float, bytes, Comparison, Comparison]] = []
    for pictures in _CALIBRATIONS if card.quantization == "int8" else _CALIBRATIONS[:1]:
        model = quantize(Path(foreign.path), card.quantization, calibration[:pictures], foreign)
        if card.quantization == "int8":
            check_all_integer(model)
        answers = _answers(model, card, many.images)
        found = compare_scores(wanted[:few], answers[:few], validation, card.labels)  # the first of many
        judged = compare_scores(wanted, answers, many, card.labels)
        tried.append((found.accuracy if real else found.agreement, model, found, judged))
        if found.agreement >= 0.99 or (real and found.loss_points <= _SMALL_LOSS_POINTS):
            break
    return max(tried, key=lambda one: one[0])[1:]


def _answers(model: bytes, card: Card, images: Pixels) -> Scores:
    """Probabilities (n, K) of a file as on the device."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adopted.tflite"
        path.write_bytes(attach_card(model, card))
        return scores_of(path, images)


def _metrics(found: Comparison, recipe: str) -> dict[str, float]:
    figures = {"accuracy": found.accuracy, "macro_f1": found.macro_f1, "ece": found.ece, "agreement": found.agreement}
    named = {f"{recipe}_{name}": value for name, value in figures.items()} | {"validation_accuracy": found.source_accuracy}
    return {name: round(value, 4) for name, value in named.items()}


def _asked(source: Path, foreign: Foreign, options: argparse.Namespace) -> tuple[tuple[str, ...], Foreign]:
    """The labels, and the model with its scale; raises `ModelError` with one question for everything that is missing."""
    questions = []
    if not options.labels:
        questions.append(f"LABELS=angry,disgust,… ({foreign.classes} names in the order of its outputs, or a text file)")
    if not options.scale and not foreign.raw:
        questions.append("SCALE=0..1 or -1..1 or 0..255 (what its pixels were in training: x/255 gives 0..1, x/127.5-1 gives -1..1)")
    if questions:
        if options.crop is None:
            questions.append("CROP=0 (default: pictures cut at the face's box, as FER2013) or 0.2 (with hair and chin)")
        raise ModelError(f"{source}: what it does not say of itself: {'; '.join(questions)}")
    labels = labels_of(options.labels, foreign.classes)
    if not options.scale:
        return labels, foreign
    match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)\s*", options.scale)
    if not match or float(match[1]) == float(match[2]):
        raise ModelError(f"SCALE={options.scale}: 0..1, -1..1 or 0..255 is expected: what the network reads for black and for white")
    black, white = float(match[1]), float(match[2])
    if foreign.raw and (black, white) != (foreign.black, foreign.white):
        print(f"SCALE={options.scale} is taken, although the file itself shows {foreign.black:g}..{foreign.white:g}")
    return labels, msgspec.structs.replace(foreign, black=black, white=white)


def _pictures(data: str | None, labels: tuple[str, ...], foreign: Foreign) -> tuple[Split, Split]:
    """Pictures to calibrate with and to compare on; drawn faces where there is no dataset."""
    if data:
        found = read_for(Path(data), labels, foreign.height_px, foreign.width_px)
        unique = audit(found).validation_unique
        return found.splits["train"], found.splits["validation"].keep(unique)
    print("no DATA: calibrated and compared on drawn faces; DATA=fer2013.zip, or your folder by class, shows what it is worth on real ones")
    images = drawn_faces(foreign.height_px, foreign.width_px)
    drawn = Split(images, np.zeros(len(images), np.int64), np.full(len(images), -1), ("",) * len(images))
    return drawn, drawn


def _source_answers(foreign: Foreign, images: Pixels) -> Scores:
    """Probabilities (n, K) of the network as it was trained."""
    return np.asarray(wrapped(foreign, batch=None).predict(images[..., None], batch_size=64, verbose=0), np.float32)


def _compared(found: Comparison, recipe: str, real: bool, source: str | None) -> str:
    same = f", same answer on {100 * found.agreement:.1f} %" if source else ""
    if not real:
        return f"{found.images:,} drawn faces{same or ': it answers'}"
    before = f"{source} {100 * found.source_accuracy:.2f} %, " if source else ""
    lost = f" ({-found.loss_points:+.2f} points)" if source else ""
    return (
        f"{found.images:,} validation images: {before}{recipe} {100 * found.accuracy:.2f} %{lost}{same}; ECE {found.ece:.3f}, "
        f"uncertain below {found.uncertain_below:.2f}"
    )


def _gate(options: argparse.Namespace) -> Gate:
    """What the conversion may lose; of drawn faces only the agreement counts, and less of it: they are all alike."""
    loss = options.max_loss if options.max_loss is not None else (2.0 if options.data else 100.0)
    agreement = options.min_agreement if options.min_agreement is not None else (0.85 if options.data else 0.7)
    return Gate(max_loss_points=loss, min_agreement=agreement, reason="")


def _provenance(source: Path, foreign: Foreign) -> dict[str, str]:
    file = source / "saved_model.pb" if source.is_dir() else source
    return {
        "provenance": ADOPTED,
        "from": source.name,
        "from_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "read_as": f"{foreign.black:g}..{foreign.white:g}",
        **({"colour": "luma three times"} if foreign.channels == 3 else {}),
        **{f"convert {package}": number for package, number in installed("tensorflow-cpu", "tensorflow", "ai-edge-litert").items()},
    }
