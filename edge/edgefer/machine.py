"""Facts about the machine: board, temperature, governor, throttling, memory. They need neither root nor a Pi."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

THROTTLE_BITS = {
    0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit",
    16: "under-voltage has occurred", 17: "frequency was capped", 18: "was throttled", 19: "soft temperature limit was reached",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a benchmark; None for what it does not report."""

    board: str
    cores: int
    governor: str | None
    temperature_c: float | None
    throttled: tuple[str, ...]


def machine(root: Path = Path("/")) -> Machine:
    """This machine; ``root`` is the folder that holds /proc and /sys."""
    return Machine(board(root), len(_cpus(root)), governor(root), temperature_c(root), throttled())


def board(root: Path = Path("/")) -> str:
    """Name of the board ("Raspberry Pi Zero 2 W Rev 1.0"), else of the processor."""
    if model := board_model(root):
        return model
    for line in _read(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.machine()


def board_model(root: Path = Path("/")) -> str:
    """Name of the board, where the firmware names one: that of a Pi does, that of a PC does not."""
    return _read(root / "proc/device-tree/model").rstrip("\0\n")


def board_serial(root: Path = Path("/")) -> str:
    """Serial number of the board; empty where the firmware names none."""
    return _read(root / "proc/device-tree/serial-number").rstrip("\0\n")


def machine_id(root: Path = Path("/")) -> str:
    """An id of this machine, 12 hex digits: a digest, since systemd's machine id itself must stay private."""
    parts = [_read(root / "etc/machine-id").strip(), board_serial(root)]
    return hashlib.sha256("edgefer ".join(parts if any(parts) else [str(uuid.getnode())]).encode()).hexdigest()[:12]


def temperature_c(root: Path = Path("/")) -> float | None:
    """Temperature of the hottest thermal zone in degrees Celsius; None where there is none."""
    zones = [_read(zone).strip() for zone in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    return max((int(zone) / 1000 for zone in zones if zone.lstrip("-").isdigit()), default=None)


def governor(root: Path = Path("/")) -> str | None:
    """CPU frequency governor, such as ondemand or performance."""
    return _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None


def throttle_bits() -> int | None:
    """Bits of the Pi's firmware, see `THROTTLE_BITS`; None on other machines, and where it does not answer."""
    if not shutil.which("vcgencmd"):
        return None
    try:
        output = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=True).stdout
        return int(output.partition("=")[2], 16)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def throttled(now_only: bool = False) -> tuple[str, ...]:
    """Power and heat problems that the Pi's firmware reports, now and since boot; empty on other machines."""
    bits = throttle_bits() or 0
    return tuple(name for bit, name in THROTTLE_BITS.items() if bits >> bit & 1 and (bit < 16 or not now_only))


def version() -> str:
    """Version of the installed edgefer."""
    try:
        return importlib.metadata.version("edgefer")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def peak_rss_mb() -> float:
    """Peak resident memory of this process in megabytes (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def process_age_s() -> float:
    """Seconds since the start of this process, including the interpreter's start; 0 where the system does not report it."""
    try:
        # Field 22 of stat, after the name in brackets: clock ticks after boot.
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _cpus(root: Path) -> list[Path]:
    return list((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def resident_bytes() -> int:
    """Resident memory of this process in bytes; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def trim_memory() -> None:
    """Return free memory to the system, which glibc keeps; other C libraries do nothing here."""
    import ctypes  # slow to import, and most commands do not need it

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
