"""The networks, as functions from a recipe's ``[model]`` table to a Keras model that takes raw 0..255 pixels."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from edge.errors import SettingsError
from train.recipe import Model


def build(spec: Model, classes: int, size_px: int = 48) -> keras.Model:
    """The network ``spec`` names: (n, size, size, 1) raw pixels 0..255 -> (n, classes) probabilities.

    Normalisation is the first layer, so that a device writes raw pixels. Raises `SettingsError` for an unknown name.
    """
    if spec.name not in BUILDERS:
        raise SettingsError(f"unknown model {spec.name!r}; there are {', '.join(BUILDERS)}")
    pixels = keras.Input((size_px, size_px, 1), name="pixels")
    x = layers.Rescaling(1 / 255, name="normalise")(pixels)
    x = BUILDERS[spec.name](x, spec)
    # float32 whatever the precision policy: probabilities in bfloat16 have two digits.
    scores = layers.Dense(classes, activation="softmax", dtype="float32", name="scores")(x)
    return keras.Model(pixels, scores, name=spec.name)


def little_vgg(x: keras.KerasTensor, spec: Model) -> keras.KerasTensor:
    """The report's network: four blocks of two convolutions, then two dense layers; 1.33 M parameters, 117 M MACs.

    ELU comes before batch normalisation, as the report has it. Its widths are fixed: ``spec`` is not read.
    """
    for filters in (32, 64, 128, 256):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal")(x)
            x = layers.BatchNormalization()(layers.ELU()(x))
        x = layers.Dropout(0.2)(layers.MaxPooling2D()(x))
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(64, kernel_initializer="he_normal")(x)
        x = layers.Dropout(0.5)(layers.BatchNormalization()(layers.ELU()(x)))
    return x


def residual(x: keras.KerasTensor, spec: Model) -> keras.KerasTensor:
    """Residual blocks (He et al. 2015) of 3x3 convolutions, ReLU throughout: all of it int8-friendly.

    ``channels`` gives the stem's width at full size, then each stage's; every stage halves the side.
    """
    stem, *stages = spec.channels
    if len(stages) != len(spec.blocks):
        raise SettingsError(f"model.channels has {len(stages)} stages after the stem, model.blocks {len(spec.blocks)}")
    x = layers.ReLU()(_conv(x, stem, 3))
    for filters, blocks in zip(stages, spec.blocks, strict=True):
        for block in range(blocks):
            x = _residual_block(x, filters, stride=2 if block == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dropout(spec.dropout)(x)


def _residual_block(x: keras.KerasTensor, filters: int, stride: int) -> keras.KerasTensor:
    shortcut = x
    if stride > 1:
        # Average before the 1x1 so that no pixel is skipped (He et al. 2018, "Bag of Tricks", ResNet-D).
        shortcut = _conv(layers.AveragePooling2D(stride)(x), filters, 1)
    y = layers.ReLU()(_conv(x, filters, 3, stride))
    return layers.ReLU()(layers.Add()([shortcut, _conv(y, filters, 3)]))


def _conv(x: keras.KerasTensor, filters: int, size: int, stride: int = 1) -> keras.KerasTensor:
    """Convolution and batch normalisation; no bias, because the normalisation has one."""
    x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization()(x)


BUILDERS: dict[str, Callable[[keras.KerasTensor, Model], keras.KerasTensor]] = {"little_vgg": little_vgg, "residual": residual}


def count_macs(model: keras.Model) -> dict[str, int]:
    """Multiply-accumulates of one forward pass, by layer, for the layers that have any (convolutions and dense)."""
    macs: dict[str, int] = {}
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            _, height, width, _ = layer.output.shape
            macs[layer.name] = (
                height * width * int(layer.kernel.shape[0] * layer.kernel.shape[1]) * int(layer.kernel.shape[2] * layer.kernel.shape[3])
            )
        elif isinstance(layer, layers.Dense):
            macs[layer.name] = int(layer.kernel.shape[0] * layer.kernel.shape[1])
    return macs
