"""edgefer as a systemd service: installed, shown, its log read, and taken away again."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgefer.cli.check_config import check_config
from edgefer.errors import ServiceError
from edgefer.files import shipped, write_atomic
from edgefer.settings import Settings

UNIT = "edgefer.service"
PLACE = Path("/etc/systemd/system") / UNIT
RUNNING = Path("/run/systemd/system")
"""There where systemd runs, see sd_booted(3)."""
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""What the unit's ``ProtectHome`` and ``PrivateTmp`` hide from the service."""


def unit(command: Path, config: Path, source_timeout_s: float = Settings().source_timeout_s) -> str:
    """The unit, ``deploy/edgefer.service``, with the lines that say where things are and how long a camera may be silent.

    The watchdog waits longer than the daemon, which says what is wrong before it ends.
    """
    text = (shipped("deploy") / UNIT).read_text(encoding="utf-8")
    start = f"ExecStart={_quoted(command)} run --config {_quoted(config)}"
    text = re.sub("^ExecStart=.*$", lambda _: start, text, flags=re.MULTILINE)
    return re.sub("^WatchdogSec=.*$", f"WatchdogSec={max(30, source_timeout_s + 10):.0f}", text, flags=re.MULTILINE)


def install(config: Path, say: Callable[[str], None]) -> None:
    """Write the unit, start it now and with the machine; returns when the first frame was processed.

    Raises `ServiceError`, or `SettingsError` for the configuration, with nothing written, where it could not work.
    """
    _need_systemd(root=True)
    config = config.resolve()
    if not config.exists():
        raise ServiceError(f"{config}: no such file; 'sudo edgefer setup' writes one")
    settings = check_config(config)
    if not settings.source:
        raise ServiceError(f"{config}: source is empty, so without a camera drawn faces would be shown; name it, or 'sudo edgefer setup'")
    command = Path(sys.prefix) / "bin" / "edgefer"
    if not command.exists():
        raise ServiceError(f"{command}: not there; a service runs what is installed: 'make pi-install', or pip install in a venv")
    model = [Path(settings.model)] if settings.model.endswith(".tflite") else []
    for path in (command, config, *model):
        if any(path.absolute().is_relative_to(place) for place in HIDDEN):
            raise ServiceError(f"{path}: a service cannot see {', '.join(HIDDEN)}; 'make pi-install' puts edgefer into /opt/edgefer")
        if not path.stat().st_mode & stat.S_IROTH:
            raise ServiceError(f"{path}: the service runs as a user of its own, who may not read it; 'sudo chmod o+r {path}'")
    write_atomic(PLACE, unit(command, config, settings.source_timeout_s))
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", UNIT)
    # What failed before must not count against what was mended since.
    _systemctl("reset-failed", UNIT)
    say(f"{PLACE} written; starting, until the first frame is processed …")
    _systemctl("restart", UNIT)
    say("edgefer runs, and starts with the machine: 'edgefer service status', 'edgefer service logs'")


def status() -> int:
    """Show what systemd says; its exit status: 0 running, 3 stopped, 4 not installed."""
    _need_systemd()
    return subprocess.call(["systemctl", "status", "--no-pager", "--full", "--lines=5", UNIT])


def logs(follow: bool) -> int:
    """Show the newest hundred lines of the log, and with ``follow`` those to come."""
    _need_systemd()
    return subprocess.call(["journalctl", "--no-pager", "--lines=100", f"--unit={UNIT}", *(["--follow"] if follow else [])])


def uninstall(say: Callable[[str], None]) -> None:
    """Stop it and take the unit away; configuration and data stay."""
    _need_systemd(root=True)
    if not PLACE.exists():
        say(f"{PLACE}: not there, nothing to do")
        return
    _systemctl("disable", "--quiet", "--now", UNIT)
    PLACE.unlink()
    _systemctl("daemon-reload")
    say(f"{PLACE} removed; /etc/edgefer and /var/lib/edgefer stay")


def _need_systemd(root: bool = False) -> None:
    if not shutil.which("systemctl") or not RUNNING.is_dir():
        raise ServiceError("systemd does not run here; start 'edgefer run' by what does")
    if root and os.geteuid() != 0:
        raise ServiceError(f"only root may change services: 'sudo {Path(sys.argv[0]).name} service …'")


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and arguments[0] != "reset-failed":
        said = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise ServiceError(f"systemctl {' '.join(arguments)}: {said}; 'edgefer service logs' says why")


def _quoted(path: Path) -> str:
    """A path as one word of a unit file, where % and $ have a meaning of their own."""
    word = str(path).replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{word}"' if re.search(r"[\s\"'\\;]", word) else word
