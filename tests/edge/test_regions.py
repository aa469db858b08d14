from __future__ import annotations

from pathlib import Path

import pytest

from edgefer.errors import SettingsError
from edgefer.regions import Regions, write_ignore
from edgefer.settings import Region, load_settings

POSTER: Region = (0.25, 0.0, 0.5, 0.3)
TELEVISION: Region = (0.0, 0.6, 0.125, 0.4)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\n[detector]\nignore = [[0.25, 0, 0.5, 0.3]]\n"),
        ("# mine\nmodel = 'small'\n", "# mine\nmodel = 'small'\n\n[detector]\nignore = [[0.25, 0, 0.5, 0.3]]\n"),
        (
            "[detector]  # faces\nname = 'haar'  # mine\n\n[gate]\nthreshold = 5\n",
            "[detector]  # faces\nignore = [[0.25, 0, 0.5, 0.3]]\nname = 'haar'  # mine\n\n[gate]\nthreshold = 5\n",
        ),
        (
            "[detector]\nignore = [[0, 0, 1, 0.5],\n  [0, 0, 0.1, 0.1],  # a poster\n]  # two\nname = 'haar'\n",
            "[detector]\nignore = [[0.25, 0, 0.5, 0.3]]  # two\nname = 'haar'\n",
        ),
        ("detector.ignore = []\nmodel = 'small'\n", "detector.ignore = [[0.25, 0, 0.5, 0.3]]\nmodel = 'small'\n"),
    ],
    ids=["empty", "other keys", "table", "over several lines", "dotted"],
)
def test_the_key_is_set_in_a_file_whose_other_lines_stay(before: str, after: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(before)
    config.chmod(0o640)
    write_ignore(config, [POSTER])
    assert config.read_text() == after
    assert config.stat().st_mode & 0o777 == 0o640
    assert load_settings(config).detector.ignore == [POSTER]
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_a_file_in_which_the_key_cannot_be_set_is_left_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text := "detector = { name = 'haar' }\n")
    with pytest.raises(SettingsError, match=r"config\.toml.*detector\.ignore"):
        write_ignore(config, [POSTER])
    assert config.read_text() == text


def test_a_change_is_applied_and_kept_in_the_file(tmp_path: Path) -> None:
    config, applied = tmp_path / "config.toml", list[object]()
    config.write_text("[detector]\n")
    regions = Regions([], applied.append, config)
    regions.change([POSTER, TELEVISION])
    assert applied == [(POSTER, TELEVISION)]
    assert regions.regions == (POSTER, TELEVISION)
    assert regions.why_not_kept == ""
    assert load_settings(config).detector.ignore == [POSTER, TELEVISION]


def test_without_a_file_or_where_it_cannot_be_written_a_change_holds_for_this_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    applied = list[object]()
    alone = Regions([], applied.append, None)
    alone.change([POSTER])
    assert "--config" in alone.why_not_kept
    config = tmp_path / "config.toml"
    config.write_text("detector = {}\n")
    beside = Regions([], applied.append, config)
    beside.change([POSTER])
    assert applied == [(POSTER,), (POSTER,)]
    assert beside.why_not_kept
    assert str(tmp_path) not in beside.why_not_kept
    assert "ignore = [[0.25, 0, 0.5, 0.3]]" in caplog.text


def test_a_region_is_cut_at_the_edge_of_the_frame_and_one_without_an_area_left_out() -> None:
    regions = Regions([POSTER], lambda _: None, None)
    regions.change([(0.5, 0.75, 0.9, 0.5), (0.5, 0.5, 0.0, 0.1), (1.0, 0.0, 1.0, 1.0)])
    assert regions.regions == ((0.5, 0.75, 0.5, 0.25),)


def test_where_the_configuration_cannot_be_written_a_change_outlives_the_run_until_the_file_is_edited(tmp_path: Path) -> None:
    config, state, applied = tmp_path / "config.toml", tmp_path / "state", list[object]()
    config.write_text("detector = {}\n")  # of this form no key can be set
    first = Regions([], applied.append, config, state)
    first.change([POSTER])
    assert first.why_not_kept == ""
    again = Regions([], applied.append, config, state)
    assert again.regions == (POSTER,)
    assert applied == [(POSTER,), (POSTER,)]
    again.change([])
    assert Regions([], applied.append, config, state).regions == ()
    again.change([POSTER])
    edited = Regions([TELEVISION], applied.append, config, state)
    assert edited.regions == (TELEVISION,), "the newer word is the file's"


def test_a_change_that_the_file_takes_or_a_damaged_state_leaves_the_file_alone_in_charge(tmp_path: Path) -> None:
    config, state = tmp_path / "config.toml", tmp_path / "state"
    config.write_text("[detector]\n")
    state.mkdir()
    (state / "ignore.json").write_text('{"configured": [[0,')
    regions = Regions([], lambda _: None, config, state)
    assert regions.regions == ()
    regions.change([POSTER])
    assert load_settings(config).detector.ignore == [POSTER]
    assert not (state / "ignore.json").exists()
