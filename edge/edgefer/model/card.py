"""The model's contract, inside the model file: ``card.json`` and ``labels.txt`` in a zip appended to it.

This is the TFLite metadata convention for associated files: the runtime ignores what follows the flatbuffer, and any
unzip lists them. A ``.keras`` file is a zip already and carries the same two entries. Labels are in ``labels.txt``
only; their order is the order of the model's outputs.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgefer.errors import ModelError
from edgefer.files import read_regular
from edgefer.types import UNCERTAIN

CARD, LABELS = "card.json", "labels.txt"
ADOPT = "If it is a whole Keras or TFLite model: 'make convert MODEL={} LABELS=…' gives it a card (docs/models.md)"
"""What to do with a model that somebody else trained."""
ADOPTED = "adopted"
"""What ``provenance`` of a card has under "provenance" where somebody else trained the model."""
ENTRY_LIMIT_BYTES = 1_000_000
"""A larger entry is not a card, and is not unpacked."""


DIRECTORY_LIMIT_BYTES = 65_536
"""The same for the list of entries: a model has a few."""


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The model's input: height x width luma pixels, channels last; a network of colours gets luma three times."""

    height_px: Annotated[int, Meta(ge=8, le=1024)]
    width_px: Annotated[int, Meta(ge=8, le=1024)]
    channels: Literal[1, 3] = 1
    black: float = 0.0
    """What the network reads for a pixel of 0; edgefer's own networks read raw pixels 0..255."""
    white: float = 255.0
    """What it reads for a pixel of 255."""


class Card(msgspec.Struct, frozen=True):
    """A model's contract; ``labels`` comes from ``labels.txt``, everything else from ``card.json``."""

    name: str
    input: InputSpec
    crop_margin: Annotated[float, Meta(ge=-0.4, le=2)]
    """Margin of the crop around the detector's box, on every side, as a share of the box."""
    quantization: str
    """The convert recipe: int8, dynamic or float32; "none" for a Keras model."""
    uncertain_below: Annotated[float, Meta(ge=0, le=1)] = 0.35
    """The probability below which an answer is "uncertain", chosen on validation pictures."""
    prior: dict[str, float] = {}
    """Share of each label, 0..1, that the probabilities assume; empty where that is unknown."""
    metrics: dict[str, float] = {}
    provenance: dict[str, str] = {}
    model_sha256: str = ""
    """Digest of the bytes before the card; empty in a ``.keras``."""
    labels: tuple[str, ...] = ()


def attach_card(model: bytes, card: Card) -> bytes:
    """``model`` (a flatbuffer without a card) with ``card`` appended; the same input gives the same bytes.

    Raises `ModelError` where the model has a card already, or for invalid labels.
    """
    if zipfile.is_zipfile(io.BytesIO(model)):
        raise ModelError("the model has a card already; attach it to the converter's own output")
    sealed = msgspec.structs.replace(card, model_sha256=hashlib.sha256(model).hexdigest())
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        write_card(archive, sealed)
    return buffer.getvalue()


def write_card(archive: zipfile.ZipFile, card: Card) -> None:
    """Add the card's two entries to an open zip, such as a ``.keras`` file opened with mode "a"."""
    _check_labels(card.labels, "the card")
    fields = msgspec.to_builtins(card)
    del fields["labels"]
    entries = {CARD: msgspec.json.format(msgspec.json.encode(fields), indent=1), LABELS: "\n".join(card.labels).encode() + b"\n"}
    for name, content in entries.items():
        # A fixed date, so that the same model and card give the same bytes and digest.
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def read_card(path: Path) -> Card:
    """The card of a ``.tflite`` or ``.keras`` file.

    Raises `ModelError` for a missing, truncated, changed or card-less file.
    """
    return split_card(read_model(path), str(path))[1]


def read_model(path: Path) -> bytes:
    """The bytes of a model file; raises `ModelError` where it cannot be read."""
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model; make one with 'make convert', or name one of edgefer's own") from None
    except IsADirectoryError:
        raise ModelError(
            f"{path}: a folder, no model file; if it is a SavedModel: 'make convert MODEL={path} LABELS=…' (docs/models.md)"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from None


def split_card(content: bytes, where: str) -> tuple[bytes, Card]:
    """The bytes of the model without its card, and the card; checks the model's digest."""
    try:
        _check_directory(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            fields = msgspec.json.decode(_entry(archive, CARD), type=dict[str, object])
            labels = tuple(_entry(archive, LABELS).decode().split("\n")[:-1])
            model = content[: min(info.header_offset for info in archive.infolist())]
        card = msgspec.convert({**fields, "labels": labels}, Card)
    except KeyError:
        raise ModelError(f"{where}: a zip without {CARD} and {LABELS}: not an edgefer model. {ADOPT.format(where)}") from None
    except zipfile.BadZipFile:
        raise ModelError(f"{where}: no card in this file: truncated, or not made by edgefer. {ADOPT.format(where)}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"{where}: the card cannot be read ({error}); get the model again") from None
    _check_labels(card.labels, where)
    if card.model_sha256 and hashlib.sha256(model).hexdigest() != card.model_sha256:
        raise ModelError(f"{where}: the model was changed after its card was written (sha256 differs); get it again")
    return model, card


def _check_directory(content: bytes) -> None:
    """Raises `ValueError` for a zip with a long list of entries: a small file may list millions, and each takes memory."""
    end = content.rfind(b"PK\5\6")
    size = int.from_bytes(content[end + 12 : end + 16], "little") if end >= 0 else 0
    if size > DIRECTORY_LIMIT_BYTES:
        raise ValueError(f"its list of entries claims {size:,} bytes, at most {DIRECTORY_LIMIT_BYTES:,} are read")


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > ENTRY_LIMIT_BYTES:
        raise ValueError(f"{name} claims {info.file_size:,} bytes, at most {ENTRY_LIMIT_BYTES:,} are read")
    return archive.read(info)


def _check_labels(labels: tuple[str, ...], where: str) -> None:
    clean = all(label and label == label.strip() and label.isprintable() for label in labels)
    if not clean or len(labels) < 2 or len(set(labels)) < len(labels) or UNCERTAIN in labels:
        raise ModelError(f"{where}: labels must be two or more different words, none of them {UNCERTAIN!r}; found {list(labels)}")
