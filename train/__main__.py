"""``python -m train``: FER2013 and a recipe in, a Keras model with its card, figures and pictures out."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded: its banner is not for users

from edge.errors import DataError, EdgeferError, SettingsError
from edge.quiet import quiet_native
from train.cluster import read_cluster
from train.data import WHERE_TO_GET, Dataset, audit, load, load_ferplus, targets
from train.recipe import Recipe, load_recipe, recipe_names
from train.versions import installed

FERPLUS_NAME = "fer2013new.csv"


def main() -> None:
    """Train a facial-expression model; an interrupted run goes on at its last epoch when started again."""
    parser = argparse.ArgumentParser(prog="python -m train", description=main.__doc__)
    parser.add_argument("--data", default="", help="FER2013: the folder, its zip, or fer2013.csv")
    parser.add_argument("--recipe", default="small", help=f"{', '.join(recipe_names())}, or a .toml file (default: small)")
    parser.add_argument("--ferplus", help=f"FER+ votes, {FERPLUS_NAME} (default: the one beside the data, if any)")
    parser.add_argument("--out", help="where the run is kept (default: runs/<recipe>)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="stop after N epochs of the recipe's; run again to go on")
    parser.add_argument(
        "--distribute",
        choices=("none", "mirrored", "multiworker"),
        default="none",
        help="mirrored: over this machine's GPUs; multiworker: over the machines of TF_CONFIG; see docs/scaling.md",
    )
    options = parser.parse_args()
    try:
        _train(options)
    except EdgeferError as error:
        raise SystemExit(f"train: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\ntrain: stopped; the same command goes on at the last finished epoch") from None


def _train(options: argparse.Namespace) -> None:
    recipe = load_recipe(options.recipe)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if options.distribute != "none" and backend != "tensorflow":
        raise SettingsError(f"--distribute {options.distribute} needs Keras' backend tensorflow; KERAS_BACKEND is {backend}")
    cluster = read_cluster() if options.distribute == "multiworker" else None
    chief = cluster is None or cluster.chief
    if cluster and os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # of a lost worker TensorFlow tells pages; we say it in a line
    if not options.data:
        raise DataError(f"which dataset? {WHERE_TO_GET}")
    data = load(Path(options.data), recipe.labels)
    found = audit(data)
    print("\n".join(found.lines), flush=True)
    votes_path = _ferplus(options, recipe)
    votes = load_ferplus(votes_path) if votes_path else None
    classes = len(recipe.labels)
    train = data.splits["train"].keep(found.train_keep)
    chosen_on = data.splits["validation"].keep(found.validation_unique)
    print(f"recipe {recipe.name}: training on {len(train):,} images, choosing on {len(chosen_on):,}", flush=True)

    out = Path(options.out or f"runs/{recipe.name}")
    try:
        if chief:
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{out}: cannot keep a run there: {error.strerror}; choose another OUT") from None

    # Imported here: a wrong path or recipe is said before the seconds TensorFlow takes to load.
    with quiet_native():
        import keras

        from train.distribute import START_S, strategy_for, workers_watched
        from train.finish import finish
        from train.fit import fit

    wanted = targets(train, classes, votes, recipe.ferplus)
    truth = targets(chosen_on, classes, None, 0)
    if cluster:
        print(f"{cluster}: waiting for the others, {START_S // 60} minutes at most", flush=True)
    with workers_watched():
        strategy = strategy_for(options.distribute)
        history = fit(recipe, (train.images, wanted), (chosen_on.images, truth), out, options.epochs, strategy)
    if not chief:
        return
    _note_data(out, Path(options.data))
    started = datetime.fromtimestamp(history[0]["ended"] - history[0]["seconds"], UTC)
    provenance = {
        "recipe": recipe.name,
        "recipe_sha256": recipe.digest(),
        "seed": str(recipe.seed),
        "epochs": str(len(history)),
        "data": Path(options.data).name,
        "images_sha256": _digest(data),
        "ferplus_sha256": hashlib.sha256(votes_path.read_bytes()).hexdigest() if votes_path else "",
        "started": started.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        **installed("edgefer", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy"),
    }
    finish(recipe, data, found, history, provenance, out)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _note_data(out: Path, data: Path) -> None:
    """Remember, beside the model and not in it, where the data was: `convert` looks there."""
    part = out / "part.run.json"
    part.write_text(json.dumps({"data": str(data.resolve())}), encoding="utf-8")
    part.replace(out / "run.json")


def _ferplus(options: argparse.Namespace, recipe: Recipe) -> Path | None:
    """The votes' file: the one asked for, else the one beside the data; none where the recipe has no use for it."""
    if options.ferplus:
        return Path(options.ferplus)
    beside = Path(options.data) if Path(options.data).is_dir() else Path(options.data).parent
    if not recipe.ferplus:
        return None
    if (beside / FERPLUS_NAME).is_file():
        print(f"FER+ votes: {beside / FERPLUS_NAME}")
        return beside / FERPLUS_NAME
    print(f"no FER+ votes: training on the original labels alone; with {FERPLUS_NAME} of microsoft/FERPlus the recipe does better")
    return None


def _digest(data: Dataset) -> str:
    """sha256 over every split's images and labels: the same for the folder, the zip and the csv in the same order."""
    digest = hashlib.sha256()
    for name in sorted(data.splits):
        digest.update(data.splits[name].images.tobytes())
        digest.update(data.splits[name].labels.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
