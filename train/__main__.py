"""``python -m train``: FER2013 and a recipe in, a Keras model with its card, figures and pictures out."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded: it prints a banner

import msgspec

from edgefer.errors import DataError, EdgeferError, SettingsError
from edgefer.files import only_user, write_atomic
from edgefer.model.card import read_card
from edgefer.native_stderr import silence_native_stderr
from train.cluster import Cluster, read_cluster
from train.data import FERPLUS_NAME, UNLABELLED_NAME, WHERE_TO_GET, Dataset, find_beside
from train.material import Material, gather
from train.recipe import MODELS, RECIPES, Recipe, load_recipe, recipe_names
from train.versions import installed

if TYPE_CHECKING:
    from train.fit import Epoch  # loads Keras


def main(arguments: list[str] | None = None) -> None:
    """Train a facial-expression model; the same command resumes an interrupted run at its last epoch."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["own"]:
        from train.own import main as own

        return own(words[1:])
    parser = argparse.ArgumentParser(
        prog="python -m train", description=main.__doc__, epilog="python -m train own FOLDER: a model of your own classes, see --help there"
    )
    parser.add_argument("--data", default="", help="FER2013: the folder, its zip, or fer2013.csv")
    parser.add_argument("--recipe", default="small", help=f"{', '.join(recipe_names())}, or a .toml file (default: small)")
    parser.add_argument("--ferplus", help=f"FER+ votes, {FERPLUS_NAME} (default: the one beside the data, if any)")
    parser.add_argument(
        "--faces", help=f"a zip of face crops without labels (default: {UNLABELLED_NAME} beside the data, if the recipe asks)"
    )
    parser.add_argument("--out", help="folder of the run (default: runs/<recipe>)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="stop after N epochs of the recipe; run again to continue")
    parser.add_argument(
        "--distribute",
        choices=("none", "mirrored", "multiworker"),
        default="none",
        help="mirrored: over this machine's GPUs; multiworker: over the machines of TF_CONFIG; see docs/scaling.md",
    )
    options = parser.parse_args(words)
    try:
        if not options.data:
            raise DataError(f"which dataset? {WHERE_TO_GET}")
        recipe = load_recipe(options.recipe)
        near = Path(options.recipe).parent if options.recipe.endswith(".toml") else RECIPES
        cluster = _cluster(options.distribute)
        _train_all(recipe, near, Path(options.out or f"runs/{recipe.name}"), options, cluster)
    except EdgeferError as error:
        raise SystemExit(f"train: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\ntrain: stopped; the same command continues after the last finished epoch") from None


def _cluster(distribute: str) -> Cluster | None:
    """This process among several workers, before TensorFlow is loaded; raises `SettingsError` where `TF_CONFIG` is missing or wrong."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if distribute != "none" and backend != "tensorflow":
        raise SettingsError(f"--distribute {distribute} needs Keras' backend tensorflow; KERAS_BACKEND is {backend}")
    if distribute != "multiworker":
        return None
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow prints pages about a lost worker; one line of ours replaces them
    return read_cluster()


def _train_all(recipe: Recipe, near: Path, out: Path, options: argparse.Namespace, cluster: Cluster | None) -> None:
    """Train the recipes that ``recipe`` builds on and that have no finished run, each beside ``out``, then ``recipe`` itself."""
    for name, asked in ((FERPLUS_NAME, options.ferplus), (UNLABELLED_NAME, options.faces)):
        find_beside(Path(options.data), name, asked)  # before the minute in which the chain is measured
    order = _to_train(recipe, near, out)
    first = order[0]
    if len(order) > 1 and options.distribute != "none":
        # A strategy serves one training per process, and the other workers would not see when the chief has finished.
        raise SettingsError(
            f"{recipe.name} builds on {first.name}, and there is no {run_of(first.name, out)}: train {first.name} first, the same way"
        )
    resumed = any((out.parent / each.name).is_dir() for each in order[:-1]) or out.is_dir()
    if recipe.builds_on() and not resumed and options.distribute == "none" and Path(options.data).exists():
        with _keras_loaded():
            from train.plan import announce
        announce(order, out.parent / "pretrained")
    for each in order[:-1]:
        print(f"{recipe.name} builds on {each.name}, and there is no {run_of(each.name, out)}: training that first", flush=True)
        _train(each, out.parent / each.name, options, None, cluster)
    _train(recipe, out, options, options.epochs, cluster)


def _to_train(recipe: Recipe, near: Path, out: Path, wanted_by: tuple[str, ...] = ()) -> list[Recipe]:
    """The recipes that have no finished run beside ``out``, each after those it builds on, ``recipe`` last.

    Raises `SettingsError` where recipes build on each other in a circle.
    """
    if recipe.name in wanted_by:
        raise SettingsError(f"recipes build on each other in a circle: {' -> '.join((*wanted_by, recipe.name))}")
    order: list[Recipe] = []
    for name in recipe.builds_on():
        if run_of(name, out).is_file():
            continue
        below = _to_train(load_recipe(name, near), near, out, (*wanted_by, recipe.name))
        order += [each for each in below if each.name not in {other.name for other in order}]
    return [*order, recipe]


@contextmanager
def _keras_loaded() -> Iterator[None]:
    """Within it Keras is imported; raises `SettingsError` where its backend is not there."""
    try:
        with silence_native_stderr():
            yield
    except (ImportError, ValueError) as error:  # what Keras raises for a backend that is missing or unknown
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise SettingsError(
            f"Keras cannot load its backend {backend} ({error}); set KERAS_BACKEND to one that is installed, or see docs/scaling.md"
        ) from None


def _train(recipe: Recipe, out: Path, options: argparse.Namespace, until_epoch: int | None, cluster: Cluster | None) -> None:
    material = gather(recipe, Path(options.data), options.ferplus, options.faces)
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            # Of several workers the chief alone writes.
            stack.enter_context(only_user(out) if cluster is None or cluster.chief else nullcontext())
        except BlockingIOError:
            raise SettingsError(f"{out}: another training runs there; wait until it ends, or choose another OUT") from None
        except OSError as error:
            raise SettingsError(f"{out}: cannot keep a run there: {error.strerror}; choose another OUT") from None
        _train_on(material, recipe, out, options, until_epoch, cluster)


def _train_on(
    material: Material, recipe: Recipe, out: Path, options: argparse.Namespace, until_epoch: int | None, cluster: Cluster | None
) -> None:
    spread = options.distribute != "none"
    # Imported here: a wrong path or recipe is reported before the seconds TensorFlow takes to load.
    with _keras_loaded():
        import keras

        from train.distill import ask
        from train.finish import finish
        from train.fit import fit
        from train.pretrained import SHA256

        if spread:
            from train import distribute  # TensorFlow: the other backends train without it

    teachers = [run_of(name, out) for name in recipe.distill.teachers]
    start = run_of(recipe.start, out) if recipe.start else None
    if cluster:
        print(f"{cluster}: waiting for the others, {distribute.START_S // 60} minutes at most", flush=True)
    with distribute.workers_watched() if spread else nullcontext():
        strategy = distribute.strategy_for(options.distribute) if spread else None
        soft = ask(recipe, material.images, teachers, out.parent / "soft", material.unlabelled) if teachers else None
        on, against = (material.images, material.wanted), (material.validation.images, material.truth)
        history = fit(recipe, on, against, out, until_epoch, start, strategy, soft, material.unlabelled)
    if cluster and not cluster.chief:
        return
    _note_data(out, Path(options.data), recipe)
    made_from = {f"teacher {path.stem}": path for path in teachers} | ({f"start {start.stem}": start} if start else {})
    provenance = _provenance(recipe, Path(options.data), material, history, made_from) | {"backend": keras.backend.backend()}
    if recipe.pretrained:
        provenance |= {f"pretrained {name}": digest for name, digest in SHA256.items()}
    if start:
        provenance |= {key: value for key, value in read_card(start).provenance.items() if key.startswith("pretrained ")}
    finish(recipe, material, history, provenance, out)


def _provenance(recipe: Recipe, source: Path, material: Material, history: list[Epoch], made_from: dict[str, Path]) -> dict[str, str]:
    """Provenance of a model: recipe, data and their digests, start time, versions."""
    started = datetime.fromtimestamp(history[0]["ended"] - history[0]["seconds"], UTC)
    return {
        "recipe": recipe.name,
        "recipe_sha256": recipe.digest(),
        "seed": str(recipe.seed),
        "epochs": str(len(history)),
        "data": source.name,
        "images_sha256": _digest(material.data),
        **{what: _sha256(path) for what, path in made_from.items()},
        "ferplus_sha256": _sha256(material.votes_path) if material.votes_path else "",
        "started": started.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **installed("edgefer", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy"),
    }


def run_of(name: str, beside: Path) -> Path:
    """The model of a finished run of recipe ``name`` beside the run folder ``beside``; if there is none, the published model."""
    run, published = (folder / name / f"{name}.keras" for folder in (beside.parent, MODELS))
    return published if published.is_file() and not run.is_file() else run


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _note_data(out: Path, data: Path, recipe: Recipe) -> None:
    """Write, beside the model and not in it, where the data was and what a conversion may lose: `convert` reads it."""
    write_atomic(out / "run.json", json.dumps({"data": str(data.resolve()), "gate": msgspec.to_builtins(recipe.gate)}))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(data: Dataset) -> str:
    """sha256 over every split's images and labels: the same for the folder, the zip and the csv in the same order."""
    digest = hashlib.sha256()
    for name in sorted(data.splits):
        digest.update(data.splits[name].images.tobytes())
        digest.update(data.splits[name].labels.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
