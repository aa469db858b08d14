from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the web page's libraries are not installed (pip install 'edgefer[web]')")
pytest.importorskip("prometheus_client", reason="the web page's libraries are not installed (pip install 'edgefer[web]')")

from targets import TARGETS, attempt, process, seeds

from edgefer.errors import ModelError
from edgefer.model.card import CARD, ENTRY_LIMIT_BYTES, LABELS, Card, attach_card, split_card
from edgefer.types import Box


@pytest.mark.parametrize("name", TARGETS)
def test_any_input_raises_only_our_own_errors(name: str) -> None:
    starts = seeds(name)
    for seed in starts:
        attempt(name, seed)

    def varied(start: bytes, at: int, more: bytes) -> bytes:
        at %= len(start) + 1
        return start[:at] + more + start[at + len(more) :]

    inputs = st.binary(max_size=400) | st.builds(varied, st.sampled_from(starts), st.integers(0, 2**16), st.binary(max_size=8))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def once(data: bytes) -> None:
        attempt(name, data)

    once()


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_bomb_in_the_card_is_not_unpacked(card: Card) -> None:
    bomb = zipped({CARD: b" " * 50_000_000 + b"{}", LABELS: b"yes\nno\n"})
    assert len(bomb) < 100_000
    with pytest.raises(ModelError, match="at most"):
        split_card(bomb, "model")


def test_a_bomb_with_a_false_size_is_not_unpacked_beyond_it() -> None:
    bomb = bytearray(zipped({CARD: b" " * 5_000_000 + b"{}", LABELS: b"yes\nno\n"}))
    for signature, at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        begin = bomb.index(signature) + at
        bomb[begin : begin + 4] = struct.pack("<I", ENTRY_LIMIT_BYTES // 2)
    with pytest.raises(ModelError):
        split_card(bytes(bomb), "model")


@pytest.mark.parametrize("path", ["../../evil.json", "/etc/evil", "..\\evil", "card.json/../evil"])
def test_a_path_in_the_cards_zip_is_never_written(path: str, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    fields = msgspec.to_builtins(card)
    del fields["labels"]
    content = zipped({CARD: msgspec.json.encode(fields), LABELS: b"yes\nno\n", path: b"evil"})
    assert split_card(content, "model")[1].labels == ("yes", "no")
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_a_model_cut_anywhere_is_refused(share: float, card: Card) -> None:
    whole = attach_card(bytes(range(256)) * 40, card)
    with pytest.raises(ModelError):
        split_card(whole[: int(share * len(whole))], "model")


def test_every_flipped_byte_of_a_model_is_noticed(card: Card) -> None:
    model = bytes(range(256))
    whole = attach_card(model, card)
    for at in range(len(model)):
        with pytest.raises(ModelError):
            split_card(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "model")


@pytest.mark.parametrize(
    ("shape", "boxes"),
    [
        ((480, 640), []),
        ((480, 640), [Box(20 * (i % 20), 40 * (i // 20), 18, 18) for i in range(200)]),
        ((1, 1), [Box(0, 0, 1, 1)]),
        ((4320, 7680), [Box(100, 100, 2000, 2000)]),
        ((48, 64), [Box(-50, -50, 20, 20), Box(60, 40, 100, 100)]),
    ],
    ids=["no face", "200 faces", "1x1", "8K", "beyond the border"],
)
def test_frames_of_every_size_with_any_number_of_faces_are_processed(shape: tuple[int, int], boxes: list[Box]) -> None:
    assert process(np.zeros(shape, np.uint8), boxes) == 2


def test_an_array_that_is_not_contiguous_is_processed() -> None:
    whole = np.arange(96 * 128, dtype=np.uint8).reshape(96, 128)
    assert process(whole[::-2, ::2], [Box(4, 4, 40, 40)]) == 2
    assert process(whole.T, [Box(4, 4, 40, 40)]) == 2


@pytest.mark.parametrize(
    "luma",
    [np.full((48, 64), np.nan), np.zeros((48, 64, 3), np.uint8), np.zeros((0, 0), np.uint8), np.zeros((48, 64), "U1")],
    ids=["NaN", "colour", "nothing", "text"],
)
def test_a_wrong_frame_is_counted_and_the_next_one_is_processed(luma: object) -> None:
    assert process(luma, [Box(4, 4, 40, 40)]) >= 1
