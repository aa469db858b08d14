"""The verb ``fleet``: all devices of an MQTT broker in one table."""

from __future__ import annotations

import argparse

from edgefer.cli.terminal import log_to_stderr, on_stop_signal
from edgefer.stop import StopFlag

EXAMPLES = """\
examples:
  edgefer fleet --broker mqtt://broker.lan                     all devices below edgefer/, live; Ctrl-C ends
  edgefer fleet --broker mqtts://broker.lan/home?login=login   TLS, base topic "home", user:password in the file "login"
  edgefer fleet --broker mqtt://broker.lan --json              once, for programs
  edgefer fleet --broker mqtt://broker.lan --html fleet.html   once, as a page to share
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer fleet``."""
    parser.epilog = EXAMPLES
    parser.add_argument("--broker", required=True, metavar="URL", help="mqtt://host[:port][/base][?login=FILE&ca=FILE]; mqtts:// uses TLS")
    parser.add_argument("--once", action="store_true", help="print the table once (default if the output is no terminal)")
    parser.add_argument("--json", action="store_true", help="print JSON, once")
    parser.add_argument("--html", metavar="FILE", help="write the table as a self-contained page, once")
    parser.add_argument("--serve", metavar="127.0.0.1:PORT", help="serve the table as a page to this machine only, until Ctrl-C")


def main(options: argparse.Namespace) -> int:
    """Show the table until Ctrl-C, or once."""
    from edgefer.mqtt.fleet_command import show_fleet

    # The table itself shows a broker that does not answer.
    log_to_stderr("warning" if options.serve else "error")
    stop = StopFlag()
    on_stop_signal(stop.set)
    show_fleet(options.broker, options.once, options.json, options.html, options.serve, stop)
    return 0
