from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgefer.errors import ModelError
from edgefer.model import store
from edgefer.model.card import Card, InputSpec, attach_card, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.golden import golden_pictures
from edgefer.model.store import find_model, models_dir, published


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(find_model("small"))


@pytest.fixture
def parts() -> tuple[bytes, Card]:
    """The shipped model's bytes without its card, and the card."""
    return split_card(find_model("small").read_bytes(), "small")


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "mine.tflite"
    path.write_bytes(content)
    return path


def test_a_crop_gives_a_probability_for_each_label(classifier: Classifier) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    scores = classifier(crops)
    assert scores.shape == (5, len(classifier.labels))
    assert scores.dtype == np.float32
    assert scores.sum(axis=1) == pytest.approx(1, abs=0.03)
    assert scores.min() >= 0


def test_a_batch_gives_the_answers_of_its_single_crops(classifier: Classifier) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (4, 48, 48), np.uint8)
    together = classifier(crops)
    assert np.array_equal(together, np.concatenate([classifier(crop[None]) for crop in crops]))
    assert np.array_equal(together, classifier(crops))
    assert classifier(crops[:0]).shape == (0, len(classifier.labels))


def test_different_pictures_get_different_answers(classifier: Classifier) -> None:
    crops = np.stack([np.zeros((48, 48), np.uint8), np.random.default_rng(2).integers(0, 256, (48, 48), np.uint8)])
    assert not np.allclose(*classifier(crops))


def test_the_shipped_model_reads_raw_pixels_and_is_small(classifier: Classifier) -> None:
    assert classifier.input["dtype"] == np.uint8
    assert classifier.input["quantization"] == (1.0, 0)
    assert classifier.size_bytes <= 1_500_000
    assert set(classifier.labels) == {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}


def test_xnnpack_runs_the_shipped_model(classifier: Classifier) -> None:
    assert classifier.accelerated


def test_every_shipped_file_has_its_published_digest() -> None:
    here = {name for name in published() if name.endswith(".tflite") and (models_dir() / name).is_file()}
    assert here >= {"small/small-int8.tflite", "nano/nano-int8.tflite"}, "the wheel holds these two, a checkout all"
    for name in here:
        assert Classifier(models_dir() / name).labels


def test_a_changed_shipped_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, Card]) -> None:
    shutil.copytree(models_dir(), tmp_path / "models", ignore=shutil.ignore_patterns("*.png", "*.keras"))
    monkeypatch.setattr(store, "shipped", lambda _: tmp_path / "models")
    assert Classifier(find_model("small"))
    # A valid model, but not the published one.
    model, card = parts
    find_model("small").write_bytes(attach_card(model, msgspec.structs.replace(card, name="other")))
    with pytest.raises(ModelError, match="SHA256SUMS"):
        Classifier(find_model("small"))


def test_a_flipped_bit_is_refused_in_any_folder(tmp_path: Path) -> None:
    content = bytearray(find_model("small").read_bytes())
    content[len(content) // 2] ^= 4
    with pytest.raises(ModelError, match="changed"):
        Classifier(written(tmp_path, bytes(content)))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    content = find_model("small").read_bytes()
    with pytest.raises(ModelError, match="truncated"):
        Classifier(written(tmp_path, content[: int(len(content) * share)]))


def test_a_model_without_a_card_is_refused(tmp_path: Path, parts: tuple[bytes, Card]) -> None:
    with pytest.raises(ModelError, match="no card"):
        Classifier(written(tmp_path, parts[0]))


def test_a_card_that_disagrees_with_the_tensors_is_refused(tmp_path: Path, parts: tuple[bytes, Card]) -> None:
    model, card = parts
    fewer = msgspec.structs.replace(card, labels=card.labels[:-1])
    with pytest.raises(ModelError, match=r"6 labels, .*\(1, 7\)"):
        Classifier(written(tmp_path, attach_card(model, fewer)))
    larger = msgspec.structs.replace(card, input=InputSpec(height_px=64, width_px=64))
    with pytest.raises(ModelError, match=r"\(1, 64, 64, 1\), .*\(1, 48, 48, 1\)"):
        Classifier(written(tmp_path, attach_card(model, larger)))


def test_a_card_on_other_bytes_is_refused(tmp_path: Path, parts: tuple[bytes, Card]) -> None:
    with pytest.raises(ModelError, match="not a TFLite model"):
        Classifier(written(tmp_path, attach_card(b"nothing of the kind" * 100, parts[1])))


def test_an_unknown_model_lists_the_known_ones() -> None:
    there = sorted(folder.name for folder in models_dir().iterdir() if (folder / f"{folder.name}-int8.tflite").is_file())
    assert {"nano", "small"} <= set(there), "the wheel has these two, the repository others beside"
    with pytest.raises(ModelError, match=f"'huge'; .*{', '.join(there)}"):
        find_model("huge")


def test_without_a_runtime_one_line_names_the_package_to_install() -> None:
    code = (
        "import sys; sys.modules['ai_edge_litert'] = sys.modules['tflite_runtime'] = None\n"
        "from edgefer.cli.main import main; sys.exit(main(['show']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 1
    assert "pip install ai-edge-litert" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["nano", "small", "large"])
def test_a_published_model_gives_the_same_bits_without_xnnpack(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    if name == "large" and not (models_dir() / name).is_dir():
        pytest.skip("the wheel has no large")
    faces = golden_pictures(48, 48).astype(int)
    faces = np.clip(np.concatenate([faces + step for step in range(-60, 60, 8)]), 0, 255).astype(np.uint8)
    fast = Classifier(find_model(name))
    monkeypatch.setattr(
        litert,
        "Interpreter",
        functools.partial(litert.Interpreter, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES),
    )
    plain = Classifier(find_model(name))
    assert (fast.accelerated, plain.accelerated) == (True, False)
    assert np.array_equal(fast(faces), plain(faces))
