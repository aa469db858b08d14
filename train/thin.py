"""First weights from another network: layer by layer where they fit; a narrower layer takes the wider one's most important channels.

The layers behind decide which channels are important (after Li et al. 2017, "Pruning filters for efficient ConvNets", and He et al.
2017, "Channel pruning for accelerating very deep neural networks"): how strongly a channel is scaled, and with what weight it is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from edgefer.errors import SettingsError

Channels = npt.NDArray[np.intp]
"""Indices of the wider network's channels that ours has, in order."""


def begin_with(model: keras.Model, start: Path) -> None:
    """Give ``model`` the weights of the network in ``start`` for every layer that both have by name and shape.

    In a chain of layers also for narrower layers, where the layers before them are the same in both.
    Raises `SettingsError` where no layer fits.
    """
    wider = keras.models.load_model(start, compile=False)
    chains = is_chain(wider) and is_chain(model)
    wide = _weighty(wider)
    behind = {layer.name: wide[index + 1 :] for index, layer in enumerate(wide)}
    before = {layer.name: previous for previous, layer in zip(["", *(layer.name for layer in wide)], wide, strict=False)}
    theirs = {layer.name: layer for layer in wide}
    fitting, last, kept = 0, "", np.arange(1)
    for layer in _weighty(model):
        name = layer.name
        weights: list[npt.NDArray[np.float32]] = []
        if name in theirs and _shapes(layer) == _shapes(theirs[name]):
            weights, kept = theirs[name].get_weights(), np.arange(_width_out(layer))
        elif name in theirs and chains and last == before[name]:
            weights, kept = _narrowed(theirs[name], kept, _width_out(layer), behind[name])
        last = "none of theirs"
        if [array.shape for array in weights] == _shapes(layer):
            layer.set_weights(weights)
            fitting, last = fitting + 1, name
    if not fitting:
        raise SettingsError(f"{start}: another network than the recipe's: no layer of the two has the same name and shape")


def _narrowed(
    layer: layers.Layer, kept: Channels, width: int, behind: Sequence[layers.Layer]
) -> tuple[list[npt.NDArray[np.float32]], Channels]:
    """A layer's weights for the input channels ``kept`` and ``width`` output channels, which are returned too."""
    weights = layer.get_weights()
    if isinstance(layer, layers.Conv2D) and not isinstance(layer, layers.DepthwiseConv2D):
        chosen = _important(behind, weights[0].shape[-1], width)
        return [weights[0][:, :, kept][..., chosen], *(array[chosen] for array in weights[1:])], chosen
    if isinstance(layer, layers.Dense):
        return [weights[0][kept], *weights[1:]], np.arange(weights[0].shape[-1])
    if isinstance(layer, layers.DepthwiseConv2D):
        return [weights[0][:, :, kept], *(array[kept] for array in weights[1:])], kept
    return [array[kept] for array in weights], kept


def _important(behind: Sequence[layers.Layer], channels: int, width: int) -> Channels:
    """The ``width`` of a convolution's ``channels`` that weigh most in the next one, in their order."""
    if width >= channels:
        return np.arange(channels)
    arrives, weight = np.ones(channels), np.ones(channels)
    for layer in behind:
        if isinstance(layer, layers.BatchNormalization):
            arrives = np.abs(layer.get_weights()[0])
        elif not isinstance(layer, layers.DepthwiseConv2D):
            kernel = layer.get_weights()[0]
            weight = np.linalg.norm(kernel.reshape(-1, channels, kernel.shape[-1]), axis=(0, 2))
            break
    return np.sort(np.argsort(-arrives * weight, kind="stable")[:width])


def _weighty(model: keras.Model) -> list[layers.Layer]:
    """The layers that have weights, in order."""
    return [layer for layer in model.layers if layer.weights]


def is_chain(model: keras.Model) -> bool:
    """Whether every layer has one input, the layer before it."""
    return not any(isinstance(layer.input, list) and len(layer.input) > 1 for layer in model.layers)


def _shapes(layer: layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in layer.weights]


def _width_out(layer: layers.Layer) -> int:
    return int(layer.weights[0].shape[-2 if isinstance(layer, layers.DepthwiseConv2D) else -1])
