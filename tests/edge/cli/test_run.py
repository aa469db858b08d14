from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Run, one_line

from edgefer.model.store import find_model

DEADLINE_S = 60.0
STAGES = {"capture", "gate", "detect", "classify"}
ENDLESS = "synthetic:?paced=false&size=160x120"


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fails after `DEADLINE_S`."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def daemon(folder: Path, *arguments: str, **pipes: int) -> subprocess.Popen[str]:
    """``edgefer run`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "edgefer", "run", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def test_a_clip_is_run_to_its_end_and_every_frame_is_a_line(edgefer: Run, clip: Path) -> None:
    done = edgefer("run", "--source", f"file:{clip}", "--sink", "jsonl:-")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(60))
    for line in lines:
        assert set(line) == {"time", "frame", "size", "faces", "timings_ms", "dropped"}
        assert set(line["timings_ms"]) == STAGES
        assert line["size"] == [320, 240]
    with_face = [line for line in lines if line["faces"]]
    assert len(with_face) >= 57
    face = with_face[-1]["faces"][0]
    assert set(face) == {"track", "box", "expression", "score", "scores"}
    assert len(face["box"]) == 4
    assert "60 frames" in done.stderr
    assert "AI Act" in done.stderr


@pytest.mark.parametrize("out", [".", "annotated", "../{name}/x"])
def test_annotated_pictures_among_those_that_are_read_are_refused(edgefer: Run, pictures: Path, out: str) -> None:
    out = out.format(name=pictures.name)
    done = edgefer("run", "--source", f"images:{pictures}", "--sink", f"snapshots:{out}", cwd=pictures)
    assert done.returncode == 1
    assert f"snapshots:{out}" in one_line(done.stderr)
    assert not (pictures / "annotated").exists()


def test_pictures_carry_their_file_name_and_both_sinks_get_all_of_them(cli: Run, pictures: Path, tmp_path: Path) -> None:
    done = cli("run", "--source", f"images:{pictures}", "--sink", "jsonl:out.jsonl", "--sink", "snapshots:shots")
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    found = [(line["source"], len(line["faces"])) for line in lines]
    assert found == [("face0.png", 1), ("face1.png", 1), ("face2.png", 1), ("wall.png", 0)]
    assert len(list((tmp_path / "shots").glob("*.jpg"))) == 4


def test_without_a_camera_the_demonstration_runs_until_sigterm(tmp_path: Path) -> None:
    if list(Path("/dev").glob("video*")):
        pytest.skip("there is a camera here")
    with daemon(tmp_path, stderr=subprocess.PIPE) as process:
        until(lambda: list((tmp_path / "snapshots").glob("*.jpg")), "no picture")
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode == 0, output
    assert "no camera found" in output
    assert str(tmp_path / "snapshots") in output
    assert "a face in" in output


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--source", "file:/nowhere.mp4"], ["/nowhere.mp4", "no such file"]),
        (["--source", f"file:{__file__}"], ["not a video"]),
        (["--source", "opencv:63"], ["/dev/video63"]),
        (["--source", "http://127.0.0.1:9/x.mjpg"], ["127.0.0.1:9"]),
        (["--source", "nonsense"], ["'nonsense'", "opencv:0"]),
        (["--source", "synthetic:", "--sink", "kafka://x"], ["'kafka'", "jsonl"]),
        (["--source", "synthetic:", "--sink", "display:"], ["display:"]),
        (["--model", "my.keras"], ["make convert MODEL=my.keras"]),
        (["--model", "/nowhere.tflite"], ["/nowhere.tflite"]),
        (["--config", "/nowhere.toml"], ["/nowhere.toml", "no such file"]),
    ],
)
def test_what_cannot_be_opened_is_one_line_and_a_failure(
    cli: Run, arguments: list[str], facts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = cli("run", *arguments, *([] if "--sink" in arguments else ["--sink", "jsonl:-"]))
    assert done.returncode == 1
    for fact in facts:
        assert fact in one_line(done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_model_is_refused_in_one_line(cli: Run, tmp_path: Path, damage: str) -> None:
    content = bytearray(find_model("small").read_bytes())
    content[1000] ^= 1
    broken = {"truncated": content[:5000], "flipped": content, "empty": b""}[damage]
    (tmp_path / "bad.tflite").write_bytes(bytes(broken))
    done = cli("run", "--source", "synthetic:?seconds=1", "--sink", "jsonl:-", "--model", "bad.tflite")
    assert done.returncode == 1
    assert "bad.tflite" in one_line(done.stderr)


def test_flags_override_the_configuration_file(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('source = "file:/nowhere.mp4"\nsinks = ["jsonl:config.jsonl"]\n')
    done = cli("run", "--config", "config.toml", "--source", "synthetic:?seconds=0.3&paced=false&size=160x120")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "config.jsonl").read_text().splitlines()) == 9


def test_a_reader_that_goes_away_ends_the_run_without_an_error(tmp_path: Path) -> None:
    with daemon(tmp_path, "--source", ENDLESS, "--sink", "jsonl:-", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert all(json.loads(process.stdout.readline()) for _ in range(2))
        process.stdout.close()
        output = process.stderr.read()
        assert process.wait(timeout=DEADLINE_S) == 0
    assert "Traceback" not in output
    assert "Exception" not in output


def test_a_stop_works_while_nobody_reads_the_output(tmp_path: Path) -> None:
    with daemon(tmp_path, "--source", ENDLESS, "--sink", "jsonl:-", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        pipe = process.stdout.fileno()
        size = fcntl.fcntl(pipe, 1031, 4096)  # F_SETPIPE_SZ
        until(lambda: int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder) > size // 2, "the pipe is not full")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=DEADLINE_S) == 0


def test_a_full_disk_is_reported_once_and_the_run_fails(cli: Run) -> None:
    done = cli("run", "--source", "synthetic:?paced=false&seconds=0.5&size=160x120", "--sink", "jsonl:/dev/full")
    assert done.returncode == 1
    assert "15 observations could not be written" in done.stderr
    assert done.stderr.count("No space left") == 1


def test_a_reader_of_the_messages_that_goes_away_does_not_change_the_exit_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?size=320x240&seconds=2", "--sink", "jsonl:out.jsonl"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(60) == 0
