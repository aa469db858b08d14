from __future__ import annotations

from pathlib import Path

import pytest

from edgefer.errors import SettingsError
from edgefer.files import shipped
from edgefer.settings import ActionSettings, Settings, load_settings


def settings_of(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_settings(path)


def test_the_shipped_configuration_holds_every_key_at_its_default() -> None:
    import msgspec

    path = shipped("deploy") / "config.toml"
    import tomllib

    assert tomllib.loads(path.read_text()) == msgspec.to_builtins(Settings())
    assert load_settings(path) == Settings()


def test_the_action_table_shown_in_the_shipped_configuration_holds_every_key_at_its_default() -> None:
    import tomllib

    import msgspec

    text = (shipped("deploy") / "config.toml").read_text()
    lines = text[text.index("# [[action]]") :].splitlines()
    (shown,) = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))["action"]
    assert shown == {**msgspec.to_builtins(ActionSettings(command=["x"])), "command": []}


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    found = settings_of(tmp_path, "threads = 2\n[track]\nlost_s = 1.5\n")
    assert (found.threads, found.track.lost_s, found.track.min_iou) == (2, 1.5, Settings().track.min_iou)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thread = 2", "unknown key 'thread'; did you mean 'threads'?"),
        ("[track]\nlost = 1", "unknown key 'track.lost'; did you mean 'lost_s'?"),
        ("[nothing]\nx = 1", "unknown key 'nothing'"),
        ("threads = 'two'", "key 'threads': expected `int`, got `str`"),
        ("threads = 0", "key 'threads': expected `int` >= 1"),
        ("[detector]\nscale_factor = 1.0", "key 'detector.scale_factor': expected `float` > 1"),
        ("log_level = 'loud'", "key 'log_level': invalid enum value 'loud'"),
        ("threads = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_names_itself_the_key_and_the_way_out(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_of(tmp_path, text)
    assert said in str(error.value)
    assert str(tmp_path / "config.toml") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("thread = 2", 1),
        ("# first\n\nthreads = 'two'\n[track]\nlost_s = 1\n", 3),
        ("[gate]\nthreshold = 2.0\n[track]\nlost_s = 1.0\nlost = 3", 5),
        ("track.lost_s = 'x'", 1),
        ("sinks = [\n  'status:',\n  3,\n]", 1),
        ("[nothing]\nx = 1", 1),
        ("[[action]]\ncommand = ['x']\n[[action]]\ncommand = ['x']\nfor_s = 'long'", 5),
        ("threads = 1\nmodel = = 3", 2),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(SettingsError, match=rf"line {line}\b"):
        settings_of(tmp_path, text)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(tmp_path / "none.toml")
