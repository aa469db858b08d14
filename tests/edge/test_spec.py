from __future__ import annotations

import pytest

from edgefer.errors import SettingsError
from edgefer.spec import parse_spec, resolve


@pytest.mark.parametrize(
    ("text", "scheme", "path", "options"),
    [
        ("picamera:", "picamera", "", {}),
        ("opencv:0", "opencv", "0", {}),
        ("snapshots:out/here?every_s=2&keep=9", "snapshots", "out/here", {"every_s": "2", "keep": "9"}),
        ("synthetic:?faces=3", "synthetic", "", {"faces": "3"}),
        ("file:/clips/what now?.mp4", "file", "/clips/what now?.mp4", {}),
        ("rtsp://user:secret@host:554/live?channel=1", "rtsp", "rtsp://user:secret@host:554/live?channel=1", {}),
        ("jsonl:-", "jsonl", "-", {}),
    ],
)
def test_a_spec_is_split_into_scheme_path_and_options(text: str, scheme: str, path: str, options: dict[str, str]) -> None:
    spec = parse_spec(text)
    assert (spec.scheme, spec.path, dict(spec.options)) == (scheme, path, options)


@pytest.mark.parametrize("text", ["", "clip.mp4", "0", "/dev/video0", "Opencv:0"])
def test_what_is_no_spec_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(SettingsError, match="write kind:place"):
        parse_spec(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(SettingsError, match="cam/1") as raised:
        parse_spec("RTSP://u:secret@cam/1")
    assert "secret" not in str(raised.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no source 'webcam'; there are here, there"):
        resolve({"here": "a:B", "there": "c:D"}, "webcam", "source")
