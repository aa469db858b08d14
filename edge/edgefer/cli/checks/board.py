"""Checks of the board: memory, heat, power, disk, clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable

from edgefer.cli.checks.target import Finding, State, Target
from edgefer.machine import governor as governor_of
from edgefer.machine import temperature_c, throttle_bits, throttled
from edgefer.settings import Settings

_COOL = "cool it: a heat sink, a fan, a more open case"


def memory(target: Target) -> Finding:
    """Free memory."""
    free_mb, total_mb = _meminfo_mb(target, "MemAvailable"), _meminfo_mb(target, "MemTotal")
    if free_mb is None or total_mb is None:
        return Finding("warn", "not known: /proc/meminfo cannot be read", "mount /proc")
    found = f"{free_mb:.0f} of {total_mb:.0f} MB free"
    if free_mb < 100:
        return Finding("warn", f"{found}; edgefer needs about 100", "ps aux --sort=-rss | head")
    return Finding("pass", found)


def cma(target: Target) -> Finding:
    """Free contiguous memory (CMA), which the kernel reserves at boot for camera buffers."""
    total_mb, free_mb = _meminfo_mb(target, "CmaTotal"), _meminfo_mb(target, "CmaFree")
    if not total_mb or free_mb is None:
        needed = Finding("warn", "none: a Pi camera needs some", _boot("dtoverlay=cma,cma-128"))
        return needed if target.is_pi else Finding("pass", "none, and not needed")
    found = f"{free_mb:.0f} of {total_mb:.0f} MB free"
    if free_mb < 16:
        return Finding("warn", f"{found}: there may be too little for the frames of a camera", _boot("dtoverlay=cma,cma-128"))
    return Finding("pass", found)


def cgroup(target: Target) -> Finding:
    """Whether the kernel's memory cgroup, and so the unit's MemoryMax=, works."""
    unified = target.read("sys/fs/cgroup/cgroup.controllers").split()
    legacy = [line.split() for line in target.read("proc/cgroups").splitlines() if line.startswith("memory")]
    if "memory" in unified or any(line[-1] == "1" for line in legacy):
        return Finding("pass", "on: the service's MemoryMax= works")
    fix = "sudo sed -i '1 s/$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt && sudo reboot"
    return Finding("warn", "off, the default of Raspberry Pi OS: the service's MemoryMax= has no effect", fix)


def governor(target: Target) -> Finding:
    """The CPU frequency governor."""
    found = governor_of(target.root)
    if found == "powersave":
        fix = "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return Finding("warn", "powersave: always the slowest clock", fix)
    return Finding("pass", found or "not known on this system")


def temperature(target: Target) -> Finding:
    """Temperature of the hottest zone."""
    degrees = temperature_c(target.root)
    if degrees is None:
        return Finding("pass", "not known on this system")
    if degrees >= Settings().pace.hot_c:
        return Finding("fail" if degrees >= 85 else "warn", f"{degrees:.0f} °C: the board lowers its clock", _COOL)
    return Finding("pass", f"{degrees:.0f} °C")


def throttling(target: Target) -> Finding:
    """Whether heat lowers the clock, now or since the boot."""
    return _firmware(target, lambda bit: "voltage" not in bit, "warn", _COOL)


def power(target: Target) -> Finding:
    """Whether the power supply is too weak, now or since the boot."""
    return _firmware(target, lambda bit: "voltage" in bit, "fail", "use the power supply made for this board, and a short cable")


def _firmware(target: Target, concerns: Callable[[str], bool], now_state: State, fix: str) -> Finding:
    """The firmware's flags that ``concerns`` selects: set now is ``now_state``, set since the boot is a warning."""
    if not shutil.which("vcgencmd"):
        unknown = Finding("warn", "not known: no vcgencmd", "sudo apt install raspi-utils")
        return unknown if target.is_pi else Finding("pass", "not a Raspberry Pi")
    if throttle_bits() is None:
        return Finding("warn", "not known: vcgencmd does not answer", "sudo usermod -aG video $USER, then log in again")
    now, ever = (list(filter(concerns, throttled(now_only))) for now_only in (True, False))
    if now:
        return Finding(now_state, f"{', '.join(now)}, now", fix)
    if ever:
        return Finding("warn", f"{', '.join(ever)}, since the boot", fix)
    return Finding("pass", "never since the boot")


def disk(target: Target) -> Finding:
    """Whether the folder of the sinks can be written, and how much is free."""
    folder = target.folder.resolve()
    free_mb = shutil.disk_usage(folder).free / 1e6
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"edgefer" * 10_000)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fix = "sudo mount -o remount,rw /; if that fails, replace the card: it may be worn out" if free_mb > 1 else "sudo apt clean"
        return Finding("fail", f"{folder}: cannot be written: {error.strerror}", fix)
    if free_mb < 200:
        return Finding("warn", f"{folder}: {free_mb:.0f} MB free", "sudo apt clean && sudo journalctl --vacuum-size=50M")
    return Finding("pass", f"{folder}: {free_mb:,.0f} MB free, written and synced")


def clock(_: Target) -> Finding:
    """Whether the time is set: a Pi without a clock battery boots in the past until the network sets it."""
    fix = "sudo timedatectl set-ntp true"
    if time.time() < 1.75e9:
        return Finding("fail", f"it is not {time.strftime('%d %B %Y')}: observations would get wrong dates", fix)
    try:
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Finding("warn", "not known whether it is synchronized: timedatectl does not answer", "sudo apt install systemd-timesyncd")
    return Finding("pass", "synchronized") if answer == "yes" else Finding("warn", "not synchronized", fix)


def _boot(line: str) -> str:
    """The command that adds a line to the boot configuration."""
    return f"echo '{line}' | sudo tee -a /boot/firmware/config.txt && sudo reboot"


def _meminfo_mb(target: Target, key: str) -> float | None:
    """One value of ``/proc/meminfo`` in megabytes (10^6 bytes)."""
    for line in target.read("proc/meminfo").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None
