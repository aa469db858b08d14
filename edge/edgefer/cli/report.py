"""The verb ``report``: the history as one HTML page."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from edgefer.cli.history import add_time_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer report``."""
    add_time_flags(parser)
    parser.add_argument(
        "--out", default="edgefer-report.html", metavar="FILE.html", help="the page to write (default: edgefer-report.html)"
    )


def main(options: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from edgefer.history.location import find_history
    from edgefer.history.report import write_page
    from edgefer.history.store import History
    from edgefer.history.timespec import parse_range

    with closing(History(find_history(options.file, options.config), "read")) as history:
        write_page(history, parse_range(options.begin, options.end, options.bucket, 200, history.recorded()), Path(options.out))
    print(f"written: {Path(options.out).resolve()}")
    return 0
