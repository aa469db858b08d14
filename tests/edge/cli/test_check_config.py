from __future__ import annotations

from pathlib import Path

import pytest
from command import Run, one_line


def test_a_good_file_passes(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text('source = "opencv:0"\nsinks = ["jsonl:-"]\n')
    assert cli("check-config", "good.toml").returncode == 0
    assert cli("check-config", "--config", "good.toml").returncode == 0


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("[detector]\nscale = 1.2\n", ["line 2", "'scale_factor'"]),
        ('source = "webcam:0"\n', ["line 1", "'webcam'", "opencv"]),
        ('sinks = ["jsonl"]\n', ["line 1", "'jsonl'"]),
        ('[detector]\nname = "magic"\n', ["line 2", "'magic'", "blazeface"]),
        ('[detector]\nphoto_name = "blazefase"\n', ["line 2", "'blazefase'"]),
        ('sinks = ["snapshots:d?keap=3"]\n', ["'keep'"]),
        ('sinks = ["snapshots:"]\n', ["no folder given"]),
        ('sinks = ["jsonl:"]\n', ["jsonl:", "given"]),
        ('sinks = ["status:foo"]\n', ["takes no path"]),
        ('sinks = ["display:foo"]\n', ["takes no path"]),
        ('model = "huge"\n', ["'huge'", "small"]),
        ('threads = 1\nsource = "opencv:zero"\n', ["line 2", "opencv:zero"]),
        ('source = "opencv:0?fourcc=MJPEG"\n', ["fourcc"]),
        ('source = "picamera:?rotation=45"\n', ["'rotation'"]),
        ('source = "picamera:1"\n', ["takes no path"]),
        ('source = "synthetic:?size=9x9"\n', ["160x120"]),
        ('source = "synthetic:?face=1"\n', ["'faces'"]),
        ('source = "images:"\n', ["no folder given"]),
        ('source = "file:"\n', ["no file given"]),
        ('source = "file:a.mp4?frames=2"\n', ["'frames'"]),
        ('source = "rtsp://me:pa/ss@camera/live"\n', ["rtsp://…@camera/live", "%2F"]),
        ('source = "rtsp://camera/live#timeout=5"\n', ["'timeout_s'"]),
        ('threads = 1\n\nsinks = ["status:", "jsonl"]\n', ["line 3", "'jsonl'"]),
        ('[[action]]\ncommand = ["true"]\n[[action]]\ncommand = ["no-such x"]\n', ["line 3", "number 2", "'no-such'"]),
    ],
)
def test_an_error_is_one_line_with_file_line_and_key(cli: Run, tmp_path: Path, text: str, facts: list[str]) -> None:
    (tmp_path / "bad.toml").write_text(text)
    done = cli("check-config", "bad.toml")
    assert done.returncode == 1
    for fact in ("bad.toml", *facts):
        assert fact in one_line(done.stderr)


def test_a_missing_file_is_one_line_and_no_file_is_a_wrong_call(cli: Run) -> None:
    done = cli("check-config", "/nowhere.toml")
    assert done.returncode == 1
    assert "/nowhere.toml" in one_line(done.stderr)
    assert cli("check-config").returncode == 2
