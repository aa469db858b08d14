"""The end of a run: the chosen weights become a ``.keras`` file with a card, with metrics and charts beside it."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import keras
import msgspec
import numpy as np
import numpy.typing as npt

from edgefer.files import draft_folder, replace_durably
from edgefer.model.card import Card, InputSpec, write_card
from edgefer.model.prior import shifted
from train.ask import Ask, asker
from train.data import SIZE_PX
from train.evaluate import scores_of
from train.fit import BEST, Epoch, best_epoch
from train.material import Material
from train.metrics import measure, temperature
from train.model import build, count_macs, for_training
from train.people import Judges
from train.plots import confusion, curves, mistakes
from train.recipe import Recipe

TAUS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""Values of a recipe's `prior.tau` for which the people score is printed."""

CROP_MARGIN = 0.0
"""FER2013's pictures are boxes of a face detector without a margin; see `edgefer.pipeline.crop.crop_square`."""


def finish(recipe: Recipe, material: Material, history: list[Epoch], provenance: dict[str, str], out: Path) -> Path:
    """Write ``metrics.json``, ``curves.png``, ``confusion.png``, ``mistakes.png`` and ``<name>.keras`` into ``out``, each whole.

    The recipe's prior and a temperature go into the last layer.
    """
    with draft_folder(out) as drafts:
        return _finish(recipe, material, history, provenance, out, drafts)


def _finish(recipe: Recipe, material: Material, history: list[Epoch], provenance: dict[str, str], out: Path, drafts: Path) -> Path:
    data, frequency, unique = material.data, material.frequency, material.found.validation_unique
    path = out / f"{recipe.name}.keras"
    model = build(recipe.model, len(recipe.labels))
    trained = for_training(build(recipe.model, len(recipe.labels)))
    trained.load_weights(out / BEST)
    model.set_weights(trained.get_weights())
    split = data.splits["validation"]
    answer = asker(model)
    raw = answer(split.images[unique][..., None])
    offsets = -recipe.prior.tau * np.log(frequency)
    assumed = frequency ** (1 - recipe.prior.tau)
    assumed = assumed / assumed.sum()
    by_tau = _people_by_tau(answer, material.judged_by, frequency) if material.judged_by else {}
    divisor = temperature(shifted(raw, np.exp(offsets)), split.labels[unique])
    _calibrate(model, offsets.astype(np.float32), divisor)
    part = drafts / path.name
    model.save(part)
    scores = scores_of(part, split.images)
    figures = measure(scores[unique], split.labels[unique], data.labels)
    everything = measure(scores, split.labels, data.labels)
    best = best_epoch(history, recipe.monitor)
    epoch_s = sorted(epoch["seconds"] for epoch in history)[len(history) // 2]
    macs, parameters = count_macs(model), model.count_params()
    card = Card(
        name=recipe.name,
        input=InputSpec(height_px=SIZE_PX, width_px=SIZE_PX),
        crop_margin=CROP_MARGIN,
        quantization="none",
        prior={label: round(float(share), 4) for label, share in zip(data.labels, assumed, strict=True)},
        metrics={
            "validation_accuracy": round(figures.accuracy, 4),
            "validation_accuracy_with_repeats": round(everything.accuracy, 4),
            "validation_macro_f1": round(figures.macro_f1, 4),
            "macs": sum(macs.values()),
            "parameters": parameters,
        },
        provenance=provenance,
        labels=data.labels,
    )
    with zipfile.ZipFile(part, "a") as archive:
        write_card(archive, card)
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    report = {
        "name": recipe.name,
        "epochs": len(history),
        "best_epoch": best + 1,
        "median_epoch_s": round(epoch_s, 1),
        "parameters": parameters,
        "macs": sum(macs.values()),
        "macs_by_layer": macs,
        "temperature": round(divisor, 3),
        "prior": card.prior,
        "people_by_tau": by_tau,
        "validation_without_repeats": {**figures.numbers(), "recall": figures.recall},
        "validation": {**everything.numbers(), "recall": everything.recall},
        "provenance": provenance,
        "recipe": msgspec.to_builtins(recipe),
        "ended": ended,
        "history": history,
    }
    (drafts / "metrics.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    title = f"{recipe.name}: {100 * figures.accuracy:.2f} % of {figures.images:,} validation images"
    curves(history, best, title, drafts / "curves.png")
    confusion(figures, data.labels, title, drafts / "confusion.png")
    mistakes(split.images[unique], scores[unique], split.labels[unique], data.labels, drafts / "mistakes.png")
    # The model last: once it exists, everything that 'publish' needs exists.
    for name in ("metrics.json", "curves.png", "confusion.png", "mistakes.png", path.name):
        replace_durably(drafts / name, out / name)
    print(
        f"{path}: validation accuracy {100 * figures.accuracy:.2f} % without repeats ({figures.images:,} images), "
        f"{100 * everything.accuracy:.2f} % with them ({everything.images:,}); macro-F1 {figures.macro_f1:.3f}; "
        f"{parameters / 1e6:.2f} M parameters, {sum(macs.values()) / 1e6:.1f} M MACs; median epoch {epoch_s:.0f} s"
    )
    for tau, score in by_tau.items():
        print(f"people score with tau {tau}: {100 * score:.2f} %" + (" (this recipe)" if float(tau) == recipe.prior.tau else ""))
    print(f"started {provenance.get('started', 'not known')}, ended {ended}, {len(history)} epochs")
    print(f"pictures: {out}/curves.png, confusion.png, mistakes.png\nnext: make convert MODEL={path}")
    return path


def _people_by_tau(answer: Ask, judged_by: Judges, frequency: npt.NDArray[np.float64]) -> dict[str, float]:
    """The people score, 0..1, under each tau that a recipe may choose."""
    answers = judged_by.answers(lambda images: answer(images[..., None]))
    return {f"{tau:g}": round(answers.through(partial(shifted, by=frequency**-tau)).people.score, 4) for tau in TAUS}


def _calibrate(model: keras.Model, offsets: npt.NDArray[np.float32], divisor: float) -> None:
    """Add the offsets to the logits and divide them by the temperature, inside the graph: every converted file has both."""
    last = model.get_layer("scores")
    kernel, bias = last.get_weights()
    last.set_weights([kernel / divisor, (bias + offsets) / divisor])
