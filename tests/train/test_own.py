"""A folder of drawn people by class becomes a model of these classes: the whole way, on people it has not seen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import in_process, one_line
from toy import draw_pictures
from toy_fixtures import command, made_once

from edgefer.model.card import read_card
from edgefer.model.classifier import Classifier
from edgefer.sources.synthetic import BLEND_S, HOLD_S, Scene, SyntheticOptions
from train.__main__ import main
from train.head import cross_validate, fit_head, interval
from train.near_copies import folds, near_copies

NAMES = {"happy": "fröhlich", "surprise": "驚き", "neutral": "neutral"}


def drawn(root: Path, people: range) -> Path:
    """Photographs of drawn people by class, with class names of several scripts."""
    for seed in people:
        scene = Scene(SyntheticOptions(size="320x240", seed=seed))
        for slot in range(7):
            index = round((slot * (HOLD_S + BLEND_S) + 0.3 * HOLD_S) * 30) + seed % 5
            label = scene.truth(index)[0].expression
            if label in NAMES:
                folder = root / NAMES[label]
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"person{seed}.png").write_bytes(cv2.imencode(".png", scene.draw(index))[1].tobytes())
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, with its output in ``said.txt``."""

    def make(out: Path) -> None:
        photographs = drawn(out.parent / f"{out.name}-photographs", range(25))
        root = out.parent / f"{out.name}-pictures" / "faces of ours"
        for label in NAMES.values():
            command("edgefer", "collect", root, "--class", label, "--source", f"images:{photographs / label}")
        done = in_process(main, "own", root, "--out", out, "--start", "nano", "--steps", 8)
        assert done.returncode == 0, done.stderr
        (out / "said.txt").write_text(done.stdout, encoding="utf-8")

    return made_once(tmp_path_factory, "own", make)


@pytest.mark.slow
def test_what_was_collected_is_recognised_on_people_it_has_not_seen(made: Path, tmp_path: Path) -> None:
    model = made / "faces of ours-int8.tflite"
    assert set(Classifier(model).labels) == set(NAMES.values())
    others, answers = drawn(tmp_path / "others", range(100, 112)), []
    for label in NAMES.values():
        lines = tmp_path / f"{label}.jsonl"
        command("edgefer", "run", "--model", model, "--source", f"images:{others / label}", "--sink", f"jsonl:{lines}")
        answers += [json.loads(line)["faces"][0]["expression"] == label for line in lines.read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 36
    assert np.mean(answers) >= 0.9


@pytest.mark.slow
def test_the_figures_are_with_the_model_and_no_picture_is_in_it(made: Path) -> None:
    report = json.loads((made / "metrics.json").read_text(encoding="utf-8"))
    assert set(report["pictures"]) == set(NAMES.values())
    card = read_card(made / "faces of ours-int8.tflite")
    assert card.metrics["cross_validation_low"] < card.metrics["cross_validation"] <= card.metrics["cross_validation_high"] <= 1
    assert card.prior == pytest.approx(dict.fromkeys(card.labels, 1 / 3), abs=1e-3)
    assert card.provenance["start"] == "nano"
    assert {"sheet.png", "confusion.png", "mistakes.png"} <= {path.name for path in made.iterdir()}


@pytest.mark.slow
def test_the_output_says_what_was_found_what_it_is_worth_and_how_to_run_it(made: Path) -> None:
    said = (made / "said.txt").read_text(encoding="utf-8")
    assert re.search(r"fröhlich: \d+ pictures \(\d+ from photographs", said)
    assert "95 % interval" in said
    assert "near copies" in said
    assert "shipped model" in said


@pytest.mark.slow
def test_a_second_conversion_needs_no_path_to_the_pictures(made: Path, tmp_path: Path) -> None:
    from convert.__main__ import main as convert

    done = in_process(convert, made / "faces of ours.keras", "--recipe", "float32", "--out", tmp_path / "again.tflite")
    assert done.returncode == 0, done.stderr
    assert "few" in done.stdout


@pytest.mark.parametrize(
    ("names", "facts"),
    [((), ["none"]), (("wink",), ["'wink'"]), (("wink", "uncertain"), ["'uncertain'", "rename"])],
)
def test_a_folder_that_is_no_classes_is_one_line(tmp_path: Path, names: tuple[str, ...], facts: list[str]) -> None:
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / name / "1.png"), np.zeros((48, 48), np.uint8))
    (tmp_path / "data").mkdir(exist_ok=True)
    done = in_process(main, "own", tmp_path / "data", "--out", tmp_path / "out")
    assert done.returncode == 1
    for fact in facts:
        assert fact in one_line(done.stderr)


def test_no_folder_and_a_missing_one_are_one_line(tmp_path: Path) -> None:
    assert "DATA=" in one_line(in_process(main, "own").stderr)
    assert "no such folder" in one_line(in_process(main, "own", tmp_path / "none", "--out", tmp_path / "out").stderr)


def test_copies_of_a_picture_are_one_group_and_other_people_are_not() -> None:
    images = np.stack([picture for _, _, _, picture in draw_pictures(4, 1)])
    images = np.pad(images, ((0, 0), (6, 6), (6, 6)), "edge")
    first = images[0]
    lighter = np.clip(first.astype(int) + 30, 0, 255).astype(np.uint8)
    softer = cv2.GaussianBlur(first, (3, 3), 0)
    moved = np.roll(first, 2, axis=1)
    together = np.concatenate([images, np.stack([lighter, softer, first[:, ::-1], moved])])
    found = near_copies(together, np.zeros(len(together), np.int64))
    groups = found.groups
    assert len(set(groups[len(images) :]) | {groups[0]}) == 1
    assert groups[0] not in groups[7 : len(images)], "other people"


def test_one_picture_in_two_classes_is_named_and_keeps_no_classes_together() -> None:
    images = np.random.default_rng(5).integers(0, 256, (3, 60, 60), np.uint8)
    found = near_copies(np.concatenate([images, images[1:2, :, ::-1]]), np.array([0, 0, 1, 1]))
    assert found.contradictions == ((1, 3),)
    assert len(set(found.groups)) == 4


def test_frames_of_one_part_of_a_clip_stay_together() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 60, 60), np.uint8)
    groups = near_copies(images, np.zeros(4, np.int64), ["wink.mp4 0", "", "wink.mp4 0", "wink.mp4 1"]).groups
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3


def test_a_split_keeps_groups_whole_and_classes_even() -> None:
    random = np.random.default_rng(1)
    groups, classes = np.repeat(np.arange(60), 3), np.repeat(random.integers(0, 3, 60), 3)
    fold = folds(groups, classes, 5, 0)
    for group in range(60):
        assert len(set(fold[groups == group])) == 1
    for label in range(3):
        held = np.bincount(fold[classes == label], minlength=5) / (classes == label).sum()
        assert held == pytest.approx([0.2] * 5, abs=0.08)


def test_the_estimate_of_noise_is_chance_and_its_interval_wide() -> None:
    random = np.random.default_rng(2)
    features, classes = random.standard_normal((1, 60, 20)).astype(np.float32), np.arange(60) % 3
    found = cross_validate(features, classes, np.arange(60), 3, seed=1)
    assert found
    assert found.low < 1 / 3 < found.high
    assert found.high - found.low > 0.15


def test_rare_classes_weigh_as_much_as_frequent_ones() -> None:
    random = np.random.default_rng(3)
    classes = np.array([0] * 190 + [1] * 10)
    features = (2 * classes[:, None] + random.standard_normal((200, 1))).astype(np.float32)[None]
    answers = fit_head(features, classes, 2)(features[0]).argmax(axis=1)
    assert np.mean(answers[classes == 1] == 1) > 0.6


def test_all_right_on_few_pictures_is_no_certainty_and_copies_count_once() -> None:
    assert interval(1.0, np.arange(20))[0] < 0.87
    assert interval(1.0, np.repeat(np.arange(20), 10))[0] == pytest.approx(interval(1.0, np.arange(20))[0])
