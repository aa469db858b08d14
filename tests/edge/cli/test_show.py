from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Run, one_line


def test_the_facts_of_the_default_model_are_json(cli: Run) -> None:
    done = cli("show", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    path = Path(facts["path"])
    assert path.stat().st_size == facts["size"]
    assert len(facts["sha256"]) == 64
    assert len(facts["labels"]) == 7
    assert facts["input"] == {"shape": [1, 48, 48, 1], "dtype": "uint8", "quantization": {"scale": 1.0, "zero_point": 0}}
    assert facts["metrics"]["int8_accuracy"] >= 0.6
    assert facts["provenance"]["recipe"] == "small"


def test_the_facts_are_readable_without_json(cli: Run) -> None:
    assert "labels     angry, disgust, fear, happy, sad, surprise, neutral" in cli("show").stdout


@pytest.mark.parametrize(("model", "facts"), [("/nowhere.tflite", ["/nowhere.tflite"]), ("huge", ["'huge'", "small", "nano"])])
def test_a_model_that_does_not_exist_is_one_line(cli: Run, model: str, facts: list[str]) -> None:
    done = cli("show", model)
    assert done.returncode == 1
    for fact in facts:
        assert fact in one_line(done.stderr)
