"""Pictures in folders named after their classes, as FER2013, FER+, RAF-DB, CK+ and AffectNet are handed out."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
from PIL import Image

from edgefer.errors import DataError
from edgefer.types import Pixels
from train.archive import File
from train.classes import RAF_DB, Classes
from train.table import SIZE_PX, SPLITS, Entry

_PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}
_MAX_PIXELS = 50_000_000
_RAF_NAME = re.compile(r"(train|test)_\d+_aligned")
_HELD_BACK = 10
"""One person of so many, or one picture where people are unknown, is validation if the data has no splits."""


@dataclass(slots=True)
class Tree:
    """What was read: the pictures of each split, and lines to print."""

    found: dict[str, list[Entry]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_picture(path: PurePath) -> bool:
    """Whether a file is a picture, by its name."""
    return path.suffix.lower() in _PICTURES


def read_tree(files: Sequence[File], root: Path, labels: Sequence[str]) -> Tree:
    """Pictures at ``.../<split>/<class>/<file>``, or at ``.../<class>/<file>`` where there is no split.

    Raises `DataError` naming the file or the folder.
    """
    pictures = [file for file in files if is_picture(file.path)]
    raf = RAF_DB if any(_RAF_NAME.match(file.path.stem) for file in pictures[:50]) else None
    classes, tree = Classes(root, labels, raf), Tree()
    once = _once(pictures)
    if len(once) < len(pictures):
        tree.notes.append(f"{len(pictures) - len(once):,} pictures are there twice, in folders inside each other; each is read once")
    where = [_place(file.path) for file in once]
    split_less = not any(split for split, _ in where)
    left_out, scaled = Counter[str](), 0
    for file, (split, folder) in zip(once, where, strict=True):
        if not split and not split_less:
            raise DataError(f"{root}: {file.path} is in no split; expected <train|validation|test>/<class>/<picture>")
        if not folder:
            raise DataError(f"{root}: {file.path} is in no class folder; expected <train|validation|test>/<class>/<picture>")
        label = classes.label(folder, str(file.path.parent))
        if label is None:
            left_out[folder] += 1
            continue
        image, other_size = _decode(file, root)
        scaled += other_size
        number = re.fullmatch(r"fer(\d+)", file.path.stem)
        entry = (image, label, int(number[1]) if number else -1, str(file.path))
        tree.found.setdefault(split or _split_of(file.path), []).append(entry)
    for folder, count in left_out.items():
        tree.notes.append(f"{count:,} pictures of {folder} are left out: the recipe has no such class")
    if scaled:
        tree.notes.append(f"{scaled:,} pictures are not {SIZE_PX}x{SIZE_PX}: scaled to it")
    if split_less and tree.found:
        tree.notes.append(f"no splits: about one in {_HELD_BACK} people is validation, or one in {_HELD_BACK} pictures; not comparable")
    for entries in tree.found.values():
        entries.sort(key=lambda entry: entry[3])
    return tree


def _once(pictures: Sequence[File]) -> list[File]:
    """The pictures without those of a tree that is there twice: at ``train/happy/1.png`` and again at ``images/train/happy/1.png``."""
    sizes = {str(file.path): file.size for file in pictures}

    def again(file: File) -> bool:
        parts = file.path.parts
        return any(sizes.get("/".join(parts[at:])) == file.size for at in range(1, len(parts) - 1))

    return [file for file in pictures if not again(file)]


def _place(path: PurePosixPath) -> tuple[str, str]:
    """Split and class folder of a picture; the split is empty where no folder above the class names one."""
    above = path.parts[:-1]
    split = SPLITS.get(above[-2].lower(), "") if len(above) > 1 else ""
    return split, above[-1] if above else ""


def _split_of(path: PurePosixPath) -> str:
    """A split where the data has none, always the same for a picture; all pictures of a person of CK+ in one."""
    person = re.match(r"S\d{3}(?=_)", path.name)
    return "validation" if zlib.crc32((person[0] if person else path.name).encode()) % _HELD_BACK == 0 else "train"


def _decode(file: File, root: Path) -> tuple[Pixels, bool]:
    """The picture as (48, 48) uint8, and whether it had another size."""
    where = f"{root}: {file.path}"
    try:
        content = file.read()
    except DataError as error:
        raise DataError(f"{root}: {error}") from None
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(content))
        width, height = image.size
        if width * height > _MAX_PIXELS or not 0.5 <= width / height <= 2 or min(width, height) < SIZE_PX // 3:
            raise DataError(f"{where}: {width}x{height} pixels are no crop of a face; expected {SIZE_PX}x{SIZE_PX}, or a square to scale")
        if image.mode.startswith(("I", "F")):
            raise DataError(f"{where}: expected 8 bits a pixel, found mode {image.mode}; save it as 8-bit grey")
        grey = image.convert("L")
        if image.size == (SIZE_PX, SIZE_PX):
            return np.asarray(grey), False
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return np.asarray(grey.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX, (left, top, left + side, top + side))), True
    except DataError:
        raise
    except Exception as error:  # a damaged picture can raise nearly any exception
        raise DataError(f"{where}: corrupt picture ({error}); download the dataset again") from None
