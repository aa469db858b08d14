from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.errors import SettingsError
from edgefer.settings import ActionSettings
from edgefer.sinks.trigger import Rule, check_expression
from edgefer.types import Box, Face, Frame, Observation

LUMA = np.zeros((48, 48), np.uint8)


def seen(time_s: float, *faces: tuple[int, str, float], name: str | None = None) -> Observation:
    return Observation(
        Frame(0, time_s, LUMA, name=name),
        tuple(Face(track, Box(0, 0, 9, 9), label, score, {label: score}) for track, label, score in faces),
    )


def rule(**how: object) -> Rule:
    return Rule(ActionSettings(command=["true"], **how))  # type: ignore[arg-type]


def due(rule: Rule, *observations: Observation) -> list[float]:
    return [event.time_s for observation in observations if (event := rule.update(observation))]


HAPPY, SAD = (1, "happy", 0.9), (1, "sad", 0.9)


def test_a_condition_that_keeps_holding_is_one_event_and_a_new_beginning_is_another() -> None:
    steps = [seen(t, HAPPY) for t in range(5)] + [seen(5, SAD)] + [seen(t, HAPPY) for t in range(6, 9)]
    assert due(rule(expression="happy", cooldown_s=0), *steps) == [0, 6]


def test_a_condition_must_hold_for_its_time_without_a_break() -> None:
    steps = [seen(0, HAPPY), seen(1, HAPPY), seen(1.5, SAD), seen(2, HAPPY), seen(3, HAPPY), seen(4, HAPPY)]
    assert due(rule(expression="happy", for_s=2), *steps) == [4]


def test_the_time_counts_for_one_face_and_not_for_two_in_turn() -> None:
    steps = [seen(0, (1, "happy", 0.9)), seen(1, (2, "happy", 0.9)), seen(2, (2, "happy", 0.9))]
    assert due(rule(expression="happy", for_s=1.5), *steps) == []


def test_a_score_below_the_minimum_does_not_count() -> None:
    steps = [seen(0, (1, "happy", 0.69)), seen(1, (1, "happy", 0.7))]
    assert due(rule(expression="happy", min_score=0.7), *steps) == [1]


def test_a_condition_that_begins_in_the_cool_down_is_due_at_its_end_if_it_still_holds() -> None:
    steps = [seen(0, HAPPY), seen(1, SAD), *(seen(t, HAPPY) for t in (2, 5, 9, 10, 11))]
    assert due(rule(expression="happy", cooldown_s=10), *steps) == [0, 10]


def test_three_faces_at_once_are_one_event() -> None:
    faces = [(track, "happy", 0.9) for track in (1, 2, 3)]
    assert due(rule(expression="happy", cooldown_s=0), *(seen(t, *faces) for t in range(4))) == [0]


def test_no_face_is_an_expression_too() -> None:
    steps = [seen(0, HAPPY), seen(1), seen(4), seen(6), seen(7)]
    found = rule(expression="no_face", for_s=5)
    assert due(found, *steps) == [6]
    assert due(rule(expression="any", cooldown_s=0), *steps) == [0]


def test_pictures_of_a_folder_are_unrelated() -> None:
    steps = [seen(t, HAPPY, name=f"{t}.jpg") for t in range(3)]
    assert due(rule(expression="happy", cooldown_s=0), *steps) == [0, 1, 2]
    assert due(rule(expression="happy", for_s=1), *steps) == []


@pytest.mark.parametrize("set_s", [-3600, 3600])
def test_a_clock_change_restarts_the_time_of_a_condition(set_s: float) -> None:
    steps = [seen(10_000 + t, HAPPY) for t in range(3)] + [seen(10_003 + set_s + t, HAPPY) for t in range(8)]
    assert due(rule(expression="happy", for_s=5, cooldown_s=0), *steps) == [10_008 + set_s]


def test_a_clock_that_is_set_back_does_not_block_a_rule() -> None:
    steps = [seen(1000, HAPPY), seen(10, SAD), seen(11, HAPPY)]
    assert due(rule(expression="happy", cooldown_s=60), *steps) == [1000, 11]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 5), st.sampled_from(["happy", "sad", ""])), max_size=60), st.floats(0, 8), st.floats(0, 20))
def test_events_keep_the_cool_down_and_each_held_long_enough(steps: list[tuple[float, str]], for_s: float, cooldown_s: float) -> None:
    found, now_s, last_s, since_s = rule(expression="happy", for_s=for_s, cooldown_s=cooldown_s), 0.0, None, None
    for step_s, label in steps:
        now_s += step_s
        since_s = (now_s if since_s is None else since_s) if label == "happy" else None
        if event := found.update(seen(now_s, *([(1, label, 0.9)] if label else []))):
            assert since_s is not None
            assert now_s - since_s >= for_s
            assert last_s is None or now_s - last_s >= cooldown_s
            assert event.held_s == now_s - since_s
            last_s = now_s


def test_an_unknown_expression_is_refused_with_the_nearest() -> None:
    for word in ("happy", "uncertain", "no_face", "any"):
        check_expression("action 1", word, ["happy"])
    with pytest.raises(SettingsError, match=r"action door: .* 'hapy'; did you mean 'happy'\?"):
        check_expression("action door", "hapy", ["happy", "sad"])
