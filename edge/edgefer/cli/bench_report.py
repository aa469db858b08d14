"""What a benchmark found, for people: a table, a chart, a row to share, and the difference from another machine or day."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgefer.cli.bench import Report
from edgefer.errors import MissingLibrary, SettingsError


def table(report: Report) -> str:
    """All the figures, in columns."""
    box = report.machine
    lines = [
        f"edgefer {report.version} on {box.board}, {box.cores} cores, governor {box.governor or 'not known'}",
        f"temperature {_degrees(box.temperature_c)} before, {_degrees(report.temperature_after_c)} after"
        + (f"; {', '.join(report.throttled_after)}" if report.throttled_after else ""),
        f"{report.model} on {report.source}, {report.frames} frames, a face in {report.with_face}"
        + ("" if report.accelerated else "; WITHOUT XNNPACK"),
        "",
        f"{'':26}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'frames/s':>10}",
    ]
    for name, spread in report.stages.items():
        lines.append(f"  {name:24}{spread.p50_ms:9.2f}{spread.p95_ms:9.2f}{spread.p99_ms:9.2f}")
    for name, loop in (("edgefer", report.edgefer), ("naive int8 loop", report.naive), ("the report's loop", report.report)):
        if loop is None:
            lines.append(f"{name:26}needs a checkout with TensorFlow: make train once, then make bench")
            continue
        wall = loop.wall
        lines.append(
            f"{name:26}{wall.p50_ms:9.2f}{wall.p95_ms:9.2f}{wall.p99_ms:9.2f}{loop.cpu_ms_per_frame:9.2f}{loop.frames_per_s:10.1f}"
        )
    lines.append("")
    for invoke in report.invokes:
        name = f"{invoke.file}, {invoke.threads} thread{'s' if invoke.threads > 1 else ''}"
        lines.append(f"  {name:32}{invoke.wall.p50_ms:7.3f} ms a face (p95 {invoke.wall.p95_ms:.3f})")
    if report.litert_tool_ms is not None:
        lines.append(f"  {'1 thread, by the tool of LiteRT':32}{report.litert_tool_ms:7.3f} ms a face")
    lines += [
        "",
        f"CPU a frame: the naive loop takes {report.cpu_ratio:.1f} times edgefer's"
        + (f", the report's own {report.report_cpu_ratio:.1f} times" if report.report_cpu_ratio else ""),
        "(naive: full-frame Haar 1.3/5, every face classified every frame; the report's: the same with Keras' predict)",
        f"peak memory {report.peak_rss_mb:.0f} MB; first observation {report.start_up_s:.2f} s after the start; "
        f"reading a frame {report.source_ms_per_frame:.2f} ms, not counted above",
    ]
    return "\n".join(lines)


def markdown_row(report: Report) -> str:
    """One row of a Markdown table, with its header, to share."""
    box, ours = report.machine, report.edgefer
    cells = {
        "board": box.board,
        "model": report.model,
        "source": f"`{report.source}`",
        "frames/s": f"{ours.frames_per_s:.0f}",
        "CPU ms a frame": f"{ours.cpu_ms_per_frame:.2f}",
        "naive / edgefer": f"{report.cpu_ratio:.1f}",
        "p95 ms": f"{ours.wall.p95_ms:.1f}",
        "memory MB": f"{report.peak_rss_mb:.0f}",
        "°C": _degrees(report.temperature_after_c),
        "edgefer": report.version,
    }
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}\n| {' | '.join(cells.values())} |"


def read_report(path: Path) -> Report:
    """Figures kept as JSON; raises `SettingsError` for a file that is not there or holds something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise SettingsError(f"--against {path}: {error.strerror}; keep one with: edgefer bench --json > {path.name}") from None
    except msgspec.MsgspecError as error:
        raise SettingsError(f"--against {path}: not what edgefer bench --json prints: {error}") from None


def difference(report: Report, other: Report, name: str) -> str:
    """This run against an ``other``, called ``name``: new over old, so below 1 is better."""
    rows = [("CPU ms a frame, edgefer", report.edgefer.cpu_ms_per_frame, other.edgefer.cpu_ms_per_frame)]
    rows += [
        (f"{stage}, p50 ms", spread.p50_ms, other.stages[stage].p50_ms) for stage, spread in report.stages.items() if stage in other.stages
    ]
    rows += [
        ("p95 ms a frame, edgefer", report.edgefer.wall.p95_ms, other.edgefer.wall.p95_ms),
        ("CPU ms a frame, naive loop", report.naive.cpu_ms_per_frame, other.naive.cpu_ms_per_frame),
        ("edgefer's CPU over the naive loop's", 1 / report.cpu_ratio, 1 / other.cpu_ratio),
        ("peak memory, MB", report.peak_rss_mb, other.peak_rss_mb),
        ("start-up, s", report.start_up_s, other.start_up_s),
    ]
    lines = [f"against {name}: edgefer {other.version} on {other.machine.board}, {other.source}, {other.model}"]
    if (other.source, other.model) != (report.source, report.model):
        lines.append("another source or model: the figures do not compare like with like")
    lines.append(f"{'':38}{'now':>10}{'then':>10}{'now/then':>10}")
    lines += [f"{name:38}{now:10.3f}{then:10.3f}{now / then if then else float('nan'):10.2f}" for name, now, then in rows]
    return "\n".join(lines)


def chart(report: Report, path: Path) -> None:
    """CPU a frame of each loop, and where edgefer's time goes. Raises `MissingLibrary` without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise MissingLibrary("--chart needs matplotlib: pip install 'edgefer[chart]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    loops = {"edgefer": report.edgefer, "naive int8 loop": report.naive} | ({"the report's loop": report.report} if report.report else {})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    spent_ms = [loop.cpu_ms_per_frame for loop in loops.values()]
    bars = left.barh(list(loops), spent_ms, color=["tab:green", *["tab:grey"] * (len(loops) - 1)])
    left.bar_label(bars, fmt="%.2f", padding=3)
    left.set(xlabel="CPU ms a frame", title="less is better", xlim=(0, 1.2 * max(spent_ms)))
    left.invert_yaxis()
    for offset, name in ((-0.27, "p50_ms"), (0.0, "p95_ms"), (0.27, "p99_ms")):
        spent = [getattr(spread, name) for spread in report.stages.values()]
        right.bar([place + offset for place in range(len(spent))], spent, width=0.25, label=name.removesuffix("_ms"))
    right.set_xticks(range(len(report.stages)), list(report.stages))
    right.set(ylabel="ms a frame", title="edgefer's stages")
    right.legend()
    figure.suptitle(f"{report.machine.board}: {report.model} on {report.source}", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _degrees(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0f} °C"
