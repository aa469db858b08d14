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


def test_what_is_written_is_the_commented_file_with_the_answers_in_it(cli: Run, tmp_path: Path) -> None:
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
def test_any_text_survives_the_writing_and_no_comment_is_lost(value: str) -> None:
    text = configuration(source=value, sinks=[value, "status:"])
    read = tomllib.loads(text)
    assert (read["source"], read["sinks"]) == (value, [value, "status:"])
    assert text.count("#") - 2 * value.count("#") == configuration().count("#")


def test_a_file_that_is_there_is_left_alone_or_kept_beside_the_new_one(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("threads = 2\n")
    flags = ("setup", "--config", "config.toml", "--source", FAST, "--yes")
    done = cli(*flags)
    assert done.returncode == 1
    assert "--replace" in one_line(done.stderr)
    assert (tmp_path / "config.toml").read_text() == "threads = 2\n"
    assert cli(*flags, "--replace").returncode == 0
    assert (tmp_path / "config.toml.old").read_text() == "threads = 2\n"
    assert load_settings(tmp_path / "config.toml").sinks == ["status:"]


def test_there_is_no_moment_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rename = tmp_path / "config.toml", Path.replace
    path.write_text("threads = 2\n")
    there: list[bool] = []
    monkeypatch.setattr(Path, "replace", lambda *how: (rename(*how), there.append(path.exists()))[0])
    set_up(path, FAST, ["status:"], True, None, lambda _: None)
    assert there
    assert all(there)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--source", "opencv:63"), "no camera answers"),
        (("--source", "nonsense"), "is not a spec"),
        (("--source", FAST, "--sink", "carrier-pigeon:"), "is not a spec"),
        (("--source", FAST, "--sink", "pigeon:"), "no sink 'pigeon'"),
        (("--source", "synthetic:?seconds=0"), "key 'seconds'"),
    ],
)
def test_what_does_not_work_is_one_line_and_nothing_is_written(cli: Run, tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    (tmp_path / "config.toml").write_text("threads = 2\n")
    done = cli("setup", "--config", "config.toml", "--replace", "--yes", *flags)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "draft" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert (tmp_path / "config.toml").read_text() == "threads = 2\n"


def test_a_place_that_cannot_be_written_is_said_before_anything_is_asked() -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        set_up(Path("/proc/none/config.toml"), None, None, False, lambda *_: pytest.fail("asked"), lambda _: None)


def test_without_a_camera_flags_are_wanted_instead_of_drawn_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.sources.pick_source", lambda _: DEMONSTRATION)
    with pytest.raises(SourceError, match="no camera found"):
        set_up(tmp_path / "config.toml", None, None, False, None, lambda _: None)
    assert not list(tmp_path.iterdir())


def test_the_first_camera_found_is_taken_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.sources.pick_source", lambda _: FAST)
    set_up(tmp_path / "config.toml", None, None, False, None, lambda _: None)
    assert load_settings(tmp_path / "config.toml").source == FAST


def test_asking_goes_on_until_a_camera_answers(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("threads = 2\n")
    answers = {"replace": ["yes"], "source": ["opencv:63", FAST], "sinks": ["status:  jsonl:faces.jsonl"]}
    said: list[str] = []

    def ask(question: str, default: str) -> str:
        return next(answers[key].pop(0) for key in answers if key in question)

    set_up(path, None, None, False, ask, said.append)
    assert not any(answers.values()), "everything was asked"
    assert any("no camera answers" in line for line in said)
    assert load_settings(path) == Settings(source=FAST, sinks=["status:", "jsonl:faces.jsonl"])
    assert (tmp_path / "config.toml.old").exists()
    with pytest.raises(SettingsError, match="--replace"):
        set_up(path, None, None, False, lambda *_: "no", said.append)


def test_a_look_says_what_one_frame_shows(clip: Path, pictures: Path, tmp_path: Path) -> None:
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
