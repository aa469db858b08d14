# ruff: noqa: E402 (without the extra this file is skipped before it imports more)
from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("starlette", reason="the extra 'web' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'web' is not installed")
parser = pytest.importorskip("prometheus_client.parser", reason="the extra 'web' is not installed")

from web_client import Serve, ask, put, seen

from edgefer.files import shipped
from edgefer.sinks.web import Web

DEPLOY = shipped("deploy")


def families(sink: Web) -> dict[str, object]:
    """The metrics as Prometheus' own parser reads them."""
    return {family.name: family for family in parser.text_string_to_metric_families(ask(sink, "/metrics").body.decode())}


def test_the_metrics_have_the_values_of_the_run(serve: Serve) -> None:
    sink = serve()
    for index in range(11):
        sink.write(seen(index, faces=1 + (index == 10)))
    found = families(sink)
    values = {sample.name: sample.value for family in found.values() for sample in family.samples}
    assert (values["edgefer_frames_total"], values["edgefer_frames_with_face_total"], values["edgefer_faces"]) == (11, 11, 2)
    assert values["edgefer_frames_dropped_total"] == 2
    assert values["edgefer_expression_seconds_total"] == pytest.approx(1.1, abs=0.01)
    assert values["edgefer_stage_seconds_sum"] == pytest.approx(0.022)
    (build,) = found["edgefer_build_info"].samples
    assert (build.value, build.labels) == (1, {"version": "1.2.3", "model": "toy", "model_sha256": "abc"})


def test_the_metrics_are_named_by_the_rules_of_prometheus(serve: Serve) -> None:
    sink = serve()
    sink.write(seen())
    found = families(sink)
    for family in found.values():
        assert family.name.startswith(("edgefer_", "process_"))
        assert family.documentation
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")
            assert set(sample.labels) <= {"expression", "stage", "sink", "version", "model", "model_sha256"}
    assert not {word for name in found for word in name.split("_")} & {"ms", "mb", "percent", "minutes", "track"}


def test_the_number_of_faces_is_hidden_where_only_totals_are_shown(serve: Serve) -> None:
    sink = serve()
    sink.write(seen())
    assert b"edgefer_faces" in ask(sink, "/metrics").body
    put(sink, "totals")
    assert b"edgefer_faces" not in ask(sink, "/metrics").body


def test_the_dashboard_uses_only_metrics_that_exist(serve: Serve) -> None:
    sink = serve()
    sink.write(seen())
    exist = {
        name
        for family in families(sink).values()
        for name in (family.name, *(sample.name for sample in family.samples), f"{family.name}_total", f"{family.name}_info")
    } | {"edgefer_temperature_celsius"}  # not on every machine
    board = json.loads((DEPLOY / "grafana.json").read_text())
    used = {name for panel in board["panels"] for target in panel["targets"] for name in re.findall(r"edgefer_\w+", target["expr"])}
    assert len(used) >= 10
    assert used <= exist
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
