from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from command import Run, one_line

from edgefer.cli.setup import configuration, probe, set_up
from edgefer.errors import SettingsError, SourceError
from edgefer.settings import Settings, load_settings
from edgefer.sources import DEMONSTRATION

FAST = "synthetic:?size=320x240&paced=false"


def test_setup_writes_the_commented_file_with_the_answers_in_it(cli: Run, tmp_path: Path) -> None:
    done = cli("setup", "--config", "etc/config.toml", "--source", FAST, "--sink", "jsonl:a b.jsonl", "--sink", "status:", "--yes")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "etc/config.toml"
    settings = load_settings(path)
    assert settings == Settings(source=FAST, sinks=["jsonl:a b.jsonl", "status:"])
    assert "# frames with a longer side" in path.read_text()
    assert "frame 0 shows" in done.stderr
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.toml"], "no draft stays"
    assert cli("run", "--config", str(path), "--source", f"{FAST}&seconds=0.2").returncode == 0


@pytest.mark.parametrize("value", ["a", 'quo"te', "back\\slash", "ünï # no comment", "x" * 60, ""])
def test_any_text_is_written_correctly_and_no_comment_is_lost(value: str) -> None:
    text = configuration(source=value, sinks=[value, "status:"])
    read = tomllib.loads(text)
    assert (read["source"], read["sinks"]) == (value, [value, "status:"])
    assert text.count("#") - 2 * value.count("#") == configuration().count("#")


def test_an_existing_file_is_not_changed_or_is_kept_beside_the_new_one(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("threads = 2\n")
    flags = ("setup", "--config", "config.toml", "--source", FAST, "--yes")
    done = cli(*flags)
    assert done.returncode == 1
    assert "--replace" in one_line(done.stderr)
    assert (tmp_path / "config.toml").read_text() == "threads = 2\n"
    assert cli(*flags, "--replace").returncode == 0
    assert (tmp_path / "config.toml.old").read_text() == "threads = 2\n"
    assert load_settings(tmp_path / "config.toml").sinks == ["status:"]


def test_at_no_time_is_there_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rename = tmp_path / "config.toml", Path.replace
    path.write_text("threads = 2\n")
    there: list[bool] = []
    monkeypatch.setattr(Path, "replace", lambda *how: (rename(*how), there.append(path.exists()))[0])
    set_up(path, FAST, ["status:"], True, None, lambda _: None)
    assert there
    assert all(there)


@pytest.mark.parametrize(
    ("flags", "fact"),
    [
        (("--source", "opencv:63"), "no camera answers"),
        (("--source", "nonsense"), "is not a spec"),
        (("--source", FAST, "--sink", "carrier-pigeon:"), "is not a spec"),
        (("--source", FAST, "--sink", "pigeon:"), "no sink 'pigeon'"),
        (("--source", "synthetic:?seconds=0"), "key 'seconds'"),
    ],
)
def test_a_source_or_sink_that_does_not_work_is_one_line_and_nothing_is_written(
    cli: Run, tmp_path: Path, flags: tuple[str, ...], fact: str
) -> None:
    (tmp_path / "config.toml").write_text("threads = 2\n")
    done = cli("setup", "--config", "config.toml", "--replace", "--yes", *flags)
    assert done.returncode == 1
    assert fact in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "draft" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert (tmp_path / "config.toml").read_text() == "threads = 2\n"


def test_a_path_that_cannot_be_written_is_reported_before_any_question() -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        set_up(Path("/proc/none/config.toml"), None, None, False, lambda *_: pytest.fail("asked"), lambda _: None)


def test_without_a_camera_setup_fails_instead_of_taking_drawn_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.sources.pick_source", lambda _: DEMONSTRATION)
    with pytest.raises(SourceError, match="no camera found"):
        set_up(tmp_path / "config.toml", None, None, False, None, lambda _: None)
    assert not list(tmp_path.iterdir())


def test_the_first_camera_found_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.sources.pick_source", lambda _: FAST)
    set_up(tmp_path / "config.toml", None, None, False, None, lambda _: None)
    assert load_settings(tmp_path / "config.toml").source == FAST


def test_setup_asks_until_a_camera_works(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("threads = 2\n")
    answers = {"replace": ["yes"], "source": ["opencv:63", FAST], "sinks": ["status:  jsonl:faces.jsonl"]}
    messages: list[str] = []

    def ask(question: str, default: str) -> str:
        return next(answers[key].pop(0) for key in answers if key in question)

    set_up(path, None, None, False, ask, messages.append)
    assert not any(answers.values()), "everything was asked"
    assert any("no camera answers" in line for line in messages)
    assert load_settings(path) == Settings(source=FAST, sinks=["status:", "jsonl:faces.jsonl"])
    assert (tmp_path / "config.toml.old").exists()
    with pytest.raises(SettingsError, match="--replace"):
        set_up(path, None, None, False, lambda *_: "no", messages.append)


def test_a_probe_reports_a_face_or_the_number_of_frames(clip: Path, pictures: Path, tmp_path: Path) -> None:
    assert "shows" in probe(f"file:{clip}")
    assert "2 frames, no face in them" in probe("synthetic:?faces=0&size=160x120&seconds=0.04&paced=false")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError):
        probe(f"images:{tmp_path / 'empty'}")


def test_questions_without_an_answer_write_nothing(edgefer: Run, tmp_path: Path) -> None:
    import pty

    controller, terminal = pty.openpty()
    import os

    os.write(controller, b"\x04")
    done = edgefer("setup", "--config", "config.toml", stdin=terminal)
    os.close(controller)
    os.close(terminal)
    assert done.returncode == 1
    assert "nothing was written" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())
