from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import cv2
import pytest
from command import Run, one_line

from edgefer.cli.bench_report import difference, read_report
from edgefer.cli.progress import Progress

SHORT = ("bench", "--frames", "10", "--source", "synthetic:?paced=false&size=320x240", "--loops")


def test_the_benchmark_compares_with_the_naive_loop(cli: Run) -> None:
    done = cli("bench", "--frames", "40", "--source", "synthetic:?paced=false&size=320x240", "--loops", "edgefer,naive", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 40
    assert report["with_face"] >= 38
    assert set(report["stages"]) == {"gate", "detect", "classify"}
    assert report["edgefer"]["frames_per_s"] > 0
    assert report["cpu_ratio"] == pytest.approx(report["naive"]["cpu_ms_per_frame"] / report["edgefer"]["cpu_ms_per_frame"])
    assert report["cpu_ratio"] > 3, "a drawn face: 14 is usual"
    assert report["report"] is None
    assert report["peak_rss_mb"] > 10
    assert report["start_up_s"] > 0
    assert report["machine"]["board"]
    assert {(invoke["file"], invoke["threads"]) for invoke in report["invokes"]} >= {("small-int8.tflite", 1)}
    second_opinion = importlib.util.find_spec("ai_edge_litert") and importlib.util.find_spec("ml_dtypes")
    assert bool(report["litert_tool_ms"]) == bool(second_opinion)


def test_a_table_a_row_a_chart_and_a_difference_can_be_printed(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "before.json").write_text(cli(*SHORT, "edgefer,naive", "--json").stdout)
    chart = ["--chart", "chart.png"] if importlib.util.find_spec("matplotlib") else []
    done = cli(*SHORT, "edgefer,naive", "--against", "before.json", *chart)
    assert done.returncode == 0, done.stderr
    for fact in ("naive int8 loop", "peak memory", "against before.json", "now/then"):
        assert fact in done.stdout
    if chart:
        picture = cv2.imread(str(tmp_path / "chart.png"))
        assert picture is not None
        assert picture.std() > 3
    row = cli(*SHORT, "edgefer", "--markdown").stdout.splitlines()
    assert len(row) == 3
    assert len({line.count("|") for line in row}) == 1


def test_edgefer_alone_is_measured_without_the_other_loops(cli: Run) -> None:
    done = cli(*SHORT, "edgefer", "--json")
    report = json.loads(done.stdout)
    assert (report["naive"], report["cpu_ratio"], report["report"], report["report_cpu_ratio"]) == (None, None, None, None)
    assert "edgefer's loop" in done.stderr
    assert "naive" not in done.stderr, "progress names only what is measured"


@pytest.mark.slow
@pytest.mark.skipif(not all(map(importlib.util.find_spec, ("tensorflow", "train"))), reason="no checkout with TensorFlow here")
def test_the_reports_own_loop_is_measured_where_tensorflow_is_installed(cli: Run) -> None:
    report = json.loads(cli("bench", "--frames", "2", "--loops", "report", "--source", "synthetic:?paced=false", "--json").stdout)
    assert report["report_cpu_ratio"] > 3
    assert report["naive"] is None


def test_progress_is_a_bar_on_a_terminal_and_one_line_for_each_step_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream in (io.StringIO(), Terminal()):
        progress = Progress(stream)
        with progress.step("naive loop", 20) as advance:
            for done in range(20):
                advance(done)
        text = stream.getvalue()
        assert "naive loop" in text
        assert ("0/20" in text) == stream.isatty()
        assert ("\r" in text) == stream.isatty()
        assert text.count("\n") == (0 if stream.isatty() else 1)


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_figures_that_cannot_be_compared_with_are_one_line(cli: Run, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "before.json").write_text(content)
    done = cli("bench", "--against", "before.json")
    assert done.returncode == 1
    assert "--against before.json" in one_line(done.stderr)


def test_one_frame_is_too_few(cli: Run) -> None:
    done = cli("bench", "--frames", "1")
    assert done.returncode == 1
    assert "--frames 1" in one_line(done.stderr)


REFERENCES = sorted((Path(__file__).parents[3] / "models" / "bench").glob("*.json"))


@pytest.mark.skipif(not REFERENCES, reason="no models/bench here: this is not a checkout")
def test_the_reference_figures_can_be_compared_with() -> None:
    for path in REFERENCES:
        report = read_report(path)
        assert "edgefer's CPU over the naive loop's" in difference(report, report, path.name)
