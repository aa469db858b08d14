"""Learning from trained networks (Hinton et al. 2015): the teachers' probabilities for every varied picture, kept on disk.

Teacher and student see the very same view of a picture (Beyer et al. 2022, "A good teacher is patient and consistent").
Asking the teachers at every step would cost more than training the student. They are asked once about a number of views, which
the student then sees in turn.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import zipfile
from pathlib import Path

import keras
import msgspec
import numpy as np
import numpy.typing as npt

from edgefer.files import atomic_path
from edgefer.types import Pixels
from train.ask import asker
from train.pipeline import Soft, varied
from train.recipe import Recipe


def ask(recipe: Recipe, images: Pixels, teachers: list[Path], out: Path, unlabelled: int = 0) -> Soft:
    """The teachers' mean probabilities for every view of ``images``, (views, n, K) float32.

    Each teacher's answers are kept in ``out``, a file a view, for every student that sees the same views. A teacher is asked again
    only where it, the pictures or the augmentation changed. Where labelled pictures have no share of a teacher's answers, only the
    last ``unlabelled`` pictures are asked about; the others' rows are 0.
    """
    return np.asarray(np.mean([_ask(recipe, images, teacher, out, unlabelled) for teacher in teachers], axis=0, dtype=np.float32))


def _ask(recipe: Recipe, images: Pixels, teacher: Path, out: Path, unlabelled: int) -> npt.NDArray[np.float16]:
    """One teacher's probabilities (views, n, K) float16, from ``out`` where they are kept."""
    views, only_unlabelled = recipe.distill.views, recipe.distill.share == 0
    how = (recipe.augment, recipe.mixup, recipe.seed, recipe.batch_size, views, recipe.distill.unlabelled, only_unlabelled)
    key = hashlib.sha256(teacher.read_bytes() + images.tobytes() + msgspec.json.encode(how)).hexdigest()
    files = [out / f"{teacher.stem}-{key[:12]}-{view}.npz" for view in range(views)]
    found = [_kept(file, key) for file in files]
    answer = asker(keras.models.load_model(teacher, compile=False)) if any(view is None for view in found) else None
    out.mkdir(parents=True, exist_ok=True)
    for view, file in enumerate(files):
        if found[view] is not None or answer is None:
            continue
        begun, soft = time.monotonic(), np.zeros((len(images), len(recipe.labels)), np.float16)
        stream, steps = varied(images, recipe, first_epoch=view, views=views, unlabelled=unlabelled)
        for pixels, _, chosen, _ in itertools.islice(stream, steps):
            asked = np.flatnonzero(chosen >= len(images) - unlabelled) if only_unlabelled else slice(None)
            soft[chosen[asked]] = answer(np.asarray(pixels)[asked])
        with atomic_path(file) as draft:
            np.savez(draft, key=np.array(key), soft=soft)
        found[view] = soft
        left_min = (time.monotonic() - begun) * (views - view - 1) / 60
        print(f"asking {teacher.stem}: view {view + 1}/{views}, {left_min:.0f} min to go", flush=True)
    return np.stack([view for view in found if view is not None])


def _kept(file: Path, key: str) -> npt.NDArray[np.float16] | None:
    """What a file holds of one view; None where it was never asked about, or the file was cut while it was written."""
    try:
        with np.load(file) as archive:
            return np.asarray(archive["soft"]) if str(archive["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
