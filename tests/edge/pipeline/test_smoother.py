from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.pipeline.smoother import Smoother

LABELS = ("a", "b", "c")


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def smoother(window_s: float = 1.0, margin: float = 0.1, uncertain_below: float = 0.4) -> Smoother:
    return Smoother(LABELS, window_s, margin, uncertain_below)


def test_the_first_answer_stands_as_it_is() -> None:
    label, steady = smoother().update(1, scores(0.1, 0.7, 0.2), 0.0)
    assert label == "b"
    assert steady == pytest.approx([0.1, 0.7, 0.2])


def test_one_odd_answer_does_not_change_the_label() -> None:
    s = smoother()
    for i in range(10):
        s.update(1, scores(0.8, 0.1, 0.1), i / 30)
    assert s.update(1, scores(0.0, 1.0, 0.0), 10 / 30)[0] == "a"


def test_a_lasting_change_does() -> None:
    s = smoother(window_s=0.3)
    s.update(1, scores(0.8, 0.1, 0.1), 0.0)
    labels = [s.update(1, scores(0.1, 0.8, 0.1), i / 30)[0] for i in range(1, 31)]
    assert labels[0] == "a"
    assert labels[-1] == "b"
    assert len({tuple(pair) for pair in itertools.pairwise(labels) if pair[0] != pair[1]}) == 1


def test_noise_about_a_tie_does_not_flicker() -> None:
    s, rng, labels = smoother(window_s=0.2, uncertain_below=0.3), np.random.default_rng(0), []
    for i in range(300):
        a = 0.45 + 0.1 * rng.standard_normal()
        labels.append(s.update(1, scores(a, 0.9 - a, 0.1), i / 30)[0])
    changes = sum(one != two for one, two in itertools.pairwise(labels))
    assert changes <= 3


def test_the_average_is_over_time_not_over_frames() -> None:
    slow, fast = smoother(), smoother()
    start, end = scores(1, 0, 0), scores(0, 1, 0)
    slow.update(1, start, 0.0)
    fast.update(1, start, 0.0)
    for i in range(1, 6):
        _, at_slow = slow.update(1, end, i / 5)
    for i in range(1, 31):
        _, at_fast = fast.update(1, end, i / 30)
    assert at_slow == pytest.approx(at_fast, abs=1e-4)
    assert at_slow[0] == pytest.approx(np.exp(-1), abs=1e-4)


def test_nothing_likely_enough_is_uncertain_and_has_a_margin_both_ways() -> None:
    s = smoother(window_s=0.0)
    assert s.update(1, scores(0.36, 0.34, 0.3), 0.0)[0] == "uncertain"
    assert s.update(1, scores(0.41, 0.3, 0.29), 1.0)[0] == "a"
    assert s.update(1, scores(0.35, 0.34, 0.31), 2.0)[0] == "a"
    assert s.update(1, scores(0.29, 0.28, 0.29), 3.0)[0] == "uncertain"


def test_each_track_is_smoothed_on_its_own_and_forgotten_when_gone() -> None:
    s = smoother()
    s.update(1, scores(1, 0, 0), 0.0)
    assert s.update(2, scores(0, 1, 0), 0.01)[0] == "b"
    s.keep({2})
    assert s.update(1, scores(0, 0, 1), 0.02)[0] == "c"
    assert s.update(2, scores(0, 0, 1), 0.03)[0] == "b"


@given(st.lists(st.tuples(st.floats(-10, 10), st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3)), min_size=1, max_size=50))
def test_whatever_the_clock_does_the_scores_stay_between_the_answers_given(steps: list[tuple[float, list[float]]]) -> None:
    s = smoother()
    given_scores = np.array([answer for _, answer in steps], np.float32)
    for time_s, answer in steps:
        label, steady = s.update(1, np.array(answer, np.float32), time_s)
        assert label in (*LABELS, "uncertain")
        assert (steady >= given_scores.min(axis=0) - 1e-5).all()
        assert (steady <= given_scores.max(axis=0) + 1e-5).all()


def test_what_is_just_likely_enough_is_an_answer_and_a_lead_of_just_the_margin_none() -> None:
    s = smoother(window_s=0, margin=0.25, uncertain_below=0.5)
    assert s.update(1, scores(0.5, 0.25, 0.25), 0.0)[0] == "a"
    assert s.update(1, scores(0.375, 0.625, 0.0), 0.1)[0] == "a", "exactly the margin"
    assert s.update(1, scores(0.25, 0.625, 0.125), 0.2)[0] == "b"
    assert s.update(1, scores(0.25, 0.25, 0.25), 0.3)[0] == "b", "exactly the margin below"
    assert s.update(1, scores(0.2, 0.24, 0.2), 0.4)[0] == "uncertain"


def test_the_first_answer_has_a_time_too() -> None:
    s = smoother(window_s=1.0)
    s.update(1, scores(1, 0, 0), 10.0)
    assert s.update(1, scores(0, 1, 0), 11.0)[1] == pytest.approx([0.368, 0.632, 0], abs=1e-3)


def test_a_label_goes_when_its_own_probability_does_whatever_another_has() -> None:
    s = smoother(window_s=0.0, uncertain_below=0.45)
    assert s.update(1, scores(0.6, 0.3, 0.1), 0.0)[0] == "a"
    assert s.update(1, scores(0.36, 0.42, 0.22), 1.0)[0] == "a", "within the margin of both"
    assert s.update(1, scores(0.34, 0.43, 0.23), 2.0)[0] == "uncertain", "too little of a, and b is not likely enough"
    assert s.update(1, scores(0.34, 0.46, 0.2), 3.0)[0] == "b"
