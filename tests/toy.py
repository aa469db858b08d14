"""A toy FER2013 of drawn faces with the seven expressions, as a folder, a zip and a csv."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import cv2
import numpy as np

from edgefer.luma import luma_of
from edgefer.pipeline.crop import crop_face
from edgefer.sources.synthetic import BLEND_S, HOLD_S, Scene, SyntheticOptions

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

Picture = tuple[str, str, int, np.ndarray]
"""Split, class, row in the original order, (48, 48) uint8."""


def draw_pictures(train_people: int = 24, validation_people: int = 6) -> list[Picture]:
    """Every person with every expression, cropped at the true box. People of validation are not in training."""
    pictures: list[Picture] = []
    for seed in range(train_people + validation_people):
        split = "train" if seed < train_people else "validation"
        scene = Scene(SyntheticOptions(size="160x120", seed=seed, fps=30))
        for slot in range(len(LABELS)):
            index = round((slot * (HOLD_S + BLEND_S) + 0.3 * HOLD_S) * 30) + seed % 5
            truth = scene.truth(index)[0]
            face = crop_face(luma_of(scene.draw(index)), truth.box, 0.0, 48, 48)
            pictures.append((split, truth.expression, len(pictures), face))
    return pictures


def write_folder(pictures: list[Picture], root: Path) -> Path:
    for split, label, row, picture in pictures:
        folder = root / split / label
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"fer{row:07d}.png"), picture)
    return root


def write_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    return path


def write_csv(pictures: list[Picture], path: Path) -> Path:
    usage = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for split, label, _, picture in pictures:
            writer.writerow([LABELS.index(label), " ".join(map(str, picture.flat)), usage[split]])
    return path


def write_votes(pictures: list[Picture], path: Path) -> Path:
    """FER+ votes that half agree: six for the label, four for neutral; row 3 is not a face."""
    names = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
    column = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Usage", "Image name", *names])
        for split, label, row, _ in pictures:
            votes = dict.fromkeys(names, 0)
            votes["neutral"] += 4
            votes[column.get(label, label)] += 6
            if row == 3:
                votes = {**dict.fromkeys(names, 0), "NF": 10}
            writer.writerow([split, "" if row == 3 else f"fer{row:07d}.png", *votes.values()])
    return path
