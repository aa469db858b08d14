from __future__ import annotations

from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest

from edgefer.errors import SettingsError
from train.model import build
from train.recipe import Model, load_recipe
from train.thin import begin_with

WIDE = msgspec.structs.replace(load_recipe("small").model, channels=[8, 12, 16], blocks=[1, 2], features=0, frozen="", dropout=0.0)
PICTURES = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 1)).astype(np.float32)


def network(spec: Model, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = build(spec, 7)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, array.shape) for array in layer.get_weights()])
    return model


def silenced(model: keras.Model, name: str, channels: list[int]) -> None:
    """Let nothing of a block's channels arrive at the next one: the next depthwise convolution's normalisation gives 0 for them."""
    normalise = model.get_layer(name)
    gamma, beta, mean, variance = normalise.get_weights()
    gamma[channels] = beta[channels] = 0
    normalise.set_weights([gamma, beta, mean, variance])


def saved(model: keras.Model, folder: Path) -> Path:
    model.save(folder / "wide.keras")
    return folder / "wide.keras"


def test_channels_without_effect_are_the_ones_removed(tmp_path: Path) -> None:
    wide = network(WIDE, 1)
    silenced(wide, "s2_b1_dw_bn", [0, 5, 11])
    silenced(wide, "s2_b2_dw_bn", [3, 4, 5, 6])
    thin = network(msgspec.structs.replace(WIDE, channels=[8, 9, 12]), 2)
    scores = wide.get_layer("scores")
    kernel, bias = scores.get_weights()
    kernel[[1, 2, 14, 15]] = 0
    scores.set_weights([kernel, bias])
    begin_with(thin, saved(wide, tmp_path))
    assert thin.predict(PICTURES, verbose=0) == pytest.approx(wide.predict(PICTURES, verbose=0), abs=1e-5)


def test_a_shorter_network_takes_the_first_layers_and_keeps_its_own_last_ones(tmp_path: Path) -> None:
    wide, short = network(WIDE, 1), network(msgspec.structs.replace(WIDE, blocks=[1, 1], features=10), 2)
    end = short.get_layer("scores").get_weights()[0].copy()
    begin_with(short, saved(wide, tmp_path))
    for name in ("stem", "s1_b1_pw", "s2_b1_dw_bn"):
        for ours, theirs in zip(short.get_layer(name).get_weights(), wide.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(ours, theirs), name
    columns = {column.tobytes() for column in np.rollaxis(wide.get_layer("s2_b1_pw").kernel.numpy(), -1)}
    assert all(column.tobytes() in columns for column in np.rollaxis(short.get_layer("s2_b1_pw").kernel.numpy(), -1))
    assert np.array_equal(short.get_layer("scores").get_weights()[0], end), "it reads another layer"


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = network(msgspec.structs.replace(WIDE, name="little_vgg"), 1)
    with pytest.raises(SettingsError, match=r"wide\.keras"):
        begin_with(network(WIDE, 2), saved(other, tmp_path))


def test_a_network_with_branches_takes_only_layers_of_equal_shape(tmp_path: Path) -> None:
    wide = network(msgspec.structs.replace(WIDE, name="residual", channels=[8, 12, 16]), 1)
    thin = network(msgspec.structs.replace(WIDE, name="residual", channels=[8, 12, 10]), 2)
    end = thin.get_layer("stage2_block1_conv1").kernel.numpy().copy()
    begin_with(thin, saved(wide, tmp_path))
    assert np.array_equal(thin.get_layer("stage1_block1_conv1").kernel, wide.get_layer("stage1_block1_conv1").kernel)
    assert np.array_equal(thin.get_layer("stage2_block1_conv1").kernel, end)
