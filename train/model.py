"""The networks: functions from a recipe's ``[model]`` table to a Keras model on raw pixels 0..255."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import layers

from edgefer.errors import SettingsError
from train.recipe import Model


def build(spec: Model, classes: int, size_px: int = 48) -> keras.Model:
    """The network named by ``spec``: (n, size, size, 1) raw pixels 0..255 -> (n, classes) probabilities.

    Normalisation is the first layer, so a device passes raw pixels. Raises `SettingsError` for an unknown name.
    """
    if spec.name not in BUILDERS:
        raise SettingsError(f"unknown model {spec.name!r}; there are {', '.join(BUILDERS)}")
    pixels = keras.Input((size_px, size_px, 1), name="pixels")
    x = layers.Rescaling(1 / 255, name="normalise")(pixels)
    x = BUILDERS[spec.name](x, spec)
    # float32 under every precision policy: probabilities in bfloat16 have two digits.
    scores = layers.Dense(classes, activation="softmax", dtype="float32", name="scores")(x)
    model = keras.Model(pixels, scores, name=spec.name)
    if spec.frozen and spec.frozen not in {layer.name for layer in model.layers}:
        raise SettingsError(f"model.frozen: {spec.name} has no layer {spec.frozen!r}")
    for layer in model.layers:
        if not spec.frozen:
            break
        layer.trainable = False
        if layer.name == spec.frozen:
            break
    return model


def little_vgg(x: keras.KerasTensor, spec: Model) -> keras.KerasTensor:
    """The report's network: four blocks of two convolutions, then two dense layers; 1.33 M parameters, 117 M MACs.

    ELU comes before batch normalisation, as in the report. Its widths are fixed: ``spec`` is not read.
    """
    for block, filters in enumerate((32, 64, 128, 256), 1):
        for name in (f"block{block}_conv1", f"block{block}_conv2"):
            x = layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=name)(x)
            x = layers.BatchNormalization(name=f"{name}_bn")(layers.ELU()(x))
        x = layers.Dropout(0.2)(layers.MaxPooling2D()(x))
    x = layers.Flatten()(x)
    for name in ("dense1", "dense2"):
        x = layers.Dense(64, kernel_initializer="he_normal", name=name)(x)
        x = layers.Dropout(0.5)(layers.BatchNormalization(name=f"{name}_bn")(layers.ELU()(x)))
    return x


def residual(x: keras.KerasTensor, spec: Model) -> keras.KerasTensor:
    """Residual blocks (He et al. 2015) of 3x3 convolutions, ReLU throughout: all of it int8-friendly.

    ``channels`` are the widths of the stem, at full size, and of each stage; every stage halves the side.
    """
    stem, *stages = spec.channels
    if len(stages) != len(spec.blocks):
        raise SettingsError(f"model.channels has {len(stages)} stages after the stem, model.blocks {len(spec.blocks)}")
    x = layers.ReLU()(_conv(x, stem, 3, name="stem"))
    for stage, (filters, blocks) in enumerate(zip(stages, spec.blocks, strict=True), 1):
        for block in range(1, blocks + 1):
            x = _residual_block(x, filters, stride=2 if block == 1 else 1, name=f"stage{stage}_block{block}")
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dropout(spec.dropout)(x)


def mobilenet(x: keras.KerasTensor, spec: Model) -> keras.KerasTensor:
    """Depthwise separable blocks (Howard et al. 2017, MobileNet), ReLU6 throughout; the stem keeps the full size.

    ``channels`` are the widths of the stem and of each stage, ``blocks`` the blocks per stage. Every stage after the first halves the
    side, and so does the stem with ``half``. ``features``, if not 0, is the width of the last block. Blocks are named
    ``s<stage>_b<block>``, so a shorter network can begin with the weights of a longer one.
    """
    stem, *stages = spec.channels
    if len(stages) != len(spec.blocks):
        raise SettingsError(f"model.channels has {len(stages)} stages after the stem, model.blocks {len(spec.blocks)}")
    x = layers.ReLU(6.0)(_conv(x, stem, 3, 2 if spec.half else 1, name="stem"))
    for stage, (filters, blocks) in enumerate(zip(stages, spec.blocks, strict=True), 1):
        for block in range(1, blocks + 1):
            name, stride = f"s{stage}_b{block}", 2 if block == 1 and stage > 1 else 1
            # The gradient of a strided depthwise convolution takes six times as long in bfloat16 as in float32.
            how = "float32" if stride > 1 else None
            x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, dtype=how, name=f"{name}_dw")(x)
            x = layers.ReLU(6.0)(layers.BatchNormalization(name=f"{name}_dw_bn")(x))
            last = spec.features and (stage, block) == (len(stages), blocks)
            x = layers.ReLU(6.0)(_conv(x, spec.features if last else filters, 1, name=f"{name}_pw"))
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dropout(spec.dropout)(x)


def _residual_block(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    shortcut = x
    if stride > 1:
        # Average before the 1x1, so that no pixel is skipped (He et al. 2018, "Bag of Tricks", ResNet-D).
        shortcut = _conv(layers.AveragePooling2D(stride)(x), filters, 1, name=f"{name}_shortcut")
    y = layers.ReLU()(_conv(x, filters, 3, stride, name=f"{name}_conv1"))
    return layers.ReLU()(layers.Add()([shortcut, _conv(y, filters, 3, name=f"{name}_conv2")]))


def _conv(x: keras.KerasTensor, filters: int, size: int, stride: int = 1, *, name: str) -> keras.KerasTensor:
    """Convolution and batch normalisation; the normalisation has the bias."""
    x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


@keras.saving.register_keras_serializable(package="edgefer")
class FusedBatchNormalization(layers.BatchNormalization):
    """Batch normalisation in TensorFlow's fused kernel: a step on a CPU takes a sixth less time.

    With several replicas (`train.distribute`) it is the plain layer, synchronized: the statistics are those of the whole batch. Its
    weights and its inference are those of the plain layer.
    """

    def __init__(self, **config: object) -> None:
        import tensorflow as tf

        # The replicas of this process, not of the checkpoint: a run may continue on more or fewer of them.
        super().__init__(**{**config, "synchronized": tf.distribute.get_strategy().num_replicas_in_sync > 1})

    def call(self, inputs: keras.KerasTensor, training: bool | None = None, mask: object = None) -> keras.KerasTensor:
        """(b, h, w, c) -> the same shape."""
        if not training or not self.trainable or self.synchronized or isinstance(inputs, keras.KerasTensor) or len(inputs.shape) != 4:
            return super().call(inputs, training=training)
        import tensorflow as tf

        gamma, beta = tf.cast(self.gamma, tf.float32), tf.cast(self.beta, tf.float32)
        out, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)[:3]
        # The kernel gives the variance of the population (over n - 1); the plain layer keeps the batch's (over n).
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
        for kept, now in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            kept.assign(kept * self.momentum + now * (1 - self.momentum))
        return out


def for_training(model: keras.Model) -> keras.Model:
    """The same network with `FusedBatchNormalization` under TensorFlow; weights of the plain network fit."""
    if keras.backend.backend() != "tensorflow":
        return model

    def swapped(layer: layers.Layer) -> layers.Layer:
        if type(layer) is not layers.BatchNormalization:
            return layer.__class__.from_config(layer.get_config())
        return FusedBatchNormalization.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=swapped)


BUILDERS: dict[str, Callable[[keras.KerasTensor, Model], keras.KerasTensor]] = {
    "little_vgg": little_vgg,
    "mobilenet": mobilenet,
    "residual": residual,
}


def count_macs(model: keras.Model) -> dict[str, int]:
    """Multiply-accumulates of one forward pass by layer, for convolutions and dense layers."""
    macs: dict[str, int] = {}
    for layer in model.layers:
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            _, height, width, _ = layer.output.shape
            macs[layer.name] = height * width * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Dense):
            macs[layer.name] = int(layer.kernel.shape[0] * layer.kernel.shape[1])
    return macs
