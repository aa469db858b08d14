"""Learning from trained networks (Hinton et al. 2015): what the teachers say of every varied picture, kept on disk.

Teacher and student see the very same view of a picture (Beyer et al. 2022, "A good teacher is patient and consistent").
Asking the teachers at every step would cost more than training the student; asking them about some epochs' worth of
views, which then come again in turn, costs them once.
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

from edgefer.types import Pixels
from train.ask import asker
from train.pipeline import varied
from train.recipe import Recipe


def ask(recipe: Recipe, images: Pixels, teachers: list[Path], out: Path, unlabelled: int = 0) -> npt.NDArray[np.float32]:
    """The teachers' mean probabilities for every view of ``images``, (views, n, K) float32.

    What each teacher said is kept in ``out``, for every student that sees the same views, and asked for again only where
    teacher, pictures or augmentation are others.
    """
    return np.asarray(np.mean([_ask(recipe, images, teacher, out, unlabelled) for teacher in teachers], axis=0, dtype=np.float32))


def _ask(recipe: Recipe, images: Pixels, teacher: Path, out: Path, unlabelled: int) -> npt.NDArray[np.float16]:
    """One teacher's probabilities (views, n, K) float16, from ``out`` where it has been asked before."""
    views = recipe.distill.views
    how = msgspec.json.encode(
        (recipe.augment, recipe.mixup, recipe.seed, recipe.batch_size, views, recipe.distill.unlabelled, recipe.distill.share == 0)
    )
    key = hashlib.sha256(teacher.read_bytes() + images.tobytes() + how).hexdigest()
    kept = out / f"{teacher.stem}-{key[:12]}.npz"
    try:
        with np.load(kept) as archive:
            if str(archive["key"]) == key:
                return np.asarray(archive["said"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # never asked, or killed while writing: ask again
    network = keras.models.load_model(teacher, compile=False)
    answer = asker(network)
    stream, steps = varied(images, recipe, views=views, unlabelled=unlabelled)
    said = np.zeros((views, len(images), network.output_shape[-1]), np.float16)
    begun = time.monotonic()
    for step, (pixels, _, chosen, view) in enumerate(itertools.islice(stream, views * steps), 1):
        # Without a share of the labelled pictures' targets, teachers are asked about the other pictures alone.
        asked = np.flatnonzero(chosen >= len(images) - unlabelled) if recipe.distill.share == 0 else slice(None)
        said[view, chosen[asked]] = answer(np.asarray(pixels)[asked])
        if step % steps == 0:
            left = (time.monotonic() - begun) / step * (views * steps - step) / 60
            print(f"asking {teacher.stem}: view {step // steps}/{views}, {left:.0f} min to go", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"part.{kept.name}"
    np.savez(part, key=np.array(key), said=said)
    part.replace(kept)
    return said
