"""Frozen layers that are asked once: the layers behind them learn what they would learn from pixels."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from train.fit import BEST, fit
from train.model import build, for_training
from train.pipeline import batches, training_stream
from train.recipe import Recipe, load_recipe
from train.trunk import STEPS, divided, kept_levels, levels_of, levels_stream

replace = msgspec.structs.replace


@pytest.fixture
def recipe() -> Recipe:
    tiny = load_recipe("tiny")
    chain = replace(tiny.model, name="mobilenet", channels=[4, 8, 8], blocks=[1, 1], frozen="s1_b1_pw_bn", frozen_views=2, dropout=0.0)
    return replace(tiny, model=chain, batch_size=16, epochs=3)


def pictures(count: int, side: int = 48) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, side, side), np.uint8)


def labels(count: int) -> np.ndarray:
    return np.eye(7, dtype=np.float32)[np.arange(count) % 7]


def test_frozen_and_remaining_layers_together_are_the_network(recipe: Recipe) -> None:
    model = for_training(build(recipe.model, 7))
    parts = divided(model, recipe)
    assert parts is not None
    trunk, rest = parts
    images = pictures(8)
    levels = levels_of(trunk, images)
    assert levels.dtype == np.uint8 and levels.max() <= 6 * STEPS
    whole = model.predict(images[..., None].astype(np.float32), verbose=0)
    assert rest.predict(levels.astype(np.float32), verbose=0) == pytest.approx(whole, abs=0.02)


@pytest.mark.parametrize("changes", [{"mixup": 0.4}, {"model": load_recipe("wide").model}])
def test_blended_pictures_and_networks_that_are_no_chain_are_trained_whole(recipe: Recipe, changes: dict[str, object]) -> None:
    other = replace(recipe, **changes)
    assert divided(build(other.model, 7), other) is None


def test_levels_are_those_of_the_pictures_in_the_stream(recipe: Recipe, tmp_path: Path) -> None:
    images, wanted = pictures(40), labels(40)
    trunk, _ = divided(for_training(build(recipe.model, 7)), recipe) or (None, None)
    assert trunk is not None
    levels = kept_levels(trunk, images, recipe, 0, tmp_path)
    answers, steps = levels_stream(levels, wanted, recipe, 1, None, 0)
    pixels, _ = training_stream(images, wanted, recipe, 1)
    for (x, y), (seen, theirs) in zip(itertools.islice(pixels, steps), answers, strict=False):
        assert np.array_equal(y, theirs)
        assert np.abs(trunk.predict(np.asarray(x), verbose=0) * STEPS - seen).max() < 1.5


def test_frozen_layers_in_bfloat16_are_asked_in_float32(recipe: Recipe, tmp_path: Path) -> None:
    data = pictures(32), labels(32)
    assert len(fit(replace(recipe, precision="mixed_bfloat16", epochs=1), data, data, tmp_path)) == 1


def test_a_view_that_is_kept_is_not_asked_again(recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trunk, _ = divided(for_training(build(recipe.model, 7)), recipe) or (None, None)
    assert trunk is not None
    kept_levels(trunk, pictures(20), recipe, 0, tmp_path)
    assert capsys.readouterr().out.count("frozen layers: view") == 2
    next(tmp_path.glob("levels-*-1.npy")).unlink()
    kept_levels(trunk, pictures(20), recipe, 0, tmp_path)
    assert capsys.readouterr().out.count("frozen layers: view") == 1


def test_a_run_on_kept_levels_leaves_the_whole_network_and_resumes(recipe: Recipe, tmp_path: Path) -> None:
    data = pictures(64), labels(64)
    whole = fit(recipe, data, data, tmp_path / "whole")
    fit(recipe, data, data, tmp_path / "cut", until_epoch=1)
    resumed = fit(recipe, data, data, tmp_path / "cut")
    assert [epoch["val_loss"] for epoch in resumed] == pytest.approx([epoch["val_loss"] for epoch in whole], abs=5e-3)
    model = for_training(build(recipe.model, 7))
    model.load_weights(tmp_path / "cut" / BEST)


def test_an_epoch_has_all_labelled_pictures_and_a_share_of_the_others(recipe: Recipe) -> None:
    third = replace(recipe, distill=replace(recipe.distill, unlabelled=1 / 3))
    stream, steps = batches(100, third, unlabelled=60)
    chosen = np.concatenate([which for which, _, _ in itertools.islice(stream, steps)])
    assert len(chosen) == len(set(chosen.tolist())) == 60
    assert set(range(40)) <= set(chosen.tolist())


def test_faces_without_a_label_have_the_teachers_word_alone_and_their_surroundings(recipe: Recipe) -> None:
    taught = replace(recipe, distill=replace(recipe.distill, unlabelled=0.5, share=0.25))
    said = np.full((2, 20, 7), 1 / 7, np.float32)
    wanted = np.concatenate([labels(10), np.zeros((10, 7), np.float32)])
    stream, steps = training_stream(pictures(20, 60), wanted, taught, soft=said, unlabelled=10)
    found = [(np.asarray(x), y) for x, y in itertools.islice(stream, steps)]
    assert all(x.shape[1:] == (48, 48, 1) for x, _ in found)
    targets = np.concatenate([y for _, y in found])
    assert targets.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert sorted(targets.max(axis=1).tolist()) == pytest.approx([1 / 7] * 10 + [0.75 + 0.25 / 7] * 10, abs=1e-5)
