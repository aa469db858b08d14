from __future__ import annotations

import numpy as np
import pytest

from train.metrics import calibration_error, coverage_curve, measure, temperature, uncertain_threshold

LABELS = ("a", "b", "c")


def test_the_figures_equal_those_calculated_by_hand() -> None:
    # Answers: a a b b c a; truth: a b b b c c.
    scores = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 0]]
    figures = measure(scores, np.array([0, 1, 1, 1, 2, 2]), LABELS)
    assert figures.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [1, 0, 1]]
    assert figures.accuracy == pytest.approx(4 / 6)
    assert figures.recall == {"a": 1.0, "b": pytest.approx(0.6667), "c": 0.5}
    # F1: a = 2*1/(1+3) = .5, b = 2*2/(3+2) = .8, c = 2*1/(2+1) = .667
    assert figures.macro_f1 == pytest.approx((0.5 + 0.8 + 2 / 3) / 3)
    assert figures.ece == pytest.approx(2 / 6)


def test_a_class_without_pictures_does_not_lower_the_macro_f1() -> None:
    figures = measure(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]), LABELS)
    assert figures.macro_f1 == pytest.approx(1.0)


def answers(confidence: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Scores over two classes whose first is given with ``confidence``, and the truth that makes them right or not."""
    first = np.array(confidence, np.float32)
    return np.stack([first, 1 - first], axis=1), np.where(right, 0, 1)


def test_calibration_error_is_zero_when_confidence_is_accuracy() -> None:
    assert calibration_error(*answers([0.7] * 100, [k < 70 for k in range(100)])) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(*answers([0.7] * 100, [k < 40 for k in range(100)])) == pytest.approx(0.3, abs=1e-6)


def test_calibration_error_weighs_its_bins_by_their_pictures() -> None:
    found = calibration_error(*answers([0.95] * 30 + [0.55] * 10, [True] * 30 + [False] * 10))
    assert found == pytest.approx((30 * 0.05 + 10 * 0.55) / 40, abs=1e-6)


def test_the_temperature_corrects_a_model_that_is_too_confident() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (20_000, 7))
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (likely.cumsum(axis=1) > rng.random((len(likely), 1))).argmax(axis=1)
    sure = np.exp(2.5 * logits) / np.exp(2.5 * logits).sum(axis=1, keepdims=True)
    assert temperature(sure.astype(np.float32), truth) == pytest.approx(2.5, rel=0.05)
    assert temperature(likely.astype(np.float32), truth) == pytest.approx(1.0, rel=0.05)


def test_the_threshold_is_the_lowest_from_which_enough_answers_are_right() -> None:
    scores, truth = answers([0.55] * 10 + [0.75] * 10 + [0.95] * 10, [False] * 10 + [True, False] * 5 + [True] * 10)
    assert uncertain_threshold(scores, truth, 0.5) == 0.0
    assert uncertain_threshold(scores, truth, 0.75) == pytest.approx(0.56)
    assert uncertain_threshold(scores, truth, 0.9) == pytest.approx(0.76)
    wrong = 1 - scores.argmax(axis=1)
    assert uncertain_threshold(scores, wrong, 0.9) >= 0.95, "no answer at all rather than a wrong one"


def test_coverage_falls_and_the_accuracy_of_what_is_answered_is_right() -> None:
    scores, truth = answers([0.55] * 10 + [0.75] * 10 + [0.95] * 10, [False] * 10 + [True, False] * 5 + [True] * 10)
    thresholds, answered, right = coverage_curve(scores, truth)
    at = {round(float(t), 2): (c, a) for t, c, a in zip(thresholds, answered, right, strict=True)}
    assert at[0.0] == pytest.approx((1, 0.5))
    assert at[0.6] == pytest.approx((2 / 3, 0.75))
    assert at[0.9] == pytest.approx((1 / 3, 1))
