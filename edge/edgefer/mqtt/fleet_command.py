"""The verb ``fleet``: connects to a broker and shows its devices, live or once."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path

from edgefer.files import write_atomic
from edgefer.mqtt.connection import DEFAULT_BASE, Connection, no_broker, parse_address
from edgefer.mqtt.fleet import Fleet, as_json, summary, table
from edgefer.mqtt.fleet_page import page, serve
from edgefer.redact import shown
from edgefer.settings import Table, checked

ANSWER_S = 8.0
"""Longest wait for the broker where there is only one look."""
QUIET_S = 0.5
"""What was retained comes at once: so long without a message, and all has been heard."""
EVERY_S = 1.0


class FleetOptions(Table, frozen=True):
    """What may follow the question mark of ``--broker``, as for the mqtt sink."""

    login: str = ""
    ca: str = ""


def show_fleet(broker: str, once: bool, json: bool, html: str | None, place: str | None, stop: threading.Event) -> None:
    """Show the devices of a broker until ``stop``, or once: as text, JSON or a page.

    Raises `SettingsError` for a wrong address or a file that cannot be written, `SinkError` where one look is wanted and nobody answers.
    """
    address = parse_address(broker)
    options = checked(address.options, FleetOptions, shown(broker), strict=False)
    fleet = Fleet("/".join(address.path) or DEFAULT_BASE)
    connection = Connection(address, login=options.login, ca=options.ca)
    for topic in fleet.topics:
        connection.subscribe(topic, fleet.heard)
    name = f"{address.name}/{fleet.base}"
    server = serve(place, lambda: fleet.devices(time.time()), name, time.time) if place else None
    connection.open()
    try:
        if server:
            threading.Thread(target=server.serve_forever, name="fleet page", daemon=True).start()
            print(f"the fleet's page: http://{place}/", file=sys.stderr, flush=True)
            stop.wait()
        elif once or json or html or not sys.stdout.isatty():
            _listen(connection, fleet, stop)
            now_s = time.time()
            devices = fleet.devices(now_s)
            if html:
                write_atomic(Path(html), page(devices, name, now_s), flag="--html ")
            if json:
                print(as_json(devices, name, now_s).decode())
            elif not html:
                print("\n".join([*table(devices), summary(devices, name)]))
        else:
            _live(connection, fleet, name, stop)
    finally:
        if server:
            server.shutdown()
            server.server_close()
        connection.close()


def _listen(connection: Connection, fleet: Fleet, stop: threading.Event) -> None:
    """Until the broker has said all it keeps; raises `SinkError` where there is none, or it does not let us in."""
    end_s = time.monotonic() + ANSWER_S
    while not connection.wait_up(0.1):
        if stop.is_set() or time.monotonic() > end_s or connection.problem:
            raise no_broker(connection)
    heard = -1
    while heard < fleet.heard_count and time.monotonic() < end_s and not stop.is_set():
        heard = fleet.heard_count
        stop.wait(QUIET_S)


def _live(connection: Connection, fleet: Fleet, name: str, stop: threading.Event) -> None:
    """A table that is drawn anew every second, over itself."""
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
        stop.wait(EVERY_S)
    sys.stdout.write("\n")
