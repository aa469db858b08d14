"""FER2013 as Kaggle's csv: ``emotion,pixels,Usage``, in any order of the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import IO, cast

import numpy as np

from edgefer.errors import DataError
from edgefer.types import Pixels

SIZE_PX = 48
COLUMNS = ("emotion", "pixels", "usage")
WHERE_TO_GET = (
    "FER2013 is on Kaggle: 'msambare/fer2013' (folders) or the challenge 'challenges-in-representation-learning-"
    "facial-expression-recognition-challenge' (fer2013.csv). Download it there and pass DATA=path to the folder, "
    "the zip or the csv"
)
SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "publictest": "validation",
    "test": "test", "testing": "test", "privatetest": "test",
}  # fmt: skip

_LONGEST_HEADER = 10_000

Entry = tuple[Pixels, int, int, str]
"""A picture, its class, its row in fer2013.csv (-1: unknown), its name."""


def header_of(file: IO[bytes]) -> list[str]:
    """The names of the columns, in lower case; empty where it is no csv."""
    try:
        _, names = next(csv_rows(PurePath("csv"), file), (0, []))
    except DataError:
        return []
    return [name.strip().lower() for name in names]


def complete_table(tables: Iterable[tuple[PurePath, list[str]]], where: Path) -> PurePath | None:
    """The first of several tables that has every column; None where there is none of FER2013's.

    Raises `DataError` where tables have its pixels, and none has all columns.
    """
    lacking = []
    for name, header in tables:
        missing = [column for column in COLUMNS if column not in header]
        if not missing:
            return name
        if "pixels" in header:
            lacking.append(f"{name} has no column {', '.join(missing)}")
    if lacking:
        raise DataError(f"{where}: {'; '.join(lacking)}. fer2013.csv, or icml_face_data.csv of the same download, has all of them")
    return None


def read_table(path: PurePath, file: IO[bytes], classes: int) -> dict[str, list[Entry]]:
    """The pictures of each split; raises `DataError` naming line and row."""
    rows = csv_rows(path, file)
    _, header = next(rows, (0, []))
    names = [name.strip().lower() for name in header]
    if missing := set(COLUMNS) - set(names):
        raise DataError(f"{path}: not fer2013.csv: no column {', '.join(sorted(missing))}. {_sibling(path) or WHERE_TO_GET}")
    found: dict[str, list[Entry]] = {}
    emotion, pixels, usage = (names.index(name) for name in COLUMNS)
    for row, (line, cells) in enumerate(rows):
        where = f"{path}: line {line} (row {row})"
        if len(cells) < len(names):
            raise DataError(f"{where}: expected {len(names)} columns, found {len(cells)}")
        split = SPLITS.get(cells[usage].strip().lower())
        if split is None:
            raise DataError(f"{where}: unknown Usage {cells[usage][:40]!r}")
        label, image = _label(cells[emotion], classes, where), _image(cells[pixels], where)
        found.setdefault(split, []).append((image, label, row, f"row {row}"))
    return found


def _sibling(path: PurePath) -> str:
    """Which table beside an incomplete one is complete."""
    for other in sorted(Path(path).parent.glob("*.csv")):
        with other.open("rb") as file:
            if set(COLUMNS) <= set(header_of(file)):
                return f"{other} has it: pass that"
    return ""


def _label(text: str, classes: int, where: str) -> int:
    try:
        label = int(text)
    except ValueError as error:
        raise DataError(f"{where}: not a number: {str(error)[:80]}") from None
    if not 0 <= label < classes:
        raise DataError(f"{where}: emotion {label} is not 0..{classes - 1}")
    return label


def _image(text: str, where: str) -> Pixels:
    try:
        picture = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: not a number: {str(error)[:80]}") from None
    if picture.size != SIZE_PX**2:
        raise DataError(f"{where}: expected {SIZE_PX**2} pixels, found {picture.size}")
    if not ((picture >= 0) & (picture <= 255) & (picture % 1 == 0)).all():
        raise DataError(f"{where}: a pixel is not a whole number of 0..255")
    return picture.astype(np.uint8).reshape(SIZE_PX, SIZE_PX)


def csv_rows(path: PurePath, file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv file with their line numbers, header first; commas or semicolons, UTF-8 or what a byte order mark says.

    Raises `DataError` where it is not text.
    """
    try:
        buffered = io.BufferedReader(cast(io.RawIOBase, file))
        encoding = "utf-16" if buffered.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = io.TextIOWrapper(buffered, encoding=encoding, newline="")
        first = text.readline(_LONGEST_HEADER)
        delimiter = ";" if ";" in first and "," not in first else ","
        yield from ((1, cells) for cells in csv.reader([first], delimiter=delimiter))
        reader = csv.reader(text, delimiter=delimiter)
        yield from ((reader.line_num + 1, cells) for cells in reader)
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: not a csv file ({error}). {WHERE_TO_GET}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
