from __future__ import annotations

import keras
import msgspec
import numpy as np
import pytest

from edgefer.errors import SettingsError
from train.model import BUILDERS, FusedBatchNormalization, build, count_macs, for_training
from train.recipe import load_recipe, recipe_names

REPORT_MACS = 117_600_704


def test_the_reports_network_has_its_parameters_and_multiplications() -> None:
    model = build(load_recipe("report").model, 7)
    assert model.count_params() == pytest.approx(1.33e6, rel=0.01)
    macs = count_macs(model)
    assert sum(macs.values()) == REPORT_MACS
    # First layer by hand: 48 x 48 places, 3 x 3 taps, 1 channel in, 32 out.
    assert next(iter(macs.values())) == 48 * 48 * 9 * 32


def test_small_needs_at_most_half_the_reports_multiplications() -> None:
    assert sum(count_macs(build(load_recipe("small").model, 7)).values()) <= REPORT_MACS / 2


@pytest.mark.parametrize("name", recipe_names())
def test_every_network_takes_raw_pixels_and_gives_probabilities(name: str) -> None:
    model = build(load_recipe(name).model, 7)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1)).astype(np.float32)
    scores = np.asarray(model(pixels, training=False))
    assert scores.shape == (3, 7)
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert model.layers[1].name == "normalise"


def test_probabilities_stay_float32_under_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(load_recipe("tiny").model, 7)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[1].compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


def test_an_unknown_network_lists_the_known_ones() -> None:
    spec = msgspec.structs.replace(load_recipe("tiny").model, name="resnet9000")
    with pytest.raises(SettingsError, match=f"'resnet9000'.*{', '.join(BUILDERS)}"):
        build(spec, 7)


def test_widths_and_depths_that_do_not_match_are_refused() -> None:
    spec = msgspec.structs.replace(load_recipe("tiny").model, blocks=[1, 1])
    with pytest.raises(SettingsError, match="3 stages"):
        build(spec, 7)


def test_the_training_network_is_the_same_function_with_the_same_weights() -> None:
    plain = build(load_recipe("tiny").model, 7)
    fused = for_training(plain)
    assert any(isinstance(layer, FusedBatchNormalization) for layer in fused.layers)
    fused.set_weights(plain.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (32, 48, 48, 1)).astype(np.float32)
    assert np.allclose(plain(x, training=False), fused(x, training=False), atol=1e-6)
    assert np.allclose(plain(x, training=True), fused(x, training=True), atol=1e-4)
    for before, after in zip(plain.get_weights(), fused.get_weights(), strict=True):
        # Moving variances: the fused kernel divides by n - 1, the plain layer by n.
        assert np.allclose(before, after, rtol=2e-3, atol=1e-4)


def test_layers_are_named_after_their_position() -> None:
    macs = count_macs(build(load_recipe("tiny").model, 7))
    assert list(macs)[:3] == ["stem", "stage1_block1_conv1", "stage1_block1_shortcut"]


@pytest.mark.parametrize(("name", "most_macs"), [("small", 60e6), ("nano", 15e6), ("pico", 4e6)])
def test_the_shipped_sizes_stay_within_their_budget(name: str, most_macs: float) -> None:
    assert sum(count_macs(build(load_recipe(name).model, 7)).values()) <= most_macs
