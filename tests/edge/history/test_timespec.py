from __future__ import annotations

import contextlib
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.errors import SettingsError
from edgefer.history.timespec import LATEST_S, fitting_bucket_s, format_duration, parse_duration_s, parse_time_s

NOW_S = datetime(2026, 11, 25, 14, 30).timestamp()


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("now", datetime(2026, 11, 25, 14, 30)),
        ("2h", datetime(2026, 11, 25, 12, 30)),
        ("90m", datetime(2026, 11, 25, 13, 0)),
        ("today", datetime(2026, 11, 25)),
        ("yesterday", datetime(2026, 11, 24)),
        ("2026-11-20", datetime(2026, 11, 20)),
        ("2026-11-20T08:15", datetime(2026, 11, 20, 8, 15)),
        (" 2026-11-20 08:15 ", datetime(2026, 11, 20, 8, 15)),
    ],
)
def test_times_are_read_as_people_type_them(text: str, when: datetime) -> None:
    assert parse_time_s(text, NOW_S) == when.timestamp()


def test_a_number_is_seconds_since_1970_and_eight_digits_are_a_date() -> None:
    assert parse_time_s("1795000000", NOW_S) == 1795000000
    assert parse_time_s("20261120", NOW_S) == datetime(2026, 11, 20).timestamp()


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "5 parsecs", "-3h", "h", "nan", "1e9", "²h"])
def test_a_text_that_is_not_a_time_is_refused_with_the_valid_forms(text: str) -> None:
    with pytest.raises(SettingsError, match=r"90m, 24h, 7d|90s, 30m"):
        parse_time_s(text, NOW_S)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_any_text_gives_a_time_from_1970_to_2100_or_a_settings_error(text: str) -> None:
    with contextlib.suppress(SettingsError):
        assert 0 <= parse_time_s(text, NOW_S) <= LATEST_S


def test_a_duration_needs_a_unit() -> None:
    assert [parse_duration_s(text) for text in ("90s", "30m", "1.5h", "2d", "1w")] == [90, 1800, 5400, 172_800, 604_800]
    with pytest.raises(SettingsError):
        parse_duration_s("90")


def test_the_bucket_is_the_shortest_that_gives_few_enough_buckets() -> None:
    assert [fitting_bucket_s(hours * 3600) for hours in (1, 6, 24, 168)] == [60, 300, 900, 10_800]
    assert fitting_bucket_s(1e9) == 604_800


def test_durations_are_written_in_a_fitting_unit() -> None:
    assert [format_duration(seconds) for seconds in (4.4, 89, 300, 12_000)] == ["4 s", "89 s", "5 min", "3 h 20 min"]
