"""The verb ``fleet``: connects to a broker and shows its devices, live or once."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path

from edgefer.files import write_atomic
from edgefer.mqtt.address import DEFAULT_BASE, check_level, parse_address
from edgefer.mqtt.connection import Connection, unreachable
from edgefer.mqtt.fleet import Fleet, as_json, summary, table
from edgefer.mqtt.fleet_page import page, serve
from edgefer.redact import redact_url
from edgefer.settings import Table, checked

CONNECT_S = 8.0
"""Longest wait for the broker where the fleet is shown once."""
COMPLETE_S = 0.5
"""Retained messages come at once: after this time without one, all have come."""
REFRESH_S = 1.0


class FleetOptions(Table, frozen=True):
    """Options of ``--broker``, as those of the mqtt sink."""

    login: str = ""
    ca: str = ""


def show_fleet(broker: str, once: bool, json: bool, html: str | None, serve_at: str | None, stop: threading.Event) -> None:
    """Show the devices of a broker as text, JSON or a page: until ``stop``, or ``once``.

    Raises `SettingsError` for a wrong address or a file that cannot be written, `SinkError` where the broker does not answer.
    """
    address = parse_address(broker)
    for level in address.path[-1:]:
        check_level(level, broker)
    options = checked(address.options, FleetOptions, redact_url(broker), strict=False)
    fleet = Fleet("/".join(address.path) or DEFAULT_BASE)
    connection = Connection(address, login=options.login, ca=options.ca)
    for topic in fleet.topics:
        connection.subscribe(topic, fleet.update)
    name = f"{address.name}/{fleet.base}"
    server = serve(serve_at, lambda: fleet.devices(time.time()), name, time.time) if serve_at else None
    connection.open()
    try:
        if server:
            threading.Thread(target=server.serve_forever, name="fleet page", daemon=True).start()
            print(f"the fleet's page: http://{serve_at}/", file=sys.stderr, flush=True)
            stop.wait()
        elif once or json or html or not sys.stdout.isatty():
            _receive(connection, fleet, stop)
            _show_once(fleet, name, json, html)
        else:
            _show_live(connection, fleet, name, stop)
    finally:
        if server:
            server.shutdown()
            server.server_close()
        connection.close()


def _receive(connection: Connection, fleet: Fleet, stop: threading.Event) -> None:
    """Wait for the retained messages; raises `SinkError` where there is no connection."""
    end_s = time.monotonic() + CONNECT_S
    while not connection.wait_up(0.1):
        if stop.is_set() or time.monotonic() > end_s or connection.problem:
            raise unreachable(connection)
    messages = -1
    while messages < fleet.messages and time.monotonic() < end_s and not stop.is_set():
        messages = fleet.messages
        stop.wait(COMPLETE_S)


def _show_once(fleet: Fleet, name: str, json: bool, html: str | None) -> None:
    now_s = time.time()
    devices = fleet.devices(now_s)
    if html:
        write_atomic(Path(html), page(devices, name, now_s), flag="--html ")
    if json:
        print(as_json(devices, name, now_s).decode())
    elif not html:
        print("\n".join([*table(devices), summary(devices, name)]))


def _show_live(connection: Connection, fleet: Fleet, name: str, stop: threading.Event) -> None:
    """Draw the table over the old one, every second."""
    sys.stdout.write("\x1b[2J")
    while not stop.is_set():
        width, height = shutil.get_terminal_size()
        devices = fleet.devices(time.time())
        lines = table(devices)
        more = len(lines) - (height - 3)
        if more > 0:
            lines = [*lines[: height - 4], f"… {more + 1} more; --html FILE and --json show all"]
        lines += ["", summary(devices, name) + (f"; {connection.problem}" if connection.problem else "") + "; Ctrl-C ends"]
        sys.stdout.write(
            "\x1b[H" + "".join(f"{line[: width - 1]}\x1b[K\n" for line in lines[:-1]) + f"{lines[-1][: width - 1]}\x1b[K\x1b[J"
        )
        sys.stdout.flush()
        stop.wait(REFRESH_S)
    sys.stdout.write("\n")
