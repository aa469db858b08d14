"""Debian roots as a Raspberry Pi has them, and the real systemd booted in them; nothing here needs a Pi. Run by 'make test-pi'."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "pi"
"""Debian roots, made once; 'make clean' removes them."""
PACKAGES = "systemd-sysv,dbus,python3-venv,python3-opencv"

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
    place = KEPT / release
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


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The file 'make pi-bundle' makes, for the processor of this machine."""
    made = call(ROOT / "edge/deploy/pi.sh", "bundle", "--machine", platform.machine(), env={**os.environ, "PYTHON": sys.executable})
    assert made.returncode == 0, made.stderr
    (file,) = (ROOT / "dist").glob(f"edgefer-*-{platform.machine()}.tar.gz")
    return file


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def container(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A fresh Debian with the unpacked bundle in /opt/bundle; what the tests do to it lies in a layer over the kept root."""
    need("mmdebstrap", "systemd-nspawn", "nsenter")
    kept, folder = debian(request.param), tmp_path_factory.mktemp(request.param)
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    # The layer in memory: overlay wants a file system that is not itself one.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", folder / "upper"], check=True)
    for name in ("data", "work"):
        (folder / "upper" / name).mkdir()
    layers = f"lowerdir={kept},upperdir={folder}/upper/data,workdir={folder}/upper/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", folder / "root"], check=True)
    container = Container(folder / "root")
    try:
        (container.root / "opt/bundle").mkdir()
        subprocess.run(["tar", "xf", bundle, "--strip-components=1", "-C", container.root / "opt/bundle"], check=True)
        yield container
    finally:
        container.halt()
        subprocess.run(["umount", "--recursive", folder / "root"], check=False)
        subprocess.run(["umount", folder / "upper"], check=False)
