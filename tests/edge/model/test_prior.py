"""Class priors: shares by name or by label, and probabilities shifted from one prior to another."""

import msgspec
import numpy as np
import pytest

from edgefer.errors import ModelError, SettingsError
from edgefer.model.card import attach_card, read_model, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.prior import PRIORS, ratio, shares, shifted
from edgefer.model.store import find_model

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_named_priors_have_a_share_for_each_label_and_a_sum_of_one() -> None:
    assert all(set(prior) == set(LABELS) and sum(prior.values()) == pytest.approx(1) for prior in PRIORS.values())
    assert shares("even", LABELS) == pytest.approx([1 / 7] * 7)
    assert shares("everyday", LABELS).argmax() == LABELS.index("neutral")


def test_shares_by_label_are_scaled_to_a_sum_of_one_in_the_order_of_the_labels() -> None:
    assert shares({"b": 1.0, "a": 3.0}, ("a", "b")) == pytest.approx([0.75, 0.25])


def test_a_prior_that_does_not_fit_the_labels_is_refused_and_named() -> None:
    with pytest.raises(SettingsError, match=r"classify\.prior.*fear"):
        shares({"happy": 1.0}, ("happy", "fear"))
    with pytest.raises(SettingsError, match=r"classify\.prior.*bored"):
        shares({"happy": 0.5, "bored": 0.5}, ("happy",))
    with pytest.raises(SettingsError, match="weekend"):
        shares("weekend", LABELS)


def test_a_shift_multiplies_the_odds_by_the_ratio_of_the_priors() -> None:
    before = np.array([[0.5, 0.3, 0.2]], np.float32)
    by = ratio({"a": 0.2, "b": 0.2, "c": 0.6}, {"a": 0.4, "b": 0.4, "c": 0.2}, ("a", "b", "c"), "x")
    after = shifted(before, by)
    assert after.sum() == pytest.approx(1)
    assert after[0, 2] / after[0, 0] == pytest.approx(0.2 / 0.5 * 6, rel=1e-5)
    assert shifted(after, 1 / by) == pytest.approx(before, abs=1e-6)


def test_a_model_whose_card_states_no_prior_cannot_be_shifted() -> None:
    with pytest.raises(ModelError, match=r"old\.tflite.*prior"):
        ratio("even", {}, LABELS, "old.tflite")


def test_the_classifier_answers_for_the_prior_that_is_asked_for(tmp_path) -> None:
    flatbuffer, card = split_card(read_model(find_model("small")), "small")
    path = tmp_path / "shifted.tflite"
    path.write_bytes(attach_card(flatbuffer, msgspec.structs.replace(card, prior=PRIORS["fer2013"])))
    crops = np.random.default_rng(1).integers(0, 256, (4, 48, 48), np.uint8)
    as_stated, everyday = Classifier(path)(crops), Classifier(path, prior="everyday")(crops)
    assert everyday == pytest.approx(shifted(as_stated, ratio("everyday", PRIORS["fer2013"], card.labels, "x")))
    assert Classifier(path, prior="fer2013")(crops) == pytest.approx(as_stated / as_stated.sum(axis=1, keepdims=True), abs=1e-5)
