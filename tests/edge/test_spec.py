from __future__ import annotations

import pytest

from edgefer.errors import SettingsError
from edgefer.settings import Table
from edgefer.spec import parse_spec


@pytest.mark.parametrize(
    ("text", "scheme", "path", "options"),
    [
        ("picamera:", "picamera", "", {}),
        ("opencv:0", "opencv", "0", {}),
        ("snapshots:out/here?every_s=2&keep=9", "snapshots", "out/here", {"every_s": "2", "keep": "9"}),
        ("synthetic:?faces=3", "synthetic", "", {"faces": "3"}),
        ("file:/clips/what now?.mp4", "file", "/clips/what now?.mp4", {}),
        ("file:clip.mp4?", "file", "clip.mp4", {}),
        ("rtsp://user:secret@host:554/live?channel=1", "rtsp", "rtsp://user:secret@host:554/live?channel=1", {}),
        ("jsonl:-", "jsonl", "-", {}),
    ],
)
def test_a_spec_is_split_into_scheme_path_and_options(text: str, scheme: str, path: str, options: dict[str, str]) -> None:
    spec = parse_spec(text)
    assert (spec.scheme, spec.path, dict(spec.options)) == (scheme, path, options)


@pytest.mark.parametrize("text", ["", "clip.mp4", "0", "/dev/video0", "Opencv:0"])
def test_what_is_no_spec_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(SettingsError, match="write scheme:path, such as opencv:0"):
        parse_spec(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(SettingsError, match="cam/1") as raised:
        parse_spec("RTSP://u:secret@cam/1")
    assert "secret" not in str(raised.value)


class Options(Table, frozen=True):
    keep: int = 3


def test_options_become_a_struct_and_a_wrong_one_is_named_with_the_nearest_that_exists() -> None:
    assert parse_spec("snapshots:out?keep=9").read(Options).keep == 9
    assert parse_spec("snapshots:out").read(Options).keep == 3
    with pytest.raises(SettingsError, match=r"snapshots:out\?keeps=9: .*'keeps'; did you mean 'keep'"):
        parse_spec("snapshots:out?keeps=9").read(Options)
