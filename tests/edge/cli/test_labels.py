"""Labels of any script, with quotes and angle brackets: whole and harmless in every output."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from command import Run, one_line
from prometheus_client.parser import text_string_to_metric_families

from edgefer.history.aggregate import Aggregator
from edgefer.model.card import Card, attach_card, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.mqtt.device import Topics
from edgefer.mqtt.homeassistant import DeviceFacts, discovery
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source
from edgefer.web.health import Health
from edgefer.web.prometheus import Metrics

LABELS = ("zornig", "</script><b>x</b>", 'čau \\ "n\'ja"', "fröhlich", "悲しい", "😮", "радость, мир")
SOURCE = "synthetic:?seconds=3&paced=false&size=320x240"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped nano with these labels."""
    graph, card = split_card(find_model("nano").read_bytes(), "nano")
    named: Card = msgspec.structs.replace(card, name="mine", labels=LABELS, prior={})
    path = tmp_path_factory.mktemp("model") / "mine.tflite"
    path.write_bytes(attach_card(graph, named))
    return path


def test_labels_are_whole_in_json_and_escaped_in_the_report(cli: Run, model: Path, tmp_path: Path) -> None:
    lines, kept, page = tmp_path / "faces.jsonl", tmp_path / "history.db", tmp_path / "report.html"
    done = cli("run", "--model", str(model), "--source", SOURCE, "--sink", f"jsonl:{lines}", "--sink", f"history:{kept}")
    assert done.returncode == 0, done.stderr
    scores = [face["scores"] for line in lines.read_text(encoding="utf-8").splitlines() for face in json.loads(line)["faces"]]
    assert scores
    assert all(tuple(of_face) == LABELS for of_face in scores)
    assert cli("report", str(kept), "--from", "0", "--out", str(page)).returncode == 0
    written = page.read_text(encoding="utf-8")
    assert LABELS[1] not in written, "it would end the page's script"
    assert "<b>x" not in written


def test_labels_are_safe_in_metrics_and_in_discovery(model: Path) -> None:
    aggregator = Aggregator()
    aggregator.expressions_s.update({label: 2.0 for label in LABELS})
    families = text_string_to_metric_families(Metrics(Health(), aggregator, with_faces=lambda: True).page().decode())
    found = {sample.labels["expression"] for family in families for sample in family.samples if "expression" in sample.labels}
    assert found >= set(LABELS)
    message = discovery("homeassistant", Topics("home", "desk"), Classifier(model).identity, DeviceFacts("1"))
    assert set(LABELS) < set(json.loads(message.payload)["components"]["expression"]["options"])


def test_a_face_is_drawn_with_any_of_the_labels(model: Path) -> None:
    from edgefer.overlay import annotate

    pipeline = open_pipeline(Settings(model=str(model)))
    for frame in open_source(SOURCE):
        assert annotate(pipeline.process(frame)).shape == (240, 320, 3)


def test_labels_are_exported_one_a_line(cli: Run, model: Path, tmp_path: Path) -> None:
    done = cli("show", str(model), "--export-labels", str(tmp_path / "labels.txt"))
    assert done.returncode == 0, done.stderr
    assert tuple((tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()) == LABELS
    assert cli("show", str(model), "--export-labels", "-").stdout.splitlines() == list(LABELS)
    refused = cli("show", str(model), "--export-labels", str(tmp_path / "none" / "labels.txt"))
    assert refused.returncode == 1
    assert "--export-labels" in one_line(refused.stderr)


@pytest.mark.parametrize("name", ["their.h5", "their.keras", "their.tflite"])
@pytest.mark.parametrize("command", [("run", "--model"), ("show",), ("doctor", "--model")])
def test_a_model_without_a_card_is_answered_with_the_command_that_helps(
    cli: Run, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    content = split_card(find_model("nano").read_bytes(), "nano")[0] if name.endswith("tflite") else b"\x89HDF\r\n\x1a\n" + bytes(64)
    (tmp_path / name).write_bytes(content)
    done = cli(*command, str(tmp_path / name))
    assert done.returncode == 1
    assert f"make convert MODEL={tmp_path / name}" in done.stderr + done.stdout
