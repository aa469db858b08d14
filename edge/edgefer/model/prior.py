"""How often each expression is expected before a face is seen: the class prior of a model, and how to change it.

A model's probabilities assume the class shares that it was trained for; its card states them. Where expressions are expected
in other shares, each probability is multiplied by the ratio of the two and all are scaled to a sum of 1 (Saerens et al. 2002,
"Adjusting the outputs of a classifier to new a priori probabilities").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgefer.errors import ModelError, SettingsError
from edgefer.types import Scores

PRIORS: dict[str, dict[str, float]] = {
    "everyday": {"angry": 0.085, "disgust": 0.015, "fear": 0.035, "happy": 0.265, "sad": 0.15, "surprise": 0.12, "neutral": 0.33},
    "fer2013": {"angry": 0.139, "disgust": 0.015, "fear": 0.143, "happy": 0.251, "sad": 0.168, "surprise": 0.111, "neutral": 0.173},
}
"""Named priors beside "even". "everyday": shares of what FER+'s taggers see in FER2013's pictures; "fer2013": of its original labels."""

LEAST = 1e-6
"""The smallest probability in the logarithm."""


def shares(prior: str | Mapping[str, float], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """A prior's shares in the order of ``labels``, (K,), with a sum of 1; ``prior`` is "even", a name in `PRIORS` or a share a label.

    Raises `SettingsError` where a label has no share, or a share belongs to no label.
    """
    if prior == "even":
        return np.full(len(labels), 1 / len(labels))
    by_label = PRIORS.get(prior, {}) if isinstance(prior, str) else prior
    if missing := [label for label in labels if not by_label.get(label, 0) > 0]:
        raise SettingsError(
            f"classify.prior {_name(prior)}: no share over 0 for {', '.join(missing)}; the model's labels are {', '.join(labels)}"
        )
    if unknown := [label for label in by_label if label not in labels]:
        raise SettingsError(f"classify.prior {_name(prior)}: the model has no {', '.join(unknown)}; its labels are {', '.join(labels)}")
    values = np.array([by_label[label] for label in labels], np.float64)
    return np.asarray(values / values.sum())


def ratio(prior: str | Mapping[str, float], assumed: Mapping[str, float], labels: Sequence[str], where: str) -> npt.NDArray[np.float32]:
    """How much more likely each label is under ``prior`` than under the prior ``assumed`` by a model's card, (K,).

    Raises `ModelError` where the card states none, and `SettingsError` as `shares` does.
    """
    if not assumed:
        raise ModelError(f"{where}: its card does not state which prior its probabilities assume; leave classify.prior empty")
    return (shares(prior, labels) / shares(assumed, labels)).astype(np.float32)


def shifted(scores: Scores, by: npt.NDArray[np.floating]) -> Scores:
    """Probabilities (n, K) or (K,) for another prior, given the `ratio` (K,) of the two; computed in log space."""
    logits = np.log(np.maximum(scores, LEAST)) + np.log(by)
    likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=-1, keepdims=True), np.float32)


def _name(prior: str | Mapping[str, float]) -> str:
    return f'"{prior}"' if isinstance(prior, str) else "{…}"
