"""Reads FER2013 in its three forms: the folder tree, a zip of it, and Kaggle's csv."""

from __future__ import annotations

import csv
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgefer.errors import DataError
from edgefer.types import Pixels

SIZE_PX = 48
EXPECTED = {"train": 28709, "validation": 3589, "test": 3589}
"""Images a split in the published FER2013 (Goodfellow et al. 2013)."""

WHERE_TO_GET = (
    "FER2013 is on Kaggle: 'msambare/fer2013' (folders) or the challenge 'challenges-in-representation-learning-"
    "facial-expression-recognition-challenge' (fer2013.csv). Download it there and pass DATA=path to the folder, "
    "the zip or the csv"
)

_SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "publictest": "validation",
    "test": "test", "privatetest": "test",
}  # fmt: skip
_ALIASES = {"upset": "disgust", "disgusted": "disgust", "fearful": "fear", "surprised": "surprise", "anger": "angry"}
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}


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
    """Read a folder tree, a zip of one, or a csv; ``labels`` gives the class order.

    Raises `DataError` naming the file or the row for anything missing, unknown, truncated or corrupt.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. {WHERE_TO_GET}")
    if path.is_dir():
        tables = sorted(path.glob("*fer2013*.csv"))
        if tables and not any(child.name.lower() in _SPLITS for child in path.iterdir()):
            return load(tables[0], labels)
        splits = _from_pictures(_walk_folder(path), path, labels)
    elif path.suffix.lower() == ".csv":
        splits = _from_csv(path, len(labels))
    elif path.suffix.lower() == ".zip":
        splits = _from_pictures(_walk_zip(path), path, labels)
    else:
        raise DataError(f"{path}: neither a folder, a .zip nor a .csv. {WHERE_TO_GET}")
    return _with_validation(Dataset(path, tuple(labels), splits))


def _with_validation(data: Dataset) -> Dataset:
    if "train" not in data.splits:
        raise DataError(f"{data.path}: no training pictures, found {', '.join(data.splits) or 'none at all'}. {WHERE_TO_GET}")
    if "validation" in data.splits:
        return data
    if "test" not in data.splits:
        raise DataError(f"{data.path}: no validation pictures, only train. {WHERE_TO_GET}")
    note = "no validation split: choosing on 'test' (PublicTest and PrivateTest together); its figures are not comparable"
    splits = {"train": data.splits["train"], "validation": data.splits["test"]}
    return replace(data, splits=splits, notes=(note,))


def _walk_folder(root: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for file in sorted(root.rglob("*")):
        if _is_picture(file) and file.is_file():
            try:
                yield PurePosixPath(file.relative_to(root).as_posix()), file.read_bytes()
            except OSError as error:
                raise DataError(f"{file}: cannot be read: {error.strerror}") from None


def _walk_zip(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                inside = PurePosixPath(name)
                if _is_picture(inside):
                    yield inside, archive.read(name)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole zip ({error}); download it again") from None
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); pack it again as a plain zip") from None


def _is_picture(path: PurePath) -> bool:
    """Whether a file is a picture; macOS metadata files ("._x.png") are not."""
    return path.suffix.lower() in _PICTURES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def _from_pictures(files: Iterable[tuple[PurePosixPath, bytes]], root: Path, labels: Sequence[str]) -> dict[str, Split]:
    """Pictures at ``.../<split>/<class>/<file>``."""
    found: dict[str, list[tuple[Pixels, int, int, str]]] = {}
    for path, content in files:
        if len(path.parts) < 3 or path.parts[-3].lower() not in _SPLITS:
            raise DataError(f"{root}: {path} is in no split; expected <train|validation|test>/<class>/<picture>")
        split, folder = _SPLITS[path.parts[-3].lower()], path.parts[-2].lower()
        label = _ALIASES.get(folder, folder)
        if label not in labels:
            raise DataError(f"{root}: unknown class folder {path.parent}; the classes are {', '.join(labels)}")
        number = re.fullmatch(r"fer(\d+)", path.stem)
        entry = (_decode(content, f"{root}: {path}"), labels.index(label), int(number[1]) if number else -1, str(path))
        found.setdefault(split, []).append(entry)
    return {split: _split(entries) for split, entries in found.items()}


def _decode(content: bytes, where: str) -> Pixels:
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(content))
        if image.size != (SIZE_PX, SIZE_PX):
            raise DataError(f"{where}: expected {SIZE_PX}x{SIZE_PX} pixels, found {image.width}x{image.height}")
        if image.mode.startswith(("I", "F")):
            raise DataError(f"{where}: expected 8 bits a pixel, found mode {image.mode}; save it as 8-bit grey")
        return np.asarray(image.convert("L"))
    except DataError:
        raise
    except Exception as error:  # a damaged picture can raise nearly any exception
        raise DataError(f"{where}: corrupt picture ({error}); download the dataset again") from None


def _from_csv(path: Path, classes: int) -> dict[str, Split]:
    """Kaggle's ``emotion,pixels,Usage`` table, in either of its column orders."""
    found: dict[str, list[tuple[Pixels, int, int, str]]] = {}
    rows = _csv_rows(path)
    _, header = next(rows, (0, []))
    names = [name.strip().lower() for name in header]
    if missing := {"emotion", "pixels", "usage"} - set(names):
        raise DataError(f"{path}: not fer2013.csv: no column {', '.join(sorted(missing))}. {WHERE_TO_GET}")
    emotion, pixels, usage = (names.index(name) for name in ("emotion", "pixels", "usage"))
    for row, (line, cells) in enumerate(rows):
        where = f"{path}: line {line} (row {row})"
        if len(cells) < len(names):
            raise DataError(f"{where}: expected {len(names)} columns, found {len(cells)}")
        split = _SPLITS.get(cells[usage].strip().lower())
        if split is None:
            raise DataError(f"{where}: unknown Usage {cells[usage][:40]!r}")
        try:
            label, picture = int(cells[emotion]), np.array(cells[pixels].split(), dtype=np.float64)
        except ValueError as error:
            raise DataError(f"{where}: not a number: {str(error)[:80]}") from None
        if picture.size != SIZE_PX**2:
            raise DataError(f"{where}: expected {SIZE_PX**2} pixels, found {picture.size}")
        if not ((picture >= 0) & (picture <= 255) & (picture % 1 == 0)).all():
            raise DataError(f"{where}: a pixel is not a whole number of 0..255")
        if not 0 <= label < classes:
            raise DataError(f"{where}: emotion {label} is not 0..{classes - 1}")
        image = picture.astype(np.uint8).reshape(SIZE_PX, SIZE_PX)
        found.setdefault(split, []).append((image, label, row, f"row {row}"))
    return {split: _split(entries) for split, entries in found.items()}


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv file with their line numbers, header first; raises `DataError` where it is not text."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a csv file ({error}). {WHERE_TO_GET}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _split(entries: list[tuple[Pixels, int, int, str]]) -> Split:
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
    rows = _csv_rows(path)
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
    """A file that belongs to a dataset: the one asked for, else ``name`` beside (or in) the dataset, else none."""
    beside = (data if data.is_dir() else data.parent) / name
    return Path(asked) if asked else beside if beside.is_file() else None


def load_unlabelled(path: Path) -> Pixels:
    """Grey faces without labels from a zip of pictures, each a box and an eighth of it on every side: (n, 60, 60) uint8.

    Raises `DataError` naming the file or the entry.
    """
    side, found = SIZE_PX + 2 * RIM_PX, []
    for inside, content in _walk_zip(path):
        try:
            image = Image.open(io.BytesIO(content)).convert("L")
        except Exception as error:  # a damaged picture can raise nearly any exception
            raise DataError(f"{path}: {inside}: corrupt picture ({error})") from None
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
