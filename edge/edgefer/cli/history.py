"""The verb ``history``: what was seen over time, as a table, bars, CSV or JSON."""

from __future__ import annotations

import argparse
import shutil
from contextlib import closing

EXAMPLES = """\
times: 90m, 24h, 7d (before now), now, today, yesterday, 2026-11-25, 2026-11-25T10:30, or seconds since 1970

examples:
  edgefer history                                 a summary of the last 24 hours
  edgefer history --from today --plot             one line of bars for each expression
  edgefer history --from 7d --bucket 1h --csv > week.csv
  edgefer history --of visits --json              each face: when it came and went, how long it showed each expression
  edgefer report --from 7d --out week.html        one page to keep or print

'edgefer run --sink history:' records the history.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer history``."""
    add_time_flags(parser)
    parser.add_argument(
        "--of", choices=("minutes", "visits", "changes"), default="minutes", help="which rows CSV and JSON hold (default: minutes)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print rows for a spreadsheet")
    form.add_argument("--json", action="store_true", help="print rows as JSON")
    form.add_argument("--plot", action="store_true", help="draw bars in the terminal")


def add_time_flags(parser: argparse.ArgumentParser) -> None:
    """Which history, and which part of it: for ``history`` and ``report``."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="the history file (default: the one of the configuration, else of 'history:')"
    )
    parser.add_argument("--from", dest="begin", metavar="TIME", help="first time (default: a day ago, or the first recorded minute since)")
    parser.add_argument("--to", dest="end", default="now", metavar="TIME", help="last time (default: now)")
    parser.add_argument("--bucket", metavar="DURATION", help="length of one row or bar, such as 1m, 15m, 1h, 1d (default: chosen to fit)")
    parser.add_argument("--config", metavar="FILE", help="read the path of the history from the history: sink of this configuration")


def main(options: argparse.Namespace) -> int:
    """Print the history."""
    from edgefer.history.export import as_csv, as_json
    from edgefer.history.location import find_history
    from edgefer.history.store import History
    from edgefer.history.terminal import as_plot, as_table
    from edgefer.history.timespec import parse_range

    with closing(History(find_history(options.file, options.config), "read")) as history:
        span = parse_range(options.begin, options.end, options.bucket, 100, history.recorded())
        if options.csv or options.json:
            print((as_csv if options.csv else as_json)(history, options.of, span))
        else:
            print(as_plot(history, span, shutil.get_terminal_size().columns) if options.plot else as_table(history, span))
    return 0
