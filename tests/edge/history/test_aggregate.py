from __future__ import annotations

import numpy as np
import pytest

from edgefer.history.aggregate import Aggregator
from edgefer.types import Box, Face, Frame, Observation

NOON_S = 1_795_608_000.0
"""A whole minute."""


def seen(time_s: float, *expressions: str, name: str | None = None) -> Observation:
    faces = tuple(Face(n + 1, Box(0, 0, 9, 9), expression, 0.9, {expression: 0.9}) for n, expression in enumerate(expressions))
    return Observation(Frame(0, time_s, np.zeros((8, 8), np.uint8), name=name), faces)


def aggregated(*observations: Observation, now_s: float = NOON_S) -> Aggregator:
    aggregator = Aggregator(now_s)
    for observation in observations:
        aggregator.add(observation)
    return aggregator


def test_each_face_adds_the_time_since_the_last_frame_to_its_expression() -> None:
    batch = aggregated(seen(NOON_S), seen(NOON_S + 0.5, "happy"), seen(NOON_S + 1.5, "happy", "sad")).take()
    (minute,) = batch.minutes.values()
    assert (minute.frames, minute.watched_s) == (3, pytest.approx(1.5))
    assert minute.expressions_s == {"happy": pytest.approx(1.5), "sad": pytest.approx(1.0)}


def test_each_minute_has_its_own_sums() -> None:
    batch = aggregated(seen(NOON_S + 59.5, "happy"), seen(NOON_S + 60.5, "happy")).take()
    assert {start: minute.frames for start, minute in batch.minutes.items()} == {NOON_S: 1, NOON_S + 60: 1}


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_gap_and_a_clock_that_was_set_count_as_no_time(jump_s: float) -> None:
    aggregator = aggregated(seen(NOON_S, "happy"), seen(NOON_S + jump_s, "happy"), seen(NOON_S + jump_s + 1, "happy"))
    assert aggregator.expressions_s == {"happy": pytest.approx(1.0)}


def test_a_clips_times_are_added_to_the_time_it_began() -> None:
    batch = aggregated(seen(0.0, "happy"), seen(61.0, "sad")).take()
    assert list(batch.minutes) == [NOON_S, NOON_S + 60]
    assert [change.time_s for change in batch.changes] == [NOON_S, NOON_S + 61]


def test_only_a_change_of_expression_is_a_change() -> None:
    batch = aggregated(
        *(seen(NOON_S + n / 10, expression) for n, expression in enumerate(("happy", "happy", "sad", "sad", "happy")))
    ).take()
    assert [change.expression for change in batch.changes] == ["happy", "sad", "happy"]
    assert [(visit.first_s, visit.last_s) for visit in batch.visits.values()] == [(NOON_S, NOON_S + 0.4)]


def test_a_batch_has_only_what_came_after_the_last_one() -> None:
    aggregator = aggregated(seen(NOON_S, "happy"), seen(NOON_S + 1, "happy"))
    aggregator.take()
    aggregator.add(seen(NOON_S + 2, "happy"))
    batch = aggregator.take()
    (minute,) = batch.minutes.values()
    assert (minute.frames, minute.expressions_s, batch.changes) == (1, {"happy": pytest.approx(1.0)}, [])
    assert batch.visits[1].first_s == NOON_S, "a visit continues in the next batch"
    assert aggregator.expressions_s["happy"] == pytest.approx(2.0)


def test_photographs_are_not_counted_because_they_have_no_time() -> None:
    assert not aggregated(seen(0.0, "happy", name="photo.jpg")).take().minutes


def test_a_long_run_does_not_remember_every_face() -> None:
    aggregator = Aggregator(NOON_S)
    for n in range(500):
        frame = seen(NOON_S + 2 * n).frame
        aggregator.add(Observation(frame, (Face(n, Box(0, 0, 9, 9), "happy", 0.9, {"happy": 0.9}),)))
    assert aggregator.open_visits < 10
