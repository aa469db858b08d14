"""A Raspberry Pi's software on a desktop: Debian roots, wheels for aarch64, and qemu-user pretending to be a board.

Everything is made once, under build/pi (or ``EDGEFER_PI_BUILD``), from Debian's archive and PyPI through this machine's own settings.
Nothing here needs a mount, binfmt_misc or, but for the amd64 camera, root.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BUILD = Path(os.environ.get("EDGEFER_PI_BUILD", REPOSITORY / "build" / "pi")).resolve()

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian release -> its Python."""
MANYLINUX = (5, 12, 17, 24, 26, 27, 28, 31, 34, 35, 39, 41)
"""Minor versions of glibc that wheels are built for, up to the oldest release's own."""
LIBCAMERA = ("python3-prctl", *(f"{name}/trixie-backports" for name in ("python3-libcamera", "libcamera-ipa", "libcamera0.7")))
"""Trixie's own libcamera 0.4 hangs with the virtual camera."""


@dataclass(frozen=True, slots=True)
class Board:
    """What programs can see of a board's processor."""

    name: str
    processor: str
    part: str
    max_khz: int
    features: str


BOARDS = {
    "cortex-a53": Board("Raspberry Pi 3 Model B Plus Rev 1.3", "cortex-a53", "0xd03", 1_400_000, "fp asimd evtstrm crc32 cpuid"),
    "cortex-a72": Board("Raspberry Pi 4 Model B Rev 1.5", "cortex-a72", "0xd08", 1_800_000, "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": Board(
        "Raspberry Pi 5 Model B Rev 1.0", "cortex-a76", "0xd0b", 2_400_000,
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
}  # fmt: skip


def needs(*commands: str) -> None:
    """Skip the test, naming the commands this machine lacks."""
    import pytest  # the benchmark has none

    missing = [command for command in commands if not shutil.which(command)]
    if missing:
        pytest.skip(f"not here: {', '.join(missing)} (tests/pi/packages.txt)")


def run(*command: str | Path) -> None:
    """Run a command of the set-up; what it said is shown only where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


@functools.cache
def root(release: str, architecture: str, *packages: str) -> Path:
    """A Debian root with Python and ``packages``, unpacked and not configured: enough to run programs in."""
    place = BUILD / f"root-{release}-{architecture}-{_digest(*packages)}"
    if place.is_dir():
        return place
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    mirror, suites = targets.stdout.split()[0], {release, *(name.partition("/")[2] for name in packages if "/" in name)}
    lines = [f"deb {mirror} {suite} main" for suite in sorted(suites)]
    fresh = BUILD / f".{place.name}"
    shutil.rmtree(fresh, ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    # The links of a merged /usr come from a package's script, and none is run here.
    links = 'for d in bin lib sbin lib64; do mkdir -p "$1/usr/$d"; ln -sfn usr/$d "$1/$d"; done'
    run(
        "mmdebstrap", "--quiet", f"--architectures={architecture}", "--variant=extract", f"--setup-hook={links}",
        "--aptopt=Acquire::Check-Valid-Until false", "--aptopt=Acquire::Check-Date false", "--aptopt=Apt::Install-Recommends false",
        f"--aptopt=APT::Default-Release {sorted(suites)[-1]}",
        f"--include={','.join(('python3', 'libstdc++6', 'ca-certificates', *packages))}", release, fresh, *lines,
    )  # fmt: skip
    fresh.rename(place)
    return place


@functools.cache
def site(release: str, machine: str, *requirements: str, alone: bool = False) -> Path:
    """A folder of wheels for a release's Python on ``machine``, unpacked by this machine's pip: nothing is emulated.

    ``alone`` leaves out what they depend on.
    """
    python = PYTHONS[release]
    place = BUILD / f"site-{python}-{machine}-{_digest(*requirements)}"
    if place.is_dir():
        return place
    fresh = BUILD / f".{place.name}"
    shutil.rmtree(fresh, ignore_errors=True)
    platforms = [f"--platform=manylinux2014_{machine}", *(f"--platform=manylinux_2_{minor}_{machine}" for minor in MANYLINUX)]
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target", fresh,
        *(["--no-deps"] if alone else []), "--python-version", python, "--implementation", "cp", "--abi", f"cp{python.replace('.', '')}",
        "--abi", "abi3", "--abi", "none", *platforms, *requirements,
    )  # fmt: skip
    fresh.rename(place)
    return place


def edge_requirements() -> tuple[str, ...]:
    """What the daemon was tested with, its optional outputs apart."""
    lines = (REPOSITORY / "requirements" / "edge.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if "==" in line and not line.startswith("#"))


def pretend(base: Path, board: Board) -> Path:
    """A prefix for ``qemu -L``: the root's /usr, with the /proc/cpuinfo and /sys/devices/system/cpu of a board.

    Without them LiteRT does not run under qemu; where they cannot be read on a board it drops XNNPACK.
    """
    prefix = BUILD / f"{base.name}-{board.processor}"
    cpus = prefix / "sys/devices/system/cpu"
    (prefix / "proc").mkdir(parents=True, exist_ok=True)
    for name in ("usr", "lib", "etc"):
        link = prefix / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(base / name, prefix))
    cores = range(4)
    entry = (
        "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: {}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: {}\nCPU revision\t: 3\n\n"
    )
    text = "".join(entry.format(core, board.features, board.part) for core in cores) + f"Model\t\t: {board.name}\n"
    (prefix / "proc/cpuinfo").write_text(text, encoding="utf-8")
    facts = {"possible": "0-3", "present": "0-3", "online": "0-3", "kernel_max": "3"}
    for core in cores:
        facts |= {
            f"cpu{core}/topology/core_siblings_list": "0-3", f"cpu{core}/topology/package_cpus_list": "0-3",
            f"cpu{core}/topology/cluster_cpus_list": "0-3", f"cpu{core}/topology/thread_siblings_list": str(core),
            f"cpu{core}/topology/core_cpus_list": str(core), f"cpu{core}/topology/core_id": str(core),
            f"cpu{core}/topology/physical_package_id": "0", f"cpu{core}/topology/cluster_id": "0",
            f"cpu{core}/cpufreq/cpuinfo_max_freq": str(board.max_khz), f"cpu{core}/cpufreq/cpuinfo_min_freq": "600000",
        }  # fmt: skip
    for name, fact in facts.items():
        (cpus / name).parent.mkdir(parents=True, exist_ok=True)
        (cpus / name).write_text(fact + "\n", encoding="utf-8")
    return prefix


def emulated(
    base: Path, board: Board, release: str, folders: Sequence[Path], *options: str, environment: dict[str, str] | None = None
) -> list[str]:
    """The command of an aarch64 Python on that board, this repository and ``folders`` on its path."""
    path = ":".join(str(folder) for folder in (*folders, REPOSITORY, REPOSITORY / "edge"))
    variables = {"PYTHONHOME": str(base / "usr"), "PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    named = [word for name, value in {**variables, **(environment or {})}.items() for word in ("-E", f"{name}={value}")]
    # The static one has no plugins, the other one has.
    program = "qemu-aarch64" if options else "qemu-aarch64-static"
    python = base / "usr" / "bin" / f"python{PYTHONS[release]}"
    return [program, *options, "-cpu", board.processor, "-L", str(pretend(base, board)), *named, str(python)]


def shared_library(source: Path, *options: str, compiler: str = "gcc") -> Path:
    """A C file of ours as a shared library."""
    place = BUILD / f"{source.stem}-{compiler}-{_digest(source.read_text(encoding='utf-8'), *options)}.so"
    if not place.is_file():
        BUILD.mkdir(parents=True, exist_ok=True)
        run(compiler, "-O2", "-Wall", "-fPIC", "-shared", "-o", place.with_suffix(".tmp"), source, *options)
        place.with_suffix(".tmp").rename(place)
    return place


def alike(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> None:
    """Assert that two machines saw the same in the same pictures: equal boxes and labels, scores within 1/256."""
    assert [line["source"] for line in there] == [line["source"] for line in here]
    for mine, theirs in zip(here, there, strict=True):
        assert [face["expression"] for face in theirs["faces"]] == [face["expression"] for face in mine["faces"]], (mine, theirs)
        for face, other in zip(mine["faces"], theirs["faces"], strict=True):
            assert other["box"] == face["box"], (face, other)
            for label, score in face["scores"].items():
                # Four decimals are written.
                assert abs(other["scores"][label] - score) <= 1 / 256 + 0.0001, (label, face, other)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
