from __future__ import annotations

import numpy as np
import pytest

from train.metrics import calibration_error, measure

LABELS = ("a", "b", "c")


def test_the_figures_of_a_case_worked_out_by_hand() -> None:
    # Answers: a a b b c a; truth: a b b b c c.
    scores = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 0]]
    figures = measure(scores, np.array([0, 1, 1, 1, 2, 2]), LABELS)
    assert figures.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [1, 0, 1]]
    assert figures.accuracy == pytest.approx(4 / 6)
    assert figures.recall == {"a": 1.0, "b": pytest.approx(0.6667), "c": 0.5}
    # F1: a = 2*1/(1+3) = .5, b = 2*2/(3+2) = .8, c = 2*1/(2+1) = .667
    assert figures.macro_f1 == pytest.approx((0.5 + 0.8 + 2 / 3) / 3)
    assert figures.ece == pytest.approx(2 / 6)


def test_a_class_without_pictures_does_not_pull_the_macro_f1_down() -> None:
    figures = measure(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]), LABELS)
    assert figures.macro_f1 == pytest.approx(1.0)


def test_calibration_error_is_zero_when_confidence_is_accuracy() -> None:
    confidence = np.full(100, 0.7, np.float32)
    assert calibration_error(confidence, np.arange(100) < 70) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(confidence, np.arange(100) < 40) == pytest.approx(0.3, abs=1e-6)


def test_calibration_error_weighs_its_bins_by_their_pictures() -> None:
    confidence = np.array([0.95] * 30 + [0.55] * 10, np.float32)
    right = np.array([True] * 30 + [False] * 10)
    assert calibration_error(confidence, right) == pytest.approx((30 * 0.05 + 10 * 0.55) / 40, abs=1e-6)
