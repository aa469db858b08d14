"""Debian roots as a Raspberry Pi has them, and the real systemd booted in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = Path(os.environ.get("EDGEFER_PI_BUILD", ROOT / "build" / "pi")).resolve()
"""Debian roots, made once; 'make clean' removes them."""
PACKAGES = "systemd-sysv,dbus,procps,python3-venv,python3-opencv"

Done = subprocess.CompletedProcess[str]


def call(*command: object, **more: object) -> Done:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload,no-any-return]


def need(*programs: str) -> None:
    """Skip where a test cannot run, and say why."""
    if missing := [program for program in programs if not shutil.which(program)]:
        pytest.skip(f"no {', '.join(missing)} here: tests/pi/packages.sh installs them")
    if os.geteuid() != 0:
        pytest.skip("making and booting a Debian root takes root")


def debian(release: str) -> Path:
    """A Debian root with systemd, Python and apt's own OpenCV and numpy, as `pi.sh` finds them on a Pi."""
    place = KEPT / f"{release}-{zlib.crc32(PACKAGES.encode()):08x}"
    if not place.is_dir():
        KEPT.mkdir(parents=True, exist_ok=True)
        sources = Path("/etc/apt/sources.list.d/debian.sources")
        mirrors = [line.split()[1] for line in sources.read_text().splitlines() if line.startswith("URIs:")] if sources.exists() else []
        options = [f"--aptopt={option}" for option in ('Acquire::Check-Valid-Until "false"', 'Apt::Install-Recommends "false"')]
        part = KEPT / f".part-{release}"
        made = call("mmdebstrap", "--quiet", "--variant=minbase", *options, f"--include={PACKAGES}", release, part, *mirrors[:1])
        assert made.returncode == 0, made.stderr
        part.rename(place)
    return place


class Container:
    """A root in which commands are run: alone, or beside the systemd booted in it. It has no network."""

    NSPAWN = ("systemd-nspawn", "--quiet", "--private-network", "--register=no", "--keep-unit", "--hostname=pi")

    def __init__(self, root: Path) -> None:
        self.root = root
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __call__(self, *command: object) -> Done:
        """Run a command inside to its end."""
        if self._leader:
            return call("nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--", *command)
        return call(*self.NSPAWN, "--pipe", "--directory", self.root, *command)

    def boot(self) -> None:
        """Start the root's own systemd as process 1, and wait until it is up."""
        command = [*self.NSPAWN, "--directory", str(self.root), "--console=read-only", "--boot"]
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with (self.root.parent / "boot.log").open("wb") as log:
            self._nspawn = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def up() -> bool:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split() if self._nspawn else []
            self._leader = int(children[0]) if children else 0
            return bool(self._leader) and self("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

        until(up, "systemd did not come up")

    def halt(self) -> None:
        """Power off as systemd wants to be told, SIGRTMIN+4; a container that does not is killed."""
        if self._nspawn:
            os.kill(self._leader, 38)
            try:
                self._nspawn.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()


def until(true: Callable[[], bool], otherwise: str, within_s: float = 30.0) -> None:
    """Wait for something that nothing tells of; fails with ``otherwise``."""
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s, otherwise
        time.sleep(0.05)


def make_bundle(machine: str) -> Path:
    """The file 'make pi-bundle' makes, for that processor."""
    made = call(ROOT / "edge/deploy/pi.sh", "bundle", "--machine", machine, env={**os.environ, "PYTHON": sys.executable})
    assert made.returncode == 0, made.stderr
    (file,) = (ROOT / "dist").glob(f"edgefer-*-{machine}.tar.gz")
    return file
