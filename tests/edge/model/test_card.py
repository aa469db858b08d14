from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path

import msgspec
import pytest

from edgefer.errors import ModelError
from edgefer.model.card import CARD, LABELS, Card, attach_card, read_card, split_card, write_card

MODEL = bytes(range(256)) * 40


def test_an_attached_card_is_read_back_and_the_model_bytes_stay(card: Card) -> None:
    content = attach_card(MODEL, card)
    model, found = split_card(content, "toy")
    assert model == MODEL
    assert content.startswith(MODEL)
    assert found.labels == ("yes", "no")
    assert msgspec.structs.replace(found, model_sha256="") == card


def test_any_unzip_lists_the_two_entries_and_labels_are_in_one_of_them(card: Card) -> None:
    with zipfile.ZipFile(io.BytesIO(attach_card(MODEL, card))) as archive:
        assert sorted(archive.namelist()) == [CARD, LABELS]
        assert archive.read(LABELS) == b"yes\nno\n"
        assert b"yes" not in archive.read(CARD)


def test_the_card_is_written_for_people_and_dated_alike(card: Card) -> None:
    with zipfile.ZipFile(io.BytesIO(attach_card(MODEL, card))) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b'{\n "' in archive.read(CARD)


def test_errors_name_the_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no card.tflite", tmp_path / "no card.tflite" / "below"):
        if path.parent == tmp_path:
            path.write_bytes(MODEL)
        with pytest.raises(ModelError, match=re.escape(str(path))):
            read_card(path)


def test_the_same_model_and_card_give_the_same_bytes(card: Card) -> None:
    assert attach_card(MODEL, card) == attach_card(MODEL, card)


def test_attaching_twice_is_refused(card: Card) -> None:
    with pytest.raises(ModelError, match="already"):
        attach_card(attach_card(MODEL, card), card)


@pytest.mark.parametrize("labels", [(), ("one",), ("a", "a"), ("a", ""), ("a", " b"), ("a", "b\nc"), ("a", "uncertain")])
def test_invalid_labels_are_refused(card: Card, labels: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match=r"the card.*labels|labels.*the card"):
        attach_card(MODEL, msgspec.structs.replace(card, labels=labels))


@pytest.mark.parametrize("at", [0, 5000, len(MODEL) - 1])
def test_a_flipped_bit_anywhere_in_the_model_is_refused(card: Card, at: int) -> None:
    content = bytearray(attach_card(MODEL, card))
    content[at] ^= 1
    with pytest.raises(ModelError, match="changed"):
        split_card(bytes(content), "toy")


def test_a_truncated_file_is_refused_at_every_length(card: Card) -> None:
    content = attach_card(MODEL, card)
    for length in (0, 1, 100, len(MODEL), len(MODEL) + 50, len(content) - 30, len(content) - 1):
        with pytest.raises(ModelError, match="toy: "):
            split_card(content[:length], "toy")


def test_a_huge_entry_is_not_unpacked(card: Card) -> None:
    buffer = io.BytesIO(MODEL)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD, b"{" + b" " * 50_000_000 + b"}")
        archive.writestr(LABELS, b"a\nb\n")
    assert len(buffer.getvalue()) < 200_000
    with pytest.raises(ModelError, match="50,000,002 bytes"):
        split_card(buffer.getvalue(), "toy")


@pytest.mark.parametrize("kind", ["pipe", "device", "many entries"])
def test_a_pipe_a_device_and_a_zip_with_a_long_list_are_refused_without_being_read(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "model.tflite"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "many entries":
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(3000):
                archive.writestr(f"{number:05d}", b"")
    with pytest.raises(ModelError, match="list of entries" if kind == "many entries" else "not a regular file"):
        read_card(path)


def test_a_card_with_a_wrong_type_names_the_key(card: Card) -> None:
    buffer = io.BytesIO(MODEL)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(CARD, b'{"name": "toy", "input": {"height_px": "tall", "width_px": 48}, "crop_margin": 0, "quantization": "int8"}')
        archive.writestr(LABELS, b"a\nb\n")
    with pytest.raises(ModelError, match="height_px"):
        split_card(buffer.getvalue(), "toy")


def test_a_zip_of_another_kind_is_not_an_edgefer_model(tmp_path: Path) -> None:
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelError, match="not an edgefer model"):
        read_card(path)


def test_a_keras_file_holds_the_same_two_entries(tmp_path: Path, card: Card) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        write_card(archive, card)
    assert read_card(path) == card


def test_a_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="make convert"):
        read_card(tmp_path / "none.tflite")
