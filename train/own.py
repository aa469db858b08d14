"""``python -m train own``: a folder of pictures by class in, a model of these classes out, with honest figures."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import msgspec
import numpy as np
import numpy.typing as npt

from edgefer.errors import DataError, EdgeferError, ModelError, SettingsError
from edgefer.files import draft_folder, replace_durably
from edgefer.model.card import Card, InputSpec, read_card, write_card
from edgefer.native_stderr import silence_native_stderr
from edgefer.types import Pixels
from train.data import SIZE_PX
from train.folder import Folder, Picture, read_folder
from train.metrics import Classes, Figures, measure, temperature
from train.near_copies import held_back, near_copies
from train.own_report import alike, counts, sheet, shipped_answers, warnings_of
from train.plots import use_font_for
from train.recipe import MODELS, Gate
from train.versions import installed

if TYPE_CHECKING:
    import keras

    from train.head import Estimate

SEED = 2013
FACES = "faces.npz"
"""The crops that a model was made from, beside it: `convert` calibrates and compares with them."""
_SHOWN = 5
"""Pictures with two labels that are named."""
_PARTS = 5
"""Parts of a class whose pictures are all near copies: one of them is held back."""
_TEMPERATURES = (0.8, 3.0)
"""A few pictures cannot show a temperature beyond these."""


@dataclass(frozen=True, slots=True)
class Made:
    """A finished network, and what it answers about the pictures that were held back."""

    model: keras.Model
    how: str
    """"thawed" or "frozen"."""
    figures: Figures
    scores: npt.NDArray[np.float32]
    estimate: Estimate | None


def main(arguments: list[str] | None = None) -> None:
    """Make a model of your own classes: DATA is a folder with one subfolder of pictures, or a clip, for each class."""
    parser = argparse.ArgumentParser(prog="python -m train own", description=main.__doc__)
    parser.add_argument("folder", nargs="?", default="", help="the folder of pictures by class")
    parser.add_argument("--data", default="", help="the same")
    parser.add_argument("--out", help="folder of the run (default: runs/<name of the folder>)")
    parser.add_argument("--start", default="small", help="the network to begin with: small, nano or a .keras file (default: small)")
    parser.add_argument("--steps", type=int, help="steps of training its later layers; 0: none (default: by the number of pictures)")
    parser.add_argument("--seed", type=int, default=SEED, help="another number gives another split")
    options = parser.parse_args(arguments)
    try:
        _own(Path(_asked(options.folder or options.data)).resolve(), options)
    except EdgeferError as error:
        raise SystemExit(f"own: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nown: stopped; nothing was written but the sheet of pictures") from None


def _asked(folder: str) -> str:
    if not folder:
        raise DataError(
            "which pictures? make own DATA=folder, with one subfolder of pictures for each class: folder/wink, folder/neutral, …"
        )
    return folder


def _own(root: Path, options: argparse.Namespace) -> None:
    begun = datetime.now(UTC)
    out = Path(options.out) if options.out else Path("runs") / root.name
    start = _start(options.start)
    _make_folder(out)
    folder = _without_empty(read_folder(root, SIZE_PX, _say))
    copies = near_copies(folder.images, folder.classes, [picture.part for picture in folder.pictures])
    contradictions = [f"{folder.pictures[one].name} and {folder.pictures[other].name}" for one, other in copies.contradictions]
    groups = _divided(copies.groups, folder.classes)
    held = _held(folder, groups, options.seed)
    folder, groups, held = _without_crossing(folder, groups, held)
    if not held.any():
        raise DataError(f"{root}: too few different pictures to check a model with; 5 different ones of each class at least, 100 are good")
    _say("\n".join((f"{root}: {len(folder.pictures):,} faces of {len(folder.labels)} classes", *counts(folder), *folder.notes)))
    like_others = len(groups) - len(np.unique(groups))
    _say(f"{like_others:,} are near copies of another, and stand on its side. {int(held.sum()):,} are held back to check the model")
    twice = [f"{pair}: one picture in two classes; one label is wrong" for pair in contradictions[:_SHOWN]]
    for line in (*warnings_of(folder, groups), *twice):
        _say(f"warning: {line}")
    images, classes = folder.images, folder.classes
    use_font_for("".join(sorted({letter for label in folder.labels for letter in label})))
    sheet(_plain(images), classes, held, folder.labels, out / "sheet.png")
    _say(f"what it learns from: {out / 'sheet.png'}")
    with silence_native_stderr():
        import keras

        from train import own_network
    keras.utils.set_random_seed(options.seed)
    made = _make(own_network.load_start(start), folder, groups, held, options.seed, options.steps)
    _describe(made, folder, held)
    path = _write(made, folder, held, start, out, begun, options.seed)
    _say(f"{path}: {(datetime.now(UTC) - begun).total_seconds():.0f} s so far; converting")
    if subprocess.run([sys.executable, "-m", "convert", str(path)], check=False).returncode:
        raise ModelError(f"{path}: the model is there, its conversion failed; 'make convert MODEL={path}' tries again")


def _say(line: str) -> None:
    print(line, flush=True)


def _start(name: str) -> Path:
    path = Path(name) if name.endswith(".keras") else MODELS / name / f"{name}.keras"
    if not path.is_file():
        raise SettingsError(f"--start {name}: no such network; small, nano, or the path of a .keras file that 'make train' wrote")
    found = read_card(path).input
    if (found.height_px, found.width_px) != (SIZE_PX, SIZE_PX):
        raise SettingsError(f"--start {name}: reads {found.width_px}x{found.height_px} pixels; a network of {SIZE_PX}x{SIZE_PX} is needed")
    return path


def _make_folder(out: Path) -> None:
    """Raises `SettingsError` where a run of ``make train`` is there, or no folder can be made."""
    if (out / "checkpoint.keras").exists():
        raise SettingsError(f"{out}: holds a run of 'make train'; choose another OUT")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{out}: cannot keep a run there: {error.strerror}; choose another OUT") from None


def _without_empty(folder: Folder) -> Folder:
    """The folder without classes that have no picture, which is warned of."""
    labels = tuple(label for label in folder.labels if any(picture.label == label for picture in folder.pictures))
    for label in folder.labels:
        if label not in labels:
            _say(f"warning: {label}: no picture with a face; the model will not have this class")
    if len(labels) < 2:
        raise DataError(f"{folder.path}: only {', '.join(labels)} has pictures with a face; two or more classes are needed")
    return Folder(folder.path, labels, folder.pictures, folder.notes)


def _divided(groups: Classes, classes: Classes) -> Classes:
    """The groups; a class that is a single one is divided by the order of its pictures, so that some can be held back."""
    groups = groups.copy()
    for index in np.unique(classes):
        mine = np.flatnonzero(classes == index)
        if len(np.unique(groups[mine])) == 1 and len(mine) > 1:
            groups[mine] = groups.max() + 1 + np.arange(len(mine)) * _PARTS // len(mine)
    return groups


def _held(folder: Folder, groups: Classes, seed: int) -> npt.NDArray[np.bool_]:
    """Which pictures are held back: the folder's own split, else a fifth, by group and class."""
    if any(picture.split for picture in folder.pictures):
        return np.array([picture.split == "validation" for picture in folder.pictures])
    return held_back(groups, folder.classes, seed)


def _without_crossing(folder: Folder, groups: Classes, held: npt.NDArray[np.bool_]) -> tuple[Folder, Classes, npt.NDArray[np.bool_]]:
    """Of a given split: without the training pictures that are near copies of pictures held back; every class has some to learn from."""
    kept = held | ~np.isin(groups, groups[held])
    for index, label in enumerate(folder.labels):
        if not (kept & ~held & (folder.classes == index)).any():
            held = held & (folder.classes != index)
            kept = kept | (folder.classes == index)
            _say(f"warning: {label}: too few different pictures to hold some back; it is not checked")
    pictures: tuple[Picture, ...] = tuple(picture for picture, keep in zip(folder.pictures, kept, strict=True) if keep)
    left_out = len(kept) - len(pictures)
    notes = (*folder.notes, *([f"left out, near copies of pictures held back: {left_out:,}"] if left_out else []))
    return Folder(folder.path, folder.labels, pictures, notes), groups[kept], held[kept]


def _make(network: keras.Model, folder: Folder, groups: Classes, held: npt.NDArray[np.bool_], seed: int, steps: int | None) -> Made:
    """Fit the last layer, estimate its worth, thaw; of the two networks the one that does better on the pictures held back."""
    from train import own_network
    from train.ask import asker
    from train.head import cross_validate, fit_head
    from train.pipeline import middle

    images, classes, labels = folder.images, folder.classes, folder.labels
    recipe, count = own_network.how_to_vary(seed), len(labels)
    _say(f"features of {len(images):,} pictures …")
    features = own_network.features_of(network, images, recipe)
    estimate = cross_validate(features, classes, groups, count, seed)
    head = fit_head(features[:, ~held], classes[~held], count)
    model = own_network.with_head(network, head, "own")
    truth, how = classes[held], "frozen"
    scores = head(features[0, held])
    steps = own_network.steps_for(int((~held).sum())) if steps is None else steps
    before = model.get_weights()
    if steps:
        _say(f"training its later layers: {steps} steps …")
        own_network.thaw(model, images[~held], classes[~held], recipe, steps, _say)
    if held.any():
        after = asker(model)(middle(images[held])[..., None])
        if own_network.loss_of(after, truth, count) < own_network.loss_of(scores, truth, count):
            scores, how = after, "thawed"
        else:
            model.set_weights(before)
        divisor = float(np.clip(temperature(scores, truth), *_TEMPERATURES))
        own_network.sharpen(model, divisor)
        scores = _tempered(scores, divisor)
    return Made(model, how, measure(scores, truth, labels), scores, estimate)


def _plain(images: Pixels) -> Pixels:
    """Pictures without their rim."""
    rim = (images.shape[1] - SIZE_PX) // 2
    return images[:, rim:-rim, rim:-rim]


def _tempered(scores: npt.NDArray[np.float32], divisor: float) -> npt.NDArray[np.float32]:
    likely = np.maximum(scores, 1e-7) ** (1 / divisor)
    return np.asarray(likely / likely.sum(axis=1, keepdims=True), np.float32)


def _describe(made: Made, folder: Folder, held: npt.NDArray[np.bool_]) -> None:
    """Print what the model is worth."""
    figures, estimate = made.figures, made.estimate
    kept = "its later layers trained too" if made.how == "thawed" else "its layers as they were: training them gained nothing"
    if estimate:
        _say(
            f"cross-validation (5 times {estimate.folds} parts, the network frozen): {100 * estimate.accuracy:.0f} % right, "
            f"95 % interval {100 * estimate.low:.0f} to {100 * estimate.high:.0f} %; chance is {100 / len(folder.labels):.0f} %"
        )
    if figures.images:
        _say(f"the {figures.images} pictures held back: {100 * figures.accuracy:.0f} % right ({kept})")
        for label, recall in figures.recall.items():
            number = int(figures.confusion[folder.labels.index(label)].sum())
            _say(f"  {label}: " + (f"{100 * recall:.0f} % of {number}" if number else "none to check it with"))
    for line in (*(alike(estimate, folder.classes, folder.labels) if estimate else []), *shipped_answers(folder, held, made.scores)):
        _say(line)


def _write(made: Made, folder: Folder, held: npt.NDArray[np.bool_], start: Path, out: Path, begun: datetime, seed: int) -> Path:
    """The model with its card, its figures and pictures, and the crops it was made from, each whole, into ``out``."""
    from train.model import count_macs
    from train.plots import confusion, mistakes

    name, labels, figures = folder.path.name, folder.labels, made.figures
    path = out / f"{name}.keras"
    images, classes = folder.images, folder.classes
    plain = _plain(images)
    card = Card(
        name=name,
        input=InputSpec(height_px=SIZE_PX, width_px=SIZE_PX),
        crop_margin=read_card(start).crop_margin,
        quantization="none",
        prior={label: round(1 / len(labels), 4) for label in labels},
        metrics=_numbers(made) | {"macs": sum(count_macs(made.model).values()), "parameters": made.model.count_params()},
        provenance={
            "made_by": "make own",
            "start": start.stem,
            "start_sha256": hashlib.sha256(start.read_bytes()).hexdigest(),
            "layers": made.how,
            "pictures": str(len(classes)),
            "images_sha256": hashlib.sha256(images.tobytes() + classes.tobytes()).hexdigest(),
            "seed": str(seed),
            "started": begun.isoformat(timespec="seconds"),
            **installed("edgefer", "keras", "tensorflow-cpu", "tensorflow", "numpy"),
        },
        labels=labels,
    )
    report: dict[str, Any] = {
        "name": name,
        "labels": labels,
        "pictures": dict(zip(labels, map(int, np.bincount(classes, minlength=len(labels))), strict=True)),
        "held_back": {**figures.numbers(), "recall": figures.recall, "confusion": figures.confusion.tolist()},
        "metrics": card.metrics,
        "provenance": card.provenance,
    }
    run = {"data": str((out / FACES).resolve()), "gate": msgspec.to_builtins(Gate(max_loss_points=1.0, min_agreement=0.9, reason=""))}
    with draft_folder(out) as drafts:
        made.model.save(drafts / path.name)
        with zipfile.ZipFile(drafts / path.name, "a") as archive:
            write_card(archive, card)
        (drafts / "metrics.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (drafts / "run.json").write_text(json.dumps(run), encoding="utf-8")
        np.savez_compressed(drafts / FACES, images=plain, classes=classes, held=held, labels=np.array(labels))
        title = f"{name}: {100 * figures.accuracy:.0f} % of {figures.images} pictures held back"
        confusion(figures, labels, title, drafts / "confusion.png")
        mistakes(plain[held], made.scores, classes[held], labels, drafts / "mistakes.png")
        for file in ("metrics.json", "run.json", FACES, "confusion.png", "mistakes.png", path.name):
            replace_durably(drafts / file, out / file)
    _say(f"pictures: {out}/confusion.png, mistakes.png (its worst mistakes), sheet.png; your faces stay in {out}, the model holds none")
    return path


def _numbers(made: Made) -> dict[str, float]:
    found = {"validation_accuracy": made.figures.accuracy, "validation_macro_f1": made.figures.macro_f1}
    if made.estimate:
        found |= {
            "cross_validation": made.estimate.accuracy,
            "cross_validation_low": made.estimate.low,
            "cross_validation_high": made.estimate.high,
        }
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    main()
