"""``python -m convert.publish``: a finished run into ``models/<name>``, with its figures, pictures and model card."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jinja2
import msgspec
import numpy as np
import numpy.typing as npt

from convert.__main__ import data_path
from edgefer.errors import DataError, EdgeferError, ModelError, SettingsError
from edgefer.files import draft_folder, write_atomic
from edgefer.model.card import read_card
from edgefer.model.golden import write_golden
from edgefer.model.prior import PRIORS
from edgefer.model.store import SUMS
from train.data import FERPLUS_NAME, Dataset, ferplus_majority, find_beside, find_ferplus, load, load_ferplus
from train.evaluate import open_scorer, scores_of, views_of
from train.metrics import Classes, measure
from train.people import CROSSET_NAME, Judges, judges
from train.plots import confusion, coverage, reliability_diagram, robustness_chart
from train.recipe import MODELS, load_recipe
from train.robustness import robustness

TEMPLATES = Path(__file__).parent / "templates"
METRICS, CURVES = "metrics.json", "curves.png"
BASELINE = "report"
SHIPPED = ("-int8.tflite", "-float16.tflite", ".keras")
"""Files of a run to publish; only the int8 file and the ``.keras`` file are required."""

UNIQUE = "validation without repeats"

Metrics = dict[str, Any]
Views = Mapping[str, tuple[npt.NDArray[np.bool_], Classes]]


def main(arguments: list[str] | None = None) -> None:
    """Publish a trained and converted model: measure every file; write charts, the card, the comparison and the digests."""
    parser = argparse.ArgumentParser(prog="python -m convert.publish", description=main.__doc__)
    parser.add_argument("run", help="the folder 'make train' and 'make convert' wrote, such as runs/small")
    parser.add_argument("--data", help="FER2013 (default: what the model was trained on)")
    parser.add_argument("--models", default=str(MODELS), help="folder of published models (default: models/ of this checkout)")
    parser.add_argument("--replace", action="store_true", help="replace a published model of the same name")
    options = parser.parse_args(arguments)
    try:
        _publish(Path(options.run), options.data, Path(options.models), options.replace)
    except EdgeferError as error:
        raise SystemExit(f"publish: {error}") from None


def _publish(run: Path, asked_data: str | None, models: Path, replace: bool) -> None:
    name = run.name
    files = {suffix: run / f"{name}{suffix}" for suffix in SHIPPED}
    for path in (files[".keras"], files["-int8.tflite"], run / METRICS, run / CURVES):
        if not path.is_file():
            raise ModelError(f"{path}: missing; run make train RECIPE={name}, then make convert MODEL={files['.keras']}")
    home = models / name
    if home.exists() and not replace:
        raise ModelError(f"{home}: published already; pass ARGS=--replace to replace it with this run")
    card = read_card(files["-int8.tflite"])
    source = data_path(asked_data, files[".keras"])
    data = load(source, card.labels)
    votes_path = find_ferplus(source)
    if votes_path is None:
        raise DataError(f"{source}: no {FERPLUS_NAME} beside it; the model card gives FER+'s agreement: get it from microsoft/FERPlus")
    votes = load_ferplus(votes_path)
    views = views_of(data, "validation", votes)
    models.mkdir(parents=True, exist_ok=True)
    crosset = find_beside(source, CROSSET_NAME)
    judged_by = judges(data, votes, crosset) if crosset else None
    # Everything is made in a draft folder, which replaces the published one as a whole.
    with draft_folder(models) as folder:
        part = folder / name
        part.mkdir()
        described = {path.name: _measure(path, part, data, views, judged_by) for path in files.values() if path.is_file()}
        shutil.copy(run / CURVES, part)
        figures: Metrics = {**json.loads((run / METRICS).read_text(encoding="utf-8")), "uncertain_below": card.uncertain_below}
        figures["files"] = described
        (part / METRICS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        agreement = _agreement(data, votes)
        _describe(part, figures, _baseline(models, name), agreement)
        os.sync()  # on the disk before the rename
        _swap(part, home)
    found = {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in models.glob(f"[!.]*/{METRICS}")}
    cards = {folder: metrics for folder, metrics in found.items() if "files" in metrics}  # models published by hand have none
    if name == BASELINE:
        for other in cards.keys() - {home}:
            _describe(other, cards[other], _baseline(models, other.name), agreement)
    published = sorted(cards.values(), key=lambda metrics: -metrics["macs"])
    write_atomic(models / "README.md", _page("models.md", published=published))
    _write_sums(models)
    write_golden(models)
    print(f"{home}: {', '.join(sorted(path.name for path in home.iterdir()))}\ncheck it, then commit {models}")


def _measure(path: Path, part: Path, data: Dataset, views: Views, judged_by: Judges | None) -> Metrics:
    """Copy one file into ``part`` and return its figures; for the int8 file, also draw its charts."""
    print(f"measuring {path} …", flush=True)
    shutil.copy(path, part / path.name)
    card, split = read_card(path), data.splits["validation"]
    scores = scores_of(path, split.images)
    figures = {view: measure(scores[mask], of[mask], card.labels) for view, (mask, of) in views.items()}
    unique, truth = views[UNIQUE]
    if card.quantization == "int8":
        title = f"{card.name}, int8: {100 * figures[UNIQUE].accuracy:.2f} % of {figures[UNIQUE].images:,} validation images"
        confusion(figures[UNIQUE], card.labels, title, part / "confusion.png")
        reliability_diagram(scores[unique], truth[unique], title, part / "reliability.png")
        coverage(scores[unique], truth[unique], card.uncertain_below, title, part / "coverage.png")
    priors = ("", *PRIORS, "even") if card.prior and card.quantization == "int8" else ()
    by_prior = {name: judged_by.answers(open_scorer(path, name)).people.numbers() for name in priors} if judged_by else {}
    return {
        **({"people_by_prior": by_prior} if by_prior else {}),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "robustness": robustness(path, split.keep(unique)),
        "views": {view: {**f.numbers(), "recall": f.recall} for view, f in figures.items()},
    }


def _baseline(models: Path, name: str) -> dict[str, Metrics]:
    """Figures of the published int8 file of the student report's network, to compare every other model with."""
    try:
        files = json.loads((models / BASELINE / METRICS).read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, KeyError):
        return {}
    return {file: of for file, of in files.items() if name != BASELINE and file.endswith(SHIPPED[0])}


def _describe(home: Path, figures: Metrics, baseline: dict[str, Metrics], agreement: dict[str, float]) -> None:
    """Write a model's card and its robustness chart, with the baseline's figures, into ``home``."""
    files, name = figures["files"], figures["name"]
    varied = {file: of["robustness"] for file, of in {**baseline, **files}.items()}
    robustness_chart(varied, f"{name}: where a camera differs", home / "robustness.png")
    int8 = next(of for file, of in files.items() if file.endswith(SHIPPED[0]))
    page = _page("model-card.md", m=figures, int8=int8, varied=varied, agreement=agreement, pretrained=_pretrained(figures["recipe"]))
    write_atomic(home / "README.md", page)


def _swap(part: Path, home: Path) -> None:
    """Replace the folder ``home`` by ``part``."""
    old = home.with_name(f".old-{home.name}")
    if home.exists():
        shutil.rmtree(old, ignore_errors=True)  # left by a run that was killed here
        home.rename(old)
    part.rename(home)
    shutil.rmtree(old, ignore_errors=True)


def _pretrained(recipe: Metrics) -> bool:
    """Whether a run, or a run whose weights it started from, started from published weights."""
    if recipe.get("pretrained") or not recipe.get("start"):
        return bool(recipe.get("pretrained"))
    try:
        return _pretrained(msgspec.to_builtins(load_recipe(recipe["start"])))
    except SettingsError:  # a recipe from outside: the provenance has the run's own record
        return False


def _agreement(data: Dataset, votes: npt.NDArray[np.float32]) -> dict[str, float]:
    """Share of each class's pictures, 0..1, whose original label is the majority of FER+'s taggers; "all" for all pictures."""
    majority = np.concatenate([ferplus_majority(split, votes, data.labels) for split in data.splits.values()])
    labels = np.concatenate([split.labels for split in data.splits.values()])
    same = majority == labels
    return {"all": float(same.mean()), **{label: float(same[labels == k].mean()) for k, label in enumerate(data.labels)}}


def _page(template: str, **values: object) -> str:
    """A page of ``convert/templates``; raises `ModelError` for a missing value."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    pages.filters["percent"] = lambda share, digits=2: f"{100 * share:.{digits}f} %"
    pages.filters["size"] = lambda count: f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
    pages.filters["millions"] = lambda count, digits=1: f"{count / 1e6:.{digits}f} M"
    pages.filters["grouped"] = lambda count: f"{count:,}"
    try:
        return pages.get_template(template).render(**values)
    except jinja2.UndefinedError as error:
        raise ModelError(f"{METRICS} lacks a figure ({error}): an older edgefer finished this run; train it again") from None


def _write_sums(models: Path) -> None:
    """Digests of every published file, in the format of ``sha256sum -c``."""
    files = sorted(path for pattern in ("[!.]*/*.tflite", "[!.]*/*.keras") for path in models.glob(pattern))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(models).as_posix()}\n" for path in files]
    write_atomic(models / SUMS, "".join(lines))


if __name__ == "__main__":
    main()
