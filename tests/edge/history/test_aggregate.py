from __future__ import annotations

import numpy as np
import pytest

from edgefer.history.aggregate import Tally
from edgefer.types import Box, Face, Frame, Observation

NOON_S = 1_795_608_000.0
"""A whole minute."""


def seen(time_s: float, *expressions: str, name: str | None = None) -> Observation:
    faces = tuple(Face(n + 1, Box(0, 0, 9, 9), expression, 0.9, {expression: 0.9}) for n, expression in enumerate(expressions))
    return Observation(Frame(0, time_s, np.zeros((8, 8), np.uint8), name=name), faces)


def tallied(*observations: Observation, now_s: float = NOON_S) -> Tally:
    tally = Tally(now_s)
    for observation in observations:
        tally.add(observation)
    return tally


def test_each_face_adds_the_time_since_the_frame_before_to_its_expression() -> None:
    batch = tallied(seen(NOON_S), seen(NOON_S + 0.5, "happy"), seen(NOON_S + 1.5, "happy", "sad")).take()
    (minute,) = batch.minutes.values()
    assert (minute.frames, minute.watched_s) == (3, pytest.approx(1.5))
    assert minute.expressions_s == {"happy": pytest.approx(1.5), "sad": pytest.approx(1.0)}


def test_minutes_are_kept_apart() -> None:
    batch = tallied(seen(NOON_S + 59.5, "happy"), seen(NOON_S + 60.5, "happy")).take()
    assert {start: minute.frames for start, minute in batch.minutes.items()} == {NOON_S: 1, NOON_S + 60: 1}


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_hole_or_a_clock_that_was_set_counts_as_no_time(jump_s: float) -> None:
    tally = tallied(seen(NOON_S, "happy"), seen(NOON_S + jump_s, "happy"), seen(NOON_S + jump_s + 1, "happy"))
    assert tally.expressions_s == {"happy": pytest.approx(1.0)}


def test_a_clip_is_laid_behind_the_moment_it_began() -> None:
    batch = tallied(seen(0.0, "happy"), seen(61.0, "sad")).take()
    assert list(batch.minutes) == [NOON_S, NOON_S + 60]
    assert [change.time_s for change in batch.changes] == [NOON_S, NOON_S + 61]


def test_only_a_change_of_expression_is_a_change() -> None:
    batch = tallied(*(seen(NOON_S + n / 10, expression) for n, expression in enumerate(("happy", "happy", "sad", "sad", "happy")))).take()
    assert [change.expression for change in batch.changes] == ["happy", "sad", "happy"]
    assert [(visit.first_s, visit.last_s) for visit in batch.visits.values()] == [(NOON_S, NOON_S + 0.4)]


def test_what_was_handed_over_is_not_handed_over_again() -> None:
    tally = tallied(seen(NOON_S, "happy"), seen(NOON_S + 1, "happy"))
    tally.take()
    tally.add(seen(NOON_S + 2, "happy"))
    batch = tally.take()
    (minute,) = batch.minutes.values()
    assert (minute.frames, minute.expressions_s, batch.changes) == (1, {"happy": pytest.approx(1.0)}, [])
    assert batch.visits[1].first_s == NOON_S, "a visit goes on over batches"
    assert tally.expressions_s["happy"] == pytest.approx(2.0)


def test_photographs_have_no_time_and_are_not_counted() -> None:
    assert not tallied(seen(0.0, "happy", name="photo.jpg")).take().minutes


def test_the_faces_of_a_long_run_are_forgotten() -> None:
    tally = Tally(NOON_S)
    for n in range(500):
        frame = seen(NOON_S + 2 * n).frame
        tally.add(Observation(frame, (Face(n, Box(0, 0, 9, 9), "happy", 0.9, {"happy": 0.9}),)))
    assert len(tally._visits) < 10
