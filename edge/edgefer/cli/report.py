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
    from edgefer.history import export
    from edgefer.history.store import History

    with closing(History(export.history_path(options.file, options.config), "read")) as history:
        export.write_page(history, export.stretch(options.begin, options.end, options.bucket, most=200), Path(options.out))
    print(f"written: {Path(options.out).resolve()}")
    return 0
