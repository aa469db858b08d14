from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from edgefer.errors import SettingsError
from edgefer.files import shipped
from edgefer.settings import ActionSettings, Settings, load_settings


def settings_of(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_settings(path)


def test_the_shipped_configuration_holds_every_key_at_its_default() -> None:
    path = shipped("deploy") / "config.toml"
    assert tomllib.loads(path.read_text()) == msgspec.to_builtins(Settings())
    assert load_settings(path) == Settings()


def test_the_example_action_of_the_shipped_configuration_holds_every_key_at_its_default() -> None:
    text = (shipped("deploy") / "config.toml").read_text()
    lines = text[text.index("# [[action]]") :].splitlines()
    (example,) = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))["action"]
    assert example == {**msgspec.to_builtins(ActionSettings(command=["x"])), "command": []}


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    found = settings_of(tmp_path, "threads = 2\n[track]\nlost_s = 1.5\n")
    assert (found.threads, found.track.lost_s, found.track.min_iou) == (2, 1.5, Settings().track.min_iou)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("thread = 2", ["thread", "'threads'"]),
        ("[track]\nlost = 1", ["'track.lost'", "'lost_s'"]),
        ("[nothing]\nx = 1", ["'nothing'"]),
        ("threads = 'two'", ["'threads'", "`int`", "`str`"]),
        ("threads = 0", ["'threads'", "`int` >= 1"]),
        ("[detector]\nscale_factor = 1.0", ["'detector.scale_factor'", "`float` > 1"]),
        ("log_level = 'loud'", ["'log_level'", "'loud'"]),
        ("threads = ", ["TOML"]),
    ],
)
def test_an_error_names_the_file_the_key_and_the_remedy(tmp_path: Path, text: str, facts: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        settings_of(tmp_path, text)
    for fact in [*facts, str(tmp_path / "config.toml")]:
        assert fact in str(error.value)
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
def test_an_error_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(SettingsError, match=rf"line {line}\b"):
        settings_of(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: no such file"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "ignore", ["[[0.5, 0, 0.6, 1]]", "[[0, 0, 0, 1]]", "[[0, 0, 1]]", "[[0, 0, 1, 1.5]]", "[0, 0, 1, 1]", str(33 * [[0, 0, 1, 1]])]
)
def test_a_region_to_ignore_lies_inside_the_frame(ignore: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[detector]\nname = 'haar'\nignore = {ignore}\n")
    with pytest.raises(SettingsError, match=r"config\.toml.*ignore"):
        load_settings(file)


def test_a_region_inside_the_frame_is_taken_and_one_outside_is_named(tmp_path: Path) -> None:
    inside = (0.25, 0.5, 0.5, 0.5)
    assert settings_of(tmp_path, f"[detector]\nignore = [{list(inside)}]\n").detector.ignore == [inside]
    for outside in ([0.25, 0.5, 0.5, 0.0], [0.25, 0.5, 0.5, 0.75]):
        with pytest.raises(SettingsError, match=re.escape("[" + ", ".join(f"{share:g}" for share in outside) + "]")):
            settings_of(tmp_path, f"[detector]\nignore = [{outside}]\n")


def test_a_number_in_quotes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="min_size_px"):
        settings_of(tmp_path, '[detector]\nmin_size_px = "20"\n')


def test_an_unknown_key_like_no_other_is_answered_with_all_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'detector\.qqqq'.*min_size_px, ") as refused:
        settings_of(tmp_path, "[detector]\nqqqq = 1\n")
    assert "did you mean" not in str(refused.value)
