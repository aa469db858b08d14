"""The verb ``run``: flags, signals, and a configuration that can be reloaded."""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
from functools import partial

from edgefer.cli.flags import add_settings_flags, config_path, settings_of
from edgefer.cli.parser import Parser
from edgefer.cli.terminal import hold_sighup, on_stop_signal, say
from edgefer.redact import redact_crashes
from edgefer.stop import StopFlag

EXAMPLES = """\
examples:
  edgefer run                                     your camera; drawn faces if there is none
  edgefer run --source opencv:0 --sink display:   the first USB camera in a window; q quits
  edgefer run --source file:clip.mp4 --sink jsonl:-
  edgefer run --source images:photos --sink jsonl:faces.jsonl --sink snapshots:annotated
  edgefer run --sink http://127.0.0.1:8080 --sink history:
                                                  a web page, and a history that outlives the run
  edgefer run --source 'synthetic:?faces=3&seconds=20' --sink 'snapshots:out?every_s=1'

signals: SIGHUP reloads --config; SIGUSR1 prints where every thread is
"""


def add_arguments(parser: Parser) -> None:
    """The flags of ``edgefer run``."""
    parser.epilog, parser.more = EXAMPLES, _plugs
    add_settings_flags(parser)
    parser.add_argument(
        "--sink", action="append", metavar="SPEC", help="where observations go; may be repeated (default: status: and snapshots:snapshots)"
    )


def _plugs() -> str:
    """Every source, sink and detector with its options; imports them all."""
    from edgefer.detectors import DETECTORS
    from edgefer.plug_help import help_table
    from edgefer.sinks import SINKS
    from edgefer.sources import SOURCES

    tables = {"sources": help_table(SOURCES), "sinks": help_table(SINKS), "detectors (in the configuration)": help_table(DETECTORS)}
    return "".join(f"\n{title}:\n{table.rstrip()}\n" for title, table in tables.items())


def main(options: argparse.Namespace) -> int:
    """Run until the source ends or a signal stops it; 1 if a sink failed."""
    settings = settings_of(options)
    from edgefer.cli.reload import Reload

    if sys.stderr is not None:
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1)
    redact_crashes()
    reload = Reload(settings, StopFlag(), partial(settings_of, options), config_path(options), say)
    signal.signal(signal.SIGHUP, lambda *_: reload.request())
    on_stop_signal(reload.end)
    hold_sighup(False)
    # Imported here: --help and a wrong flag answer without loading OpenCV.
    from edgefer.cli import daemon
    from edgefer.sinks.systemd import stopping

    try:
        return reload.run(partial(daemon.run, config=config_path(options)))
    finally:
        stopping()
