"""The classifier that the tests of the pipeline share."""

from __future__ import annotations

import pytest

from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier(find_model("small"))
