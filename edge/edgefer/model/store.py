"""The models that edgefer ships: their paths, and a check that they are unchanged."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgefer.errors import ModelError
from edgefer.files import shipped

SUMS = "SHA256SUMS"


def models_dir() -> Path:
    """The folder with ``SHA256SUMS`` and the models it lists; raises `ModelError` where it is missing."""
    folder = shipped("models")
    if not (folder / SUMS).is_file():
        raise ModelError(f"{folder}: {SUMS} is missing: install edgefer again")
    return folder


def find_model(name_or_path: str) -> Path:
    """The int8 file of a shipped model ("small"), or the path itself where a path is given; raises `ModelError`."""
    if "/" in name_or_path or Path(name_or_path).suffix:
        return Path(name_or_path)
    own = models_dir() / name_or_path / f"{name_or_path}-int8.tflite"
    if not own.is_file():
        names = sorted(path.parent.name for path in models_dir().glob("[!.]*/*-int8.tflite"))
        raise ModelError(f"no model {name_or_path!r}; there are {', '.join(names)}, or give the path of a .tflite file")
    return own


def published() -> dict[str, str]:
    """sha256 of every published file, by its path in `models_dir`."""
    lines = (models_dir() / SUMS).read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, _, path in (line.partition("  ") for line in lines if line.strip())}


def check_published(path: Path, content: bytes) -> str:
    """sha256 of ``content``; raises `ModelError` where ``path`` is a shipped model with another digest."""
    found = hashlib.sha256(content).hexdigest()
    try:
        inside = path.resolve().relative_to(models_dir().resolve()).as_posix()
    except ValueError:
        return found
    wanted = published().get(inside, found)
    if found != wanted:
        raise ModelError(
            f"{path}: sha256 is {found[:12]}…, {SUMS} has {wanted[:12]}…: damaged or changed; restore it "
            "('git checkout models', or install edgefer again), or keep your own model elsewhere"
        )
    return found
