from __future__ import annotations

import contextlib
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.errors import SettingsError
from edgefer.history.timespec import LATEST_S, duration_s, fitting_bucket_s, moment_s, words

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
    assert moment_s(text, NOW_S) == when.timestamp()


def test_a_number_is_seconds_since_1970_and_eight_digits_are_a_date() -> None:
    assert moment_s("1795000000", NOW_S) == 1795000000
    assert moment_s("20261120", NOW_S) == datetime(2026, 11, 20).timestamp()


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "5 parsecs", "-3h", "h", "nan", "1e9", "²h"])
def test_what_is_no_time_says_which_forms_there_are(text: str) -> None:
    with pytest.raises(SettingsError, match=r"90m, 24h, 7d|90s, 30m"):
        moment_s(text, NOW_S)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_no_text_gives_a_time_outside_1970_to_2100_or_another_error(text: str) -> None:
    with contextlib.suppress(SettingsError):
        assert 0 <= moment_s(text, NOW_S) <= LATEST_S


def test_durations_have_units() -> None:
    assert [duration_s(text) for text in ("90s", "30m", "1.5h", "2d", "1w")] == [90, 1800, 5400, 172_800, 604_800]
    with pytest.raises(SettingsError):
        duration_s("90")


def test_buckets_are_the_shortest_that_are_few_enough() -> None:
    assert [fitting_bucket_s(hours * 3600) for hours in (1, 6, 24, 168)] == [60, 300, 900, 10_800]
    assert fitting_bucket_s(1e9) == 604_800


def test_durations_are_said_in_the_unit_that_fits() -> None:
    assert [words(seconds) for seconds in (4.4, 89, 300, 12_000)] == ["4 s", "89 s", "5 min", "3 h 20 min"]
