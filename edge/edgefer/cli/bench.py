"""The verb ``bench``: edgefer's loop against the loops it replaces, on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import msgspec

from edgefer.cli.flags import add_settings_flags, settings_of
from edgefer.machine import version

LOOPS = frozenset(("edgefer", "naive", "report"))
EXAMPLES = """\
loops, all on the same frames:
  edgefer   always measured
  naive     Haar on the whole frame (1.3, 5), and every face classified in every frame, with the int8 file
  report    the same with Keras' predict, as in the student report; needs a checkout with TensorFlow, else it is left out

examples:
  edgefer bench                                   a minute; one drawn face of 640x480
  edgefer bench --source file:clip.mp4 --json > mine.json
  edgefer bench --against mine.json               compare with figures kept before
  edgefer bench --loops edgefer --frames 100      edgefer alone, in a few seconds
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer bench``."""
    parser.epilog = EXAMPLES
    add_settings_flags(parser, source="drawn faces, synthetic:?paced=false")
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="frames to measure, after the warm-up (default: 300)")
    parser.add_argument(
        "--loops", type=_loops, default="edgefer,naive,report", metavar="NAMES", help="loops to measure (default: edgefer,naive,report)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--markdown", action="store_true", help="print one row of a Markdown table, to share")
    parser.add_argument("--chart", metavar="FILE.png", help="draw the figures as well")
    parser.add_argument("--against", metavar="FILE.json", help="show the difference from figures kept with --json")


def main(options: argparse.Namespace) -> int:
    """Measure and print the figures; progress goes to standard error."""
    settings = settings_of(options)
    from edgefer.cli.bench_report import chart, difference, markdown_row, read_report, table
    from edgefer.cli.benchmark import benchmark
    from edgefer.cli.progress import Progress

    against = Path(options.against) if options.against else None
    kept = read_report(against) if against else None
    report = benchmark(settings, options.frames, version(), options.loops, Progress(sys.stderr))
    if options.json:
        print(json.dumps(msgspec.to_builtins(report), indent=1))
    else:
        print(markdown_row(report) if options.markdown else table(report))
    if options.chart:
        chart(report, Path(options.chart))
    if kept and against:
        print("\n" + difference(report, kept, against.name), file=sys.stderr if options.json or options.markdown else sys.stdout)
    return 0


def _loops(names: str) -> frozenset[str]:
    """The value of ``--loops``; edgefer's own loop is measured in any case."""
    loops = frozenset(names.split(","))
    if unknown := sorted(loops - LOOPS):
        raise argparse.ArgumentTypeError(f"no loop {', '.join(map(repr, unknown))}; there are edgefer, naive, report")
    return loops
