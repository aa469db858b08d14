"""Accuracy where a camera differs from FER2013: one variation of the validation pictures at a time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edgefer.errors import DataError, EdgeferError
from edgefer.model.card import read_card
from edgefer.model.store import find_model
from edgefer.pipeline.crop import crop_face
from edgefer.types import Box, Pixels
from train.data import WHERE_TO_GET, Split, audit, load
from train.evaluate import open_scorer

Vary = Callable[[Pixels, np.random.Generator], Pixels]
"""One picture (H, W) uint8 -> the picture as another camera might take it, same shape."""


def _levels(offset: float) -> Vary:
    return lambda image, _: np.clip(image + np.float32(offset), 0, 255).astype(np.uint8)


def _contrast(gain: float) -> Vary:
    return lambda image, _: np.clip((image - image.mean()) * gain + image.mean(), 0, 255).astype(np.uint8)


def _blur(sigma_px: float) -> Vary:
    return lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


def _noise(deviation: float) -> Vary:
    return lambda image, random: np.clip(image + random.normal(0, deviation, image.shape), 0, 255).astype(np.uint8)


def _jpeg(quality: int) -> Vary:
    def vary(image: Pixels, _: np.random.Generator) -> Pixels:
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)

    return vary


def _small(side_px: int) -> Vary:
    """A face of ``side_px`` pixels, enlarged by the crop that the device uses."""

    def vary(image: Pixels, _: np.random.Generator) -> Pixels:
        height, width = image.shape
        seen = np.asarray(cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)
        return crop_face(seen, Box(0, 0, side_px, side_px), 0.0, height, width)

    return vary


def _moved(shift: float = 0.0, zoom: float = 1.0, angle_deg: float = 0.0) -> Vary:
    """Moved by ``shift`` of the side in a random direction, scaled, turned left or right; edges repeated."""

    def vary(image: Pixels, random: np.random.Generator) -> Pixels:
        height, width = image.shape
        turn, way = random.choice((-1, 1)), random.uniform(0, 2 * np.pi)
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn * angle_deg, zoom)
        matrix[:, 2] = matrix[:, 2] + shift * np.array([width * np.cos(way), height * np.sin(way)])
        return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return vary


VARIATIONS: dict[str, Vary] = {
    "as they are": _levels(0),
    "60 levels darker": _levels(-60),
    "60 levels brighter": _levels(60),
    "half the contrast": _contrast(0.5),
    "blur, sigma 1 px": _blur(1),
    "blur, sigma 2 px": _blur(2),
    "noise, sigma 10 levels": _noise(10),
    "noise, sigma 20 levels": _noise(20),
    "JPEG, quality 30": _jpeg(30),
    "JPEG, quality 10": _jpeg(10),
    "face of 40 px": _small(40),
    "face of 32 px": _small(32),
    "face of 24 px": _small(24),
    "box moved by 5 %": _moved(shift=0.05),
    "box moved by 10 %": _moved(shift=0.10),
    "box 15 % too large": _moved(zoom=1 / 1.15),
    "box 15 % too small": _moved(zoom=1.15),
    "head turned 10 degrees": _moved(angle_deg=10),
    "head turned 20 degrees": _moved(angle_deg=20),
}


def robustness(model: Path, split: Split) -> dict[str, float]:
    """Accuracy, 0..1, of a ``.keras`` or ``.tflite`` file on ``split`` under each of `VARIATIONS`."""
    scores_of, found = open_scorer(model), {}
    for name, vary in VARIATIONS.items():
        random = np.random.default_rng(2013)
        varied = np.stack([vary(image, random) for image in split.images])
        found[name] = float(np.mean(scores_of(varied).argmax(axis=1) == split.labels))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the accuracy of models on validation pictures without repeats, each varied in one way."""
    parser = argparse.ArgumentParser(prog="python -m train.robustness", description=main.__doc__)
    parser.add_argument("models", nargs="+", help=".keras or .tflite files, or edgefer's own models")
    parser.add_argument("data", help="FER2013: folder, zip or csv")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        _compare(options)
    except EdgeferError as error:
        raise SystemExit(f"robustness: {error}") from None


def _compare(options: argparse.Namespace) -> None:
    paths = [find_model(name) for name in options.models]
    if not options.data:
        raise DataError(f"which dataset? {WHERE_TO_GET}")
    data = load(Path(options.data), read_card(paths[0]).labels)
    split = data.splits["validation"].keep(audit(data).validation_unique)
    found = {path.name: robustness(path, split) for path in paths}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    wide = max(map(len, VARIATIONS))
    print(f"{len(split):,} images  " + "  ".join(found))
    for name in VARIATIONS:
        print(f"{name:{wide}}  " + "  ".join(f"{100 * of[name]:{len(file) - 2}.1f} %" for file, of in found.items()))


if __name__ == "__main__":
    main()
