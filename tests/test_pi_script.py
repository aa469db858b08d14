"""edge/deploy/pi.sh by its dry run; tests/pi runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command import one_line

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "edge/deploy/pi.sh"
OUTPUTS = re.findall(r"^[a-z-]+==[\d.]+$", (ROOT / "requirements/outputs.txt").read_text(), re.MULTILINE)


@pytest.fixture
def pi(tmp_path: Path) -> dict[str, str]:
    """The environment of a 64-bit Bookworm with no package installed yet; what the system says of itself is put in its place."""
    says = {
        "dpkg": "echo $ARCHITECTURE",
        "dpkg-query": 'case " $INSTALLED " in *" $3 "*) echo installed;; esac; [ "$3" ]',
        "uname": "echo $MACHINE",
        "python3": 'case "$2" in *%d%02d*) echo $RELEASE;; *%d.%d*) echo 3.11;; *numpy*) echo 1.24.2;; esac',
        "id": 'case "$1" in -u) echo 1000;; -un) echo pi;; *) echo "pi video";; esac',
    }
    for name, does in says.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHON": str(tmp_path / "python3"),
        "PREFIX": str(tmp_path / "opt/edgefer"),
        "ARCHITECTURE": "arm64",
        "MACHINE": "aarch64",
        "RELEASE": "311",
        "INSTALLED": "",
    }


def run(environment: dict[str, str], *arguments: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, check=False)


def steps(output: str) -> list[str]:
    return [line.removeprefix("+ ") for line in output.splitlines() if line.startswith("+ ")]


def test_a_dry_run_prints_every_step_and_runs_none(pi: dict[str, str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run(pi, "install", "--dry-run")
    assert done.returncode == 0, done.stderr
    prefix = pi["PREFIX"]
    pip = f"sudo {prefix}/bin/python -m pip --quiet --disable-pip-version-check --no-cache-dir install"
    pins = dict(re.findall(r"^([a-z-]+)==([\d.]+)", (ROOT / "requirements/pi.txt").read_text(), re.MULTILINE))
    assert steps(done.stdout) == [
        "sudo apt-get update -q",
        "sudo apt-get install -q -y --no-install-recommends python3-venv python3-numpy python3-opencv python3-picamera2",
        f"sudo {pi['PYTHON']} -m venv --clear --system-site-packages {prefix}",
        f"sudo sh -c echo 'numpy==1.24.2' > '{prefix}/constraints.txt'",
        f"sudo sh -c printf '[install]\\nconstraint = {prefix}/constraints.txt\\n' > '{prefix}/pip.conf'",
        f"{pip} msgspec=={pins['msgspec']} {' '.join(OUTPUTS)} ai-edge-litert=={pins['ai-edge-litert']}",
        f"{pip} --no-deps --force-reinstall {ROOT}",
        f"sudo ln -sfn {prefix}/bin/edgefer /usr/local/bin/edgefer",
        "/usr/local/bin/edgefer doctor",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_installation_is_not_repeated(pi: dict[str, str], tmp_path: Path) -> None:
    pi["INSTALLED"] = "python3-venv python3-numpy python3-opencv python3-picamera2"
    environment = tmp_path / "opt/edgefer"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").symlink_to("/bin/true")
    (environment / "lib/python3.11/site-packages").mkdir(parents=True)
    output = run(pi, "install", "--dry-run").stdout
    assert "apt-get" not in output
    assert "-m venv" not in output
    (environment / "lib/python3.11").rename(environment / "lib/python3.9")
    (environment / "pyvenv.cfg").touch()
    assert "-m venv --clear" in run(pi, "install", "--dry-run").stdout, "the system's Python is another now"


def test_a_folder_of_somebody_else_is_not_changed(pi: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "opt/edgefer").mkdir(parents=True)
    assert "is not edgefer's" in one_line(run(pi, "install", "--dry-run").stderr)
    done = run(pi, "uninstall", "--dry-run")
    assert "nothing of edgefer's" in done.stdout
    assert (tmp_path / "opt/edgefer").exists()


@pytest.mark.parametrize(
    ("architecture", "machine", "release", "fact"),
    [
        ("armhf", "armv7l", "311", None),
        ("armhf", "aarch64", "311", None),
        ("armhf", "aarch64", "313", "install the 64-bit Raspberry Pi OS"),
        ("armhf", "armv6l", "311", "ARMv6"),
        ("arm64", "aarch64", "309", "Python 3.11 or newer"),
        ("riscv64", "riscv64", "313", "no TFLite runtime is known for riscv64"),
    ],
)
def test_the_runtime_follows_the_system_and_a_system_without_one_is_refused_before_any_step(
    pi: dict[str, str], architecture: str, machine: str, release: str, fact: str | None
) -> None:
    pi |= {"ARCHITECTURE": architecture, "MACHINE": machine, "RELEASE": release}
    done = run(pi, "install", "--dry-run")
    if fact is None:
        assert "tflite-runtime==2.14.0" in done.stdout
        assert "ai-edge-litert" not in done.stdout
        assert "gcc libc6-dev python3-dev" in done.stdout, "msgspec has no 32-bit wheel"
    else:
        assert done.returncode == 1
        assert fact in one_line(done.stderr)
        assert steps(done.stdout) == []


def test_a_bundle_is_installed_without_a_network_and_has_no_32_bit_wheels(pi: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels/edgefer-9.9-py3-none-any.whl").touch()
    for file in (SCRIPT, ROOT / "requirements/pi.txt", ROOT / "requirements/outputs.txt"):
        shutil.copy(file, folder)
    output = steps(run(pi, "install", "--dry-run", script=folder / "pi.sh").stdout)
    assert not any("update" in step for step in output)
    assert all(f"--no-index --find-links {folder}/wheels" in step for step in output if " install --" in step and "pip" in step)
    assert any(f"{folder}/wheels/edgefer-9.9-py3-none-any.whl" in step for step in output)
    pi["ARCHITECTURE"] = "armhf"
    assert "this bundle is for 64-bit" in one_line(run(pi, "install", script=folder / "pi.sh").stderr)
    assert "this is a bundle" in one_line(run(pi, "bundle", script=folder / "pi.sh").stderr)


def test_a_bundle_would_hold_wheels_of_both_pythons_of_the_pi(pi: dict[str, str]) -> None:
    done = run(pi, "bundle", "--dry-run")
    assert done.returncode == 0, done.stderr
    downloads = [step for step in steps(done.stdout) if "pip download" in step]
    assert [re.findall(r"--python-version (\S+) --abi (\S+)", step)[0] for step in downloads] == [("3.11", "cp311"), ("3.13", "cp313")]
    assert all("--platform manylinux2014_aarch64" in step and "--only-binary=:all:" in step for step in downloads)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["install", "--nonsense"], ["install", "--purge"], ["bundle", "--machine", "z80"]])
def test_an_unknown_command_is_refused(pi: dict[str, str], arguments: list[str]) -> None:
    done = run(pi, *arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "usage" in done.stderr or "aarch64 or x86_64" in done.stderr


def test_help_prints_the_commands_and_make_passes_its_arguments_on(pi: dict[str, str]) -> None:
    assert "--dry-run prints every step" in run(pi, "install", "--help").stdout
    done = subprocess.run(["make", "pi-install", "ARGS=--dry-run"], cwd=ROOT, env=pi, capture_output=True, text=True, check=False)
    assert "+ sudo apt-get update" in done.stdout, done.stderr


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck here (Debian package shellcheck)")
@pytest.mark.parametrize("script", ["edge/deploy/pi.sh", "tests/pi/packages.sh", ".ci/run"])
def test_shell_scripts_are_clean(script: str) -> None:
    done = subprocess.run(["shellcheck", ROOT / script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
