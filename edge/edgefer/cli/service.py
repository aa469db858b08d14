"""The verb ``service``: install, show and remove the systemd service, and read its log."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgefer.cli.check_config import check_config
from edgefer.cli.terminal import say
from edgefer.errors import ServiceError
from edgefer.files import shipped, write_atomic
from edgefer.settings import CONFIG, Settings

UNIT = "edgefer.service"
UNIT_PATH = Path("/etc/systemd/system") / UNIT
RUNNING = Path("/run/systemd/system")
"""Exists if systemd is running, see sd_booted(3)."""
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""Folders that the unit's ``ProtectHome`` and ``PrivateTmp`` hide from the service."""
ACTIONS = {
    "install": "write the systemd unit, start it now and at every boot; needs root",
    "status": "show whether the service runs, and its last lines",
    "logs": "print the newest hundred lines of the log",
    "uninstall": "stop the service and remove its unit; configuration and data stay; needs root",
}
"""Action -> its line of help."""
EXAMPLES = """\
examples:
  sudo edgefer setup && sudo edgefer service install
  edgefer service status
  edgefer service logs --follow
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer service``."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    # Before the action they are allowed too, as they always were.
    parser.add_argument("--config", default=str(CONFIG), help=argparse.SUPPRESS)
    parser.add_argument("--follow", "-f", action="store_true", help=argparse.SUPPRESS)
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == "install":
            config = f"its configuration (default: {CONFIG})"
            action.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=config)
        elif name == "logs":
            follow = "wait for new lines, until Ctrl-C"
            action.add_argument("--follow", "-f", action="store_true", default=argparse.SUPPRESS, help=follow)


def main(options: argparse.Namespace) -> int:
    """Do one action; returns the exit status of systemctl or journalctl for status and logs."""
    if options.action == "status":
        return status()
    if options.action == "logs":
        return logs(options.follow)
    if options.action == "install":
        install(Path(options.config), say)
    else:
        uninstall(say)
    return 0


def unit(command: Path, config: Path, source_timeout_s: float = Settings().source_timeout_s) -> str:
    """``deploy/edgefer.service`` with the paths of this installation, and a watchdog that waits longer than ``source_timeout_s``.

    So the daemon can log the reason and end by itself before systemd kills it.
    """
    text = (shipped("deploy") / UNIT).read_text(encoding="utf-8")
    start = f"ExecStart={_quoted(command)} run --config {_quoted(config)}"
    text = re.sub("^ExecStart=.*$", lambda _: start, text, flags=re.MULTILINE)
    return re.sub("^WatchdogSec=.*$", f"WatchdogSec={max(30, source_timeout_s + 10):.0f}", text, flags=re.MULTILINE)


def install(config: Path, say: Callable[[str], None]) -> None:
    """Write the unit, start it now and at every boot; returns after the first processed frame.

    Raises `ServiceError`, or `SettingsError` for the configuration, and writes nothing if the service could not work.
    """
    _need_systemd(root=True)
    config = config.resolve()
    if not config.exists():
        raise ServiceError(f"{config}: no such file; 'sudo edgefer setup' writes one")
    settings = check_config(config)
    if not settings.source:
        raise ServiceError(f"{config}: source is empty, which means drawn faces without a camera; set it, or run 'sudo edgefer setup'")
    command = Path(sys.prefix) / "bin" / "edgefer"
    if not command.exists():
        raise ServiceError(f"{command}: no such file; a service needs an installed edgefer: 'make pi-install', or pip install in a venv")
    for path in (command, config, *([Path(settings.model)] if settings.model.endswith(".tflite") else [])):
        _check_visible(path)
    write_atomic(UNIT_PATH, unit(command, config, settings.source_timeout_s))
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", UNIT)
    # Earlier failures must not count against the start limit after a fix.
    _systemctl("reset-failed", UNIT)
    say(f"{UNIT_PATH} written; starting, until the first frame is processed …")
    _systemctl("restart", UNIT)
    say("edgefer runs, now and after every boot: 'edgefer service status', 'edgefer service logs'")


def _check_visible(path: Path) -> None:
    """Raises `ServiceError` if the service, a user of its own in a sandbox, could not read the file."""
    if any(path.absolute().is_relative_to(folder) for folder in HIDDEN):
        raise ServiceError(f"{path}: a service cannot see {', '.join(HIDDEN)}; 'make pi-install' puts edgefer into /opt/edgefer")
    if not path.stat().st_mode & stat.S_IROTH:
        raise ServiceError(f"{path}: the user of the service may not read it; 'sudo chmod o+r {path}'")


def status() -> int:
    """Print the state of the service; returns systemctl's status: 0 running, 3 stopped, 4 not installed."""
    _need_systemd()
    return subprocess.call(["systemctl", "status", "--no-pager", "--full", "--lines=5", UNIT])


def logs(follow: bool) -> int:
    """Print the newest hundred lines of the log; with ``follow`` go on with new lines."""
    _need_systemd()
    return subprocess.call(["journalctl", "--no-pager", "--lines=100", f"--unit={UNIT}", *(["--follow"] if follow else [])])


def uninstall(say: Callable[[str], None]) -> None:
    """Stop the service and remove its unit; configuration and data stay."""
    _need_systemd(root=True)
    if not UNIT_PATH.exists():
        say(f"{UNIT_PATH}: no such file, nothing to do")
        return
    _systemctl("disable", "--quiet", "--now", UNIT)
    UNIT_PATH.unlink()
    _systemctl("daemon-reload")
    say(f"{UNIT_PATH} removed; /etc/edgefer and /var/lib/edgefer stay")


def _need_systemd(root: bool = False) -> None:
    if not shutil.which("systemctl") or not RUNNING.is_dir():
        raise ServiceError("systemd does not run here; start 'edgefer run' with your own init system")
    if root and os.geteuid() != 0:
        raise ServiceError(f"changing services needs root: 'sudo {Path(sys.argv[0]).name} service …'")


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and arguments[0] != "reset-failed":
        reason = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise ServiceError(f"systemctl {' '.join(arguments)}: {reason}; 'edgefer service logs' shows why")


def _quoted(path: Path) -> str:
    """A path as one word of a unit file, where % and $ are special."""
    word = str(path).replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{word}"' if re.search(r"[\s\"'\\;]", word) else word
