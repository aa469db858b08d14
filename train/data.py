"""Reads FER2013 and its kin as they are handed out, and counts their faults."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgefer.errors import DataError
from edgefer.types import Pixels
from train.archive import File, files_of, is_archive
from train.table import SIZE_PX, WHERE_TO_GET, Entry, complete_table, csv_rows, header_of, read_table
from train.tree import is_picture, read_tree

__all__ = [
    "EXPECTED", "FERPLUS_COLUMNS", "FERPLUS_NAME", "SIZE_PX", "UNLABELLED_NAME", "WHERE_TO_GET", "Audit", "Dataset", "Split", "audit",
    "faces", "ferplus_majority", "find_beside", "find_ferplus", "load", "load_ferplus", "load_unlabelled", "targets", "with_rim",
]  # fmt: skip

EXPECTED = {"train": 28709, "validation": 3589, "test": 3589}
"""Images a split in the published FER2013 (Goodfellow et al. 2013)."""


@dataclass(frozen=True, slots=True)
class Split:
    """Pictures with their classes: images (n, 48, 48) uint8, labels (n,) int, rows (n,) int (-1 where unknown).

    A row is the picture's number in the original ``fer2013.csv``, counted from 0; FER+ votes are joined by it.
    """

    images: Pixels
    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def keep(self, mask: npt.NDArray[np.bool_]) -> Split:
        """The pictures where ``mask`` (n,) is true."""
        names = tuple(name for name, kept in zip(self.names, mask, strict=True) if kept)
        return Split(self.images[mask], self.labels[mask], self.rows[mask], names)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as read: ``splits`` holds "train" and "validation", and "test" where there is one."""

    path: Path
    labels: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Audit:
    """Faults of a dataset: masks (n,) over the training and the validation split, and lines to print."""

    train_keep: npt.NDArray[np.bool_]
    """Training pictures that are neither blank nor repeated, pixel for pixel, in another split."""
    validation_unique: npt.NDArray[np.bool_]
    """Validation pictures that are not in the training split."""
    lines: tuple[str, ...]


def load(path: Path, labels: Sequence[str]) -> Dataset:
    """Read a csv, a tree of pictures, or a folder, a zip or a tar with one of them in it; ``labels`` gives the class order.

    Raises `DataError` naming the file or the row for anything missing, unknown, truncated or corrupt.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. {WHERE_TO_GET}")
    notes: list[str] = []
    if path.suffix.lower() == ".csv" and path.is_file():
        found = _read_csv(path, len(labels))
    elif path.is_dir() or is_archive(path):
        with files_of(path) as files:
            if archive := _only_archive(path, files):
                return load(archive, labels)
            if not any(map(_in_folder, files)) and (table := _table(files, path)):
                with table.open() as file:
                    found = read_table(path / table.path, file, len(labels))
            else:
                tree = read_tree(files, path, labels)
                found, notes = tree.found, tree.notes
    else:
        raise DataError(f"{path}: neither a folder, a .zip, a .tar.gz nor a .csv. {WHERE_TO_GET}")
    splits = {split: _split(entries) for split, entries in found.items()}
    data = _with_validation(Dataset(path, tuple(labels), splits, tuple(notes)))
    if len(classes := np.unique(data.splits["train"].labels)) < 2:
        raise DataError(f"{path}: only pictures of {labels[classes[0]]}; training needs at least two classes. Pass the folder above it")
    return data


def _read_csv(path: Path, classes: int) -> dict[str, list[Entry]]:
    try:
        with path.open("rb") as file:
            return read_table(path, file, classes)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _in_folder(file: File) -> bool:
    """Whether it is a picture in a folder, which may be that of a class."""
    return is_picture(file.path) and len(file.path.parts) > 1


def _only_archive(path: Path, files: Sequence[File]) -> Path | None:
    """The archive that a folder holds, if it holds no data but that."""
    found = [path / file.path for file in files if is_archive(Path(file.path.name))] if path.is_dir() else []
    others = any(_in_folder(file) or file.path.suffix.lower() == ".csv" for file in files)
    named = [file for file in found if "fer" in file.name.lower()] or found
    return named[0] if named and not others else None


def _table(files: Sequence[File], where: Path) -> File | None:
    """The table with all columns; the one called fer2013 first."""
    tables = sorted(
        (file for file in files if file.path.suffix.lower() == ".csv"), key=lambda file: ("fer2013" not in file.path.name, file.path)
    )
    headers = []
    for table in tables:
        with table.open() as file:
            headers.append((table.path, header_of(file)))
    name = complete_table(headers, where)
    return next((table for table in tables if table.path == name), None)


def _with_validation(data: Dataset) -> Dataset:
    if "train" not in data.splits:
        raise DataError(f"{data.path}: no training pictures, found {', '.join(data.splits) or 'none at all'}. {WHERE_TO_GET}")
    if "validation" in data.splits:
        return data
    if "test" not in data.splits:
        raise DataError(f"{data.path}: no validation pictures, only train. {WHERE_TO_GET}")
    note = "no validation split: choosing on 'test' (PublicTest and PrivateTest together); its figures are not comparable"
    splits = {"train": data.splits["train"], "validation": data.splits["test"]}
    return replace(data, splits=splits, notes=(*data.notes, note))


def _split(entries: list[Entry]) -> Split:
    images, labels, rows, names = zip(*entries, strict=True)
    return Split(np.stack(images), np.array(labels), np.array(rows), names)


def audit(data: Dataset) -> Audit:
    """Count the known faults of FER2013: blank pictures, and repeats within and across splits."""
    digests = {name: np.array([image.tobytes() for image in split.images]) for name, split in data.splits.items()}
    lines = [_counts_table(data)]
    for name, split in data.splits.items():
        expected = EXPECTED[name]
        agreement = "as published" if len(split) == expected else f"{expected:,} in the published FER2013"
        blank, repeats = int(_blank(split).sum()), len(split) - len(np.unique(digests[name]))
        lines.append(f"{name}: {len(split):,} images ({agreement}); {blank} blank, {repeats:,} repeat another of them")
    train, others = digests["train"], np.concatenate([d for name, d in digests.items() if name != "train"])
    crossing, blank_train = np.isin(train, others), _blank(data.splits["train"])
    repeated = np.isin(digests["validation"], train)
    keep = ~crossing & ~blank_train
    lines.append(
        f"{int(repeated.sum())} validation images stand in train pixel for pixel; "
        f"{int((~keep).sum())} images kept out of training (repeats across splits, and blanks)"
    )
    counts = np.bincount(data.splits["train"].labels, minlength=len(data.labels))
    if empty := [label for label, count in zip(data.labels, counts, strict=True) if not count]:
        lines.append(f"warning: no training pictures of {', '.join(empty)}: a model that never saw a class never answers it")
    return Audit(keep, ~repeated, (*lines, *data.notes))


def _blank(split: Split) -> npt.NDArray[np.bool_]:
    flat = split.images.reshape(len(split), -1)
    return np.asarray(flat.min(axis=1) == flat.max(axis=1))


def _counts_table(data: Dataset) -> str:
    rows = [f"{'':12}" + "".join(f"{label:>10}" for label in (*data.labels, "all"))]
    for name, split in data.splits.items():
        counts = np.bincount(split.labels, minlength=len(data.labels))
        rows.append(f"{name:12}" + "".join(f"{count:>10,}" for count in (*counts, len(split))))
    return "\n".join(rows)


FERPLUS_NAME = "fer2013new.csv"

FERPLUS_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
"""The answers FER+'s taggers could give; NF is "not a face"."""

_FERPLUS_NAMES = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
"""FER2013's classes with another name in FER+."""


def load_ferplus(path: Path) -> npt.NDArray[np.float32]:
    """FER+ votes (Barsoum et al. 2016): (rows, 10) float32 counts in the order of `FERPLUS_COLUMNS`.

    Line n belongs to row n of FER2013. The file's ``Image name`` skips the pictures the taggers called not a face, so it does not match.
    """
    try:
        with path.open("rb") as file:
            return _votes(path, file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _votes(path: Path, file: IO[bytes]) -> npt.NDArray[np.float32]:
    rows = csv_rows(path, file)
    _, header = next(rows, (0, []))
    if missing := set(FERPLUS_COLUMNS) - set(header):
        raise DataError(f"{path}: not fer2013new.csv of microsoft/FERPlus: no column {', '.join(sorted(missing))}")
    columns, votes = [header.index(name) for name in FERPLUS_COLUMNS], []
    for row, (line, cells) in enumerate(rows):
        try:
            votes.append([int(cells[column]) for column in columns])
        except (IndexError, ValueError):
            raise DataError(f"{path}: line {line} (row {row}): a vote is not a number") from None
    return np.array(votes, dtype=np.float32).reshape(-1, len(FERPLUS_COLUMNS))


def find_ferplus(data: Path, asked: str | None = None) -> Path | None:
    """The votes' file; see `find_beside`."""
    return find_beside(data, FERPLUS_NAME, asked)


UNLABELLED_NAME = "faces_unlabelled.zip"

RIM_PX = 6
"""What an unlabelled face has around it on every side, an eighth of 48: turned and shifted pictures show it instead of repeated edges."""


def find_beside(data: Path, name: str, asked: str | None = None) -> Path | None:
    """A file that belongs to a dataset: the one asked for, else ``name`` beside (or in) the dataset, else none.

    Raises `DataError` where the one asked for is missing.
    """
    if asked and not Path(asked).is_file():
        raise DataError(f"{asked}: no such file; expected {name}, or leave the option out")
    beside = (data if data.is_dir() else data.parent) / name
    return Path(asked) if asked else beside if beside.is_file() else None


def load_unlabelled(path: Path) -> Pixels:
    """Grey faces without labels from a zip of pictures, each a box and an eighth of it on every side: (n, 60, 60) uint8.

    Raises `DataError` naming the file or the entry.
    """
    side, found = SIZE_PX + 2 * RIM_PX, []
    with files_of(path) as files:
        for file in sorted((file for file in files if is_picture(file.path)), key=lambda file: file.path):
            content = file.read()
            try:
                image = Image.open(io.BytesIO(content)).convert("L")
            except Exception as error:  # a damaged picture can raise nearly any exception
                raise DataError(f"{path}: {file.path}: corrupt picture ({error})") from None
            found.append(np.asarray(image.resize((side, side), Image.Resampling.BOX), np.uint8))
    if not found:
        raise DataError(f"{path}: no pictures; a zip of face crops is expected")
    return np.stack(found)


def with_rim(images: Pixels) -> Pixels:
    """Pictures (n, 48, 48) with their edges repeated around them, (n, 60, 60), to stand among unlabelled faces."""
    return np.pad(images, ((0, 0), (RIM_PX, RIM_PX), (RIM_PX, RIM_PX)), "edge")


def ferplus_majority(split: Split, votes: npt.NDArray[np.float32], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """The class most taggers chose for each picture (n,) int; -1 where that is none of ``labels``, or a tie."""
    theirs = _votes_of(split, votes)
    most = theirs.max(axis=1, keepdims=True)
    names = [_FERPLUS_NAMES.get(label, label) for label in labels]
    of_column = np.array([names.index(column) if column in names else -1 for column in FERPLUS_COLUMNS])
    clear = (theirs == most).sum(axis=1) == 1
    return np.where(clear, of_column[theirs.argmax(axis=1)], -1)


def faces(split: Split, votes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which pictures (n,) show a face, as at least half of the FER+ taggers say."""
    theirs = _votes_of(split, votes)
    return np.asarray(theirs[:, FERPLUS_COLUMNS.index("NF")] < np.maximum(theirs.sum(axis=1) / 2, 1))


def targets(split: Split, labels: Sequence[str], votes: npt.NDArray[np.float32] | None, share: float) -> npt.NDArray[np.float32]:
    """Training targets (n, classes) float32: the original label mixed with the FER+ taggers' votes for ``labels``.

    The votes have ``share`` of the target on average over the pictures, more where the taggers agree: in proportion to the
    share of all votes that the leading class has, and never more than all of it.
    """
    wanted = np.eye(len(labels), dtype=np.float32)[split.labels]
    if votes is None or share == 0:
        return wanted
    theirs = _votes_of(split, votes)
    cast = np.zeros((len(split), len(labels)), np.float32)
    for k, label in enumerate(labels):
        if (name := _FERPLUS_NAMES.get(label, label)) in FERPLUS_COLUMNS:
            cast[:, k] = theirs[:, FERPLUS_COLUMNS.index(name)]
    agreement = cast.max(axis=1, keepdims=True) / np.maximum(theirs.sum(axis=1, keepdims=True), 1)
    part = np.clip(share * agreement / max(float(agreement.mean()), 1e-6), 0, 1)
    return np.asarray((1 - part) * wanted + part * cast / np.maximum(cast.sum(axis=1, keepdims=True), 1), dtype=np.float32)


def _votes_of(split: Split, votes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if (split.rows < 0).any():
        raise DataError("FER+ votes are joined by row: they need fer2013.csv, or pictures named ferNNNNNNN.png by row")
    if split.rows.max() >= len(votes):
        raise DataError(f"FER+ has votes for {len(votes):,} rows, the data has row {split.rows.max():,}")
    return votes[split.rows]
