"""Names of classes in the folders of datasets: which are known, and what a file ``classes.toml`` says of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgefer.errors import DataError
from edgefer.settings import read_toml

FILE = "classes.toml"
_ALIASES = {
    "upset": "disgust", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "surprised": "surprise", "anger": "angry",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "neutrality": "neutral",
}  # fmt: skip
_LEFT_OUT = {"contempt", "contemptuous"}
"""Expressions of FER+, CK+ and AffectNet that FER2013 has no class for."""
ORDERS = {
    "FER2013": "angry disgust fear happy sad surprise neutral",
    "RAF-DB, from 1": "surprise fear disgust happy sad angry neutral",
    "AffectNet": "neutral happy sad surprise fear disgust angry contempt",
}
RAF_DB = {str(number): name for number, name in enumerate(ORDERS["RAF-DB, from 1"].split(), 1)}
"""Folder -> expression, where the names of the pictures say that they are RAF-DB's."""


class Classes:
    """The class of a folder's name; ``path`` is the dataset, in or beside which ``classes.toml`` may stand."""

    def __init__(self, path: Path, labels: Sequence[str], known: dict[str, str] | None = None) -> None:
        self._labels, self._path = labels, path
        self._file = (path if path.is_dir() else path.parent) / FILE
        given = read_toml(self._file) if self._file.is_file() else {}
        self._given = (known or {}) | {key.lower(): str(value).lower() for key, value in given.items()}
        if wrong := set(self._given.values()) - {"", *_LEFT_OUT, *labels}:
            raise DataError(f'{self._file}: no class {sorted(wrong)[0]!r}; the classes are {", ".join(labels)}, or "" to leave it out')

    def label(self, folder: str, where: str) -> int | None:
        """The number of a folder's class; None where its pictures are left out. Raises `DataError` for an unknown name."""
        name = self._name(folder)
        if name in self._labels:
            return self._labels.index(name)
        if name in ("", *_LEFT_OUT):
            return None
        if folder.isdecimal():
            orders = "; ".join(f"{of}: {order}" for of, order in ORDERS.items())
            advice = f'lines such as {folder} = "{self._labels[0]}" (orders people use: {orders})'
        else:
            advice = f'the line "{folder}" = "{self._labels[0]}", or "{folder}" = "" to leave it out'
        raise DataError(
            f"{self._path}: class folder {where} is unknown; the classes are {', '.join(self._labels)}. Write {self._file} with {advice}"
        )

    def _name(self, folder: str) -> str:
        folder = folder.lower()
        return self._given.get(folder, _ALIASES.get(folder, folder))
