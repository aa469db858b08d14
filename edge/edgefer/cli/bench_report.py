"""A benchmark's figures for people: a table, a chart, a row to share, and the difference from other figures."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgefer.cli.benchmark import Invoke, Report
from edgefer.errors import MissingLibrary, SettingsError
from edgefer.pipeline.measure import Loop


def table(report: Report) -> str:
    """All figures, in columns."""
    board = report.machine
    throttled = f"; {', '.join(report.throttled_after)}" if report.throttled_after else ""
    lines = [
        f"edgefer {report.version} on {board.board}, {board.cores} cores, governor {board.governor or 'not known'}",
        f"temperature {_degrees(board.temperature_c)} before, {_degrees(report.temperature_after_c)} after{throttled}",
        f"{report.model} on {report.source}, {report.frames} frames, a face in {report.with_face}"
        + ("" if report.accelerated else "; WITHOUT XNNPACK"),
        "",
        f"{'':26}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'frames/s':>10}",
        *(f"  {name:24}{wall.p50_ms:9.2f}{wall.p95_ms:9.2f}{wall.p99_ms:9.2f}" for name, wall in report.stages.items()),
        *(
            f"{name:26}{loop.wall.p50_ms:9.2f}{loop.wall.p95_ms:9.2f}{loop.wall.p99_ms:9.2f}"
            f"{loop.cpu_ms_per_frame:9.2f}{loop.frames_per_s:10.1f}"
            for name, loop in _loops(report).items()
        ),
        *(
            []
            if report.report
            else ["the report's loop         not measured: left out by --loops, or TensorFlow is missing ('make train' installs it)"]
        ),
        "",
        *map(_invoke_line, report.invokes),
        *([] if report.litert_tool_ms is None else [f"  {'1 thread, by the tool of LiteRT':32}{report.litert_tool_ms:7.3f} ms per face"]),
        "",
        *_ratio_lines(report),
        f"peak memory {report.peak_rss_mb:.0f} MB; first observation {report.start_up_s:.2f} s after the start; "
        f"reading a frame {report.source_ms_per_frame:.2f} ms, not counted above",
    ]
    return "\n".join(lines)


def _loops(report: Report) -> dict[str, Loop]:
    """The loops that were measured, by the name that people read."""
    loops = {"edgefer": report.edgefer, "naive int8 loop": report.naive, "the report's loop": report.report}
    return {name: loop for name, loop in loops.items() if loop}


def _invoke_line(invoke: Invoke) -> str:
    name = f"{invoke.file}, {invoke.threads} thread{'s' if invoke.threads > 1 else ''}"
    return f"  {name:32}{invoke.wall.p50_ms:7.3f} ms per face (p95 {invoke.wall.p95_ms:.3f})"


def _ratio_lines(report: Report) -> list[str]:
    ratios = {"the naive loop": report.cpu_ratio, "the report's own loop": report.report_cpu_ratio}
    found = [f"{name} takes {ratio:.1f} times edgefer's" for name, ratio in ratios.items() if ratio]
    if not found:
        return []
    about = "(naive: Haar 1.3/5 on the whole frame, every face classified in every frame; the report's: the same with Keras' predict)"
    return [f"CPU per frame: {', '.join(found)}", about]


def markdown_row(report: Report) -> str:
    """One row of a Markdown table, with its header, to share."""
    ours = report.edgefer
    cells = {
        "board": report.machine.board,
        "model": report.model,
        "source": f"`{report.source}`",
        "frames/s": f"{ours.frames_per_s:.0f}",
        "CPU ms per frame": f"{ours.cpu_ms_per_frame:.2f}",
        "naive / edgefer": f"{report.cpu_ratio:.1f}" if report.cpu_ratio else "–",
        "p95 ms": f"{ours.wall.p95_ms:.1f}",
        "memory MB": f"{report.peak_rss_mb:.0f}",
        "°C": _degrees(report.temperature_after_c),
        "edgefer": report.version,
    }
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}\n| {' | '.join(cells.values())} |"


def read_report(path: Path) -> Report:
    """Figures from a file of JSON; raises `SettingsError` if it is missing or holds something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise SettingsError(f"--against {path}: {error.strerror}; keep one with: edgefer bench --json > {path.name}") from None
    except msgspec.MsgspecError as error:
        raise SettingsError(f"--against {path}: this is not the output of edgefer bench --json: {error}") from None


def difference(report: Report, other: Report, name: str) -> str:
    """This run against an ``other``, called ``name``, as new divided by old: below 1 is better."""
    now, then = _figures(report), _figures(other)
    lines = [f"against {name}: edgefer {other.version} on {other.machine.board}, {other.source}, {other.model}"]
    if (other.source, other.model) != (report.source, report.model):
        lines.append("another source or model: these figures cannot be compared")
    lines.append(f"{'':38}{'now':>10}{'then':>10}{'now/then':>10}")
    lines += [f"{key:38}{now[key]:10.3f}{then[key]:10.3f}{now[key] / then[key]:10.2f}" for key in now if then.get(key)]
    return "\n".join(lines)


def _figures(report: Report) -> dict[str, float]:
    """The figures worth a comparison, where smaller is better."""
    figures = {
        "CPU ms per frame, edgefer": report.edgefer.cpu_ms_per_frame,
        **{f"{stage}, p50 ms": wall.p50_ms for stage, wall in report.stages.items()},
        "p95 ms per frame, edgefer": report.edgefer.wall.p95_ms,
    }
    if report.naive and report.cpu_ratio:
        figures["CPU ms per frame, naive loop"] = report.naive.cpu_ms_per_frame
        figures["edgefer's CPU over the naive loop's"] = 1 / report.cpu_ratio
    return figures | {"peak memory, MB": report.peak_rss_mb, "start-up, s": report.start_up_s}


def chart(report: Report, path: Path) -> None:
    """Draw the CPU time of each loop and edgefer's stages into a PNG; raises `MissingLibrary` without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise MissingLibrary("--chart needs matplotlib: pip install 'edgefer[chart]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    loops = _loops(report)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    spent_ms = [loop.cpu_ms_per_frame for loop in loops.values()]
    bars = left.barh(list(loops), spent_ms, color=["tab:green", *["tab:grey"] * (len(loops) - 1)])
    left.bar_label(bars, fmt="%.2f", padding=3)
    left.set(xlabel="CPU ms per frame", title="less is better", xlim=(0, 1.2 * max(spent_ms)))
    left.invert_yaxis()
    for offset, name in ((-0.27, "p50_ms"), (0.0, "p95_ms"), (0.27, "p99_ms")):
        spent = [getattr(spread, name) for spread in report.stages.values()]
        right.bar([index + offset for index in range(len(spent))], spent, width=0.25, label=name.removesuffix("_ms"))
    right.set_xticks(range(len(report.stages)), list(report.stages))
    right.set(ylabel="ms per frame", title="edgefer's stages")
    right.legend()
    figure.suptitle(f"{report.machine.board}: {report.model} on {report.source}", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _degrees(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0f} °C"
