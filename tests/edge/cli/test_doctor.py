"""Every failure of the doctor's checks, in a root folder of its own or with a replaced library."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import Run

import edgefer.model.golden
from edgefer.cli.checks.target import Target
from edgefer.cli.doctor import CHECKS, Check, examine
from edgefer.model.classifier import Classifier
from edgefer.model.golden import deviation, golden_answers, golden_pictures
from edgefer.model.runtime import Interpreter
from edgefer.model.store import find_model

PI = "Raspberry Pi 4 Model B Rev 1.4\0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of a Raspberry Pi 4 without problems."""
    files = {
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\n',
        "proc/device-tree/model": PI,
        "proc/cpuinfo": "processor : 0\n",
        "proc/meminfo": "MemTotal: 1900000 kB\nMemAvailable: 1500000 kB\nCmaTotal: 262144 kB\nCmaFree: 200000 kB\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/video4linux/video10/name": "bcm2835-codec-decode\n",
        "sys/class/video4linux/video0/name": "HD Webcam: HD Webcam\n",
        "dev/video0": "",
        "dev/video10": "",
    }
    for path, text in files.items():
        write(tmp_path / "root" / path, text)
    return tmp_path / "root"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def find(name: str, target: Target) -> Check:
    return Check(name, *CHECKS[name](target))


@pytest.fixture
def vcgencmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A vcgencmd that prints the content of a file."""
    flags = tmp_path / "throttled"
    flags.write_text("throttled=0x0")
    program(tmp_path / "bin/vcgencmd", f"cat {flags}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    yield flags


def program(path: Path, does: str) -> None:
    write(path, f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def test_a_pi_without_problems_passes_every_check_of_the_board(root: Path, vcgencmd: Path, tmp_path: Path) -> None:
    target = Target(root=root, folder=tmp_path, machine="aarch64", bits=64)
    for name in ("system", "camera", "memory", "cma", "cgroup", "governor", "temperature", "throttling", "power", "disk"):
        check = find(name, target)
        assert (check.state, check.fix) == ("pass", ""), check
    assert find("camera", target).found == "/dev/video0 HD Webcam: HD Webcam"


@pytest.mark.parametrize(
    ("name", "path", "text", "state", "found", "fix"),
    [
        ("memory", "proc/meminfo", "MemTotal: 425000 kB\nMemAvailable: 60000 kB\n", "warn", "61 of 435 MB", "ps aux"),
        ("memory", "proc/meminfo", "", "warn", "/proc/meminfo", "mount"),
        ("cma", "proc/meminfo", "CmaTotal: 65536 kB\nCmaFree: 9000 kB\n", "warn", "9 of 67 MB", "dtoverlay=cma"),
        ("cma", "proc/meminfo", "MemTotal: 425000 kB\n", "warn", "a Pi camera needs some", "dtoverlay=cma"),
        ("cgroup", "sys/fs/cgroup/cgroup.controllers", "cpu pids\n", "warn", "MemoryMax", "cgroup_enable=memory"),
        ("governor", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n", "warn", "powersave", "ondemand"),
        ("temperature", "sys/class/thermal/thermal_zone0/temp", "81000\n", "warn", "81 °C", "heat sink"),
        ("temperature", "sys/class/thermal/thermal_zone0/temp", "86000\n", "fail", "86 °C", "heat sink"),
        ("camera", "sys/class/video4linux/video0/name", "rpi-hevc-dec\n", "warn", "none", "rpicam-hello"),
    ],
)
def test_a_problem_of_the_board_comes_with_its_fix(root: Path, name: str, path: str, text: str, state: str, found: str, fix: str) -> None:
    write(root / path, text)
    check = find(name, Target(root=root))
    assert check.state == state
    assert found in check.found
    assert fix in check.fix


@pytest.mark.parametrize(
    ("name", "bits", "state", "found"),
    [
        ("throttling", "0x4", "warn", "throttled, now"),
        ("throttling", "0x80000", "warn", "soft temperature limit was reached, since"),
        ("throttling", "0x50001", "warn", "was throttled"),
        ("power", "0x1", "fail", "under-voltage, now"),
        ("power", "0x50000", "warn", "under-voltage has occurred, since"),
        ("power", "0x4", "pass", "never"),
    ],
)
def test_heat_and_power_problems_are_now_or_since_the_boot(
    root: Path, vcgencmd: Path, name: str, bits: str, state: str, found: str
) -> None:
    vcgencmd.write_text(f"throttled={bits}")
    check = find(name, Target(root=root))
    assert (check.state, found in check.found) == (state, True), check


def test_a_pi_without_vcgencmd_names_the_package_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find("power", Target(root=root)).fix == "sudo apt install raspi-utils"


@pytest.mark.parametrize(
    ("codename", "bits", "machine", "state", "found"),
    [
        ("trixie", 32, "aarch64", "fail", "no TFLite runtime"),
        ("bookworm", 32, "armv7l", "warn", "tflite-runtime"),
        ("bookworm", 32, "armv6l", "fail", "ARMv6"),
        ("trixie", 64, "aarch64", "pass", "64-bit"),
    ],
)
def test_a_system_without_a_runtime_is_named(root: Path, codename: str, bits: int, machine: str, state: str, found: str) -> None:
    write(root / "etc/os-release", f'PRETTY_NAME="Raspbian ({codename})"\nVERSION_CODENAME={codename}\n')
    check = find("system", Target(root=root, bits=bits, machine=machine))
    assert check.state == state
    assert found in check.found
    assert codename in check.found
    assert bool(check.fix) == (state != "pass")


def test_opencv_5_and_a_missing_opencv_are_different_failures(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="5.0.0"))
    check = find("opencv", Target())
    assert (check.state, check.found) == ("fail", "5.0.0 has no Haar cascades")
    assert "opencv-python-headless<5" in check.fix
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert find("opencv", Target()).state == "fail"
    assert find("opencv", Target(root=root)).fix == "sudo apt install python3-opencv"


def test_no_runtime_fails_both_the_runtime_and_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("runtime", "model"):
        check = find(name, Target())
        assert check.state == "fail"
        assert "pip install ai-edge-litert" in check.fix
    assert find("xnnpack", Target()).state == "warn"


def module(folder: Path, name: str, text: str) -> None:
    write(folder / f"{name}.py", text)


@pytest.fixture
def system_packages(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The Pi's own dist-packages, seen by this Python."""
    folder = root / "usr/lib/python3/dist-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] in ("libcamera", "picamera2")]:
        del sys.modules[name]


CAMERAS = "class Picamera2:\n    @staticmethod\n    def global_camera_info():\n        "


def test_a_camera_of_the_pi_is_listed_by_its_model(root: Path, system_packages: Path) -> None:
    (root / "dev/video0").unlink()
    module(system_packages, "libcamera", "")
    module(system_packages, "picamera2", CAMERAS + 'return [{"Model": "imx708", "Id": "/base/soc/i2c"}]\n')
    assert find("libcamera", Target(root=root)).state == "pass"
    assert find("camera", Target(root=root)) == Check("camera", "pass", "Pi camera imx708")


def test_a_libcamera_that_fails_is_not_taken_for_no_camera(root: Path, system_packages: Path) -> None:
    module(system_packages, "libcamera", "")
    module(system_packages, "picamera2", CAMERAS + 'raise RuntimeError("cannot open /dev/dma_heap")\n')
    check = find("camera", Target(root=root))
    assert (check.state, check.fix) == ("fail", "sudo reboot")


def test_numpy_2_over_the_one_picamera2_was_built_against_is_the_numpy_checks_failure(root: Path, system_packages: Path) -> None:
    module(system_packages, "libcamera", "")
    module(system_packages, "picamera2", 'raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")\n')
    check = find("numpy", Target(root=root))
    assert check.state == "fail"
    assert check.fix == f"{sys.executable} -m pip uninstall -y numpy"


def test_a_libcamera_that_this_python_cannot_use_comes_with_the_reason(
    root: Path, system_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = system_packages / "libcamera/_libcamera.cpython-27-aarch64-linux-gnu.so"
    write(foreign, "")
    write(system_packages / "libcamera/__init__.py", "from libcamera._libcamera import *\n")
    check = find("libcamera", Target(root=root))
    assert check.state == "fail"
    assert "is for another Python" in check.found
    foreign.unlink()
    assert "reinstall" in find("libcamera", Target(root=root)).fix
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(system_packages)])
    sys.modules.pop("libcamera", None)
    check = find("libcamera", Target(root=root))
    assert check.state == "fail"
    assert "dist-packages" in check.found
    assert "--system-site-packages" in check.fix


def test_a_pi_without_picamera2_names_the_package_to_install(root: Path) -> None:
    check = find("libcamera", Target(root=root))
    assert (check.state, check.fix) == ("warn", "sudo apt install python3-picamera2")


def test_a_camera_without_permission_names_the_group(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.cli.checks.cameras.os.access", lambda *_: False)  # root may open everything
    check = find("camera", Target(root=root))
    assert check.state == "fail"
    assert "usermod -aG video" in check.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="hiding /proc/cpuinfo takes root")
def test_doctor_and_run_report_that_xnnpack_is_missing_without_cpuinfo(tmp_path: Path) -> None:
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t proc -o subset=pid proc /proc && exec "$@"', "-", sys.executable, "-m", "edgefer"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*hidden, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)

    done = run("doctor", "--json")
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["xnnpack"]["state"] == "warn"
    assert "ProcSubset" in checks["xnnpack"]["mend"]
    assert checks["model"]["state"] == "pass", "slow, but right"
    assert "XNNPACK is not in use" in run("run", "--source", "synthetic:?seconds=0.1&paced=false", "--sink", "jsonl:-").stderr


def test_golden_pictures_are_the_same_bytes_everywhere() -> None:
    assert hashlib.sha256(golden_pictures(48, 48).tobytes()).hexdigest()[:16] == "5cacc289c4ad918b"
    assert golden_pictures(64, 40).shape == (6, 64, 40)


@pytest.mark.parametrize("name", ["small", "nano"])
def test_every_published_model_gives_its_golden_answers(name: str) -> None:
    classifier = Classifier(find_model(name))
    off = deviation(classifier)
    assert off is not None, "models/golden.json does not know it: publish it again"
    assert off <= 0.001, "thousandths are kept, and every runtime computes it to the bit"
    assert np.ptp(golden_answers(classifier), axis=0).max() > 0.3, "pictures that it answers alike would show little"


def test_the_golden_pictures_are_of_several_expressions() -> None:
    assert len({max(range(7), key=row.__getitem__) for row in golden_answers(Classifier(find_model("nano")))}) > 1


class Wrong:
    """A runtime that computes wrongly: its answers come out in another order, or as nothing at all."""

    def __init__(self, runtime: Interpreter, broken: bool) -> None:
        self._runtime, self._broken = runtime, broken

    def __getattr__(self, name: str) -> object:
        return getattr(self._runtime, name)

    def get_tensor(self, index: int) -> np.ndarray:
        tensor = self._runtime.get_tensor(index)
        return np.zeros_like(tensor) if self._broken else tensor[:, ::-1]


@pytest.mark.parametrize(("broken", "fact"), [(False, "golden answers"), (True, "its probabilities sum to")])
def test_a_runtime_that_computes_wrongly_fails(monkeypatch: pytest.MonkeyPatch, broken: bool, fact: str) -> None:
    from edgefer.model.runtime import open_interpreter

    monkeypatch.setattr("edgefer.model.classifier.open_interpreter", lambda *a: Wrong(open_interpreter(*a), broken))
    check = find("model", Target())
    assert check.state == "fail"
    assert fact in check.found


def test_a_damaged_model_fails_and_one_of_your_own_passes(tmp_path: Path) -> None:
    content = find_model("small").read_bytes()
    (tmp_path / "own.tflite").write_bytes(content + b"")
    assert find("model", Target(model=str(tmp_path / "own.tflite"))).state == "pass"
    (tmp_path / "bad.tflite").write_bytes(content[:-5000])
    check = find("model", Target(model=str(tmp_path / "bad.tflite")))
    assert check.state == "fail"
    assert "make convert" in check.fix


def test_without_golden_answers_the_model_is_still_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(edgefer.model.golden, "models_dir", lambda: tmp_path)
    assert "no published golden answers" in find("model", Target()).found
    (tmp_path / "golden.json").write_text("damaged")
    assert "no published golden answers" in find("model", Target()).found


def test_full_nearly_full_and_read_only_disks_are_different_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("disk", Target(folder=Path("/proc"))).state == "fail"
    if os.geteuid() == 0 and Path("/dev/full").exists():
        full = tmp_path / "full"
        full.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", full], capture_output=True, check=False)
        if mounted.returncode == 0:
            try:
                check = find("disk", Target(folder=full))
                assert check.state == "fail"
                assert "No space left" in check.found
                assert check.fix == "sudo apt clean"
                subprocess.run(["mount", "-o", "remount,size=50m", full], check=True)
                assert find("disk", Target(folder=full)).state == "warn"
            finally:
                subprocess.run(["umount", full], check=True)


def test_a_clock_that_is_wrong_or_not_synchronized_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "not known" in find("clock", Target()).found
    for answer, state in (("yes", "pass"), ("no", "warn")):
        program(tmp_path / "bin/timedatectl", f"echo {answer}")
        assert find("clock", Target()).state == state
    monkeypatch.setattr("edgefer.cli.checks.board.time.time", lambda: 3600.0)
    check = find("clock", Target())
    assert (check.state, check.fix) == ("fail", "sudo timedatectl set-ntp true")


def test_a_wrong_configuration_fails_and_a_missing_one_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.cli.checks.configuration.CONFIG", tmp_path / "none.toml")
    assert find("config", Target()).state == "pass"
    assert find("broker", Target()).found == "none configured"
    write(tmp_path / "config.toml", 'source = "opencv:0"\nsinks = ["jsonl:-"]\n')
    assert find("config", Target(config=tmp_path / "config.toml")).state == "pass"
    assert find("broker", Target(config=tmp_path / "config.toml")).found == "none configured"
    write(tmp_path / "config.toml", "scale = 3\n")
    for path in ("config.toml", "absent.toml"):
        check = find("config", Target(config=tmp_path / path))
        assert check.state == "fail"
        assert f"check-config {tmp_path / path}" in check.fix


def test_a_broker_is_reached_or_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write(tmp_path / "config.toml", f'sinks = ["mqtt://127.0.0.1:{port}/edgefer/desk"]\n')
        assert find("broker", Target(config=tmp_path / "config.toml")).state == "pass"
    check = find("broker", Target(config=tmp_path / "config.toml"))
    assert (check.state, check.found) == ("fail", f"127.0.0.1:{port}: Connection refused")
    assert "mosquitto" in check.fix


def test_a_check_that_raises_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_: Target) -> None:
        raise OSError("the wires are loose")

    monkeypatch.setitem(CHECKS, "memory", broken)
    checks = {check.name: check for check in examine(Target(folder=tmp_path))}
    assert set(checks) == set(CHECKS)
    assert "the wires are loose" in checks["memory"].found
    assert all(check.fix for check in checks.values() if check.state != "pass"), "every problem has a fix"


def test_the_command_prints_every_check_and_its_fix_and_fails_where_one_fails(cli: Run, tmp_path: Path) -> None:
    write(tmp_path / "config.toml", "scale = 3\n")
    done = cli("doctor", "--config", "config.toml")
    assert done.returncode == 1
    for name in CHECKS:
        assert f" {name} " in done.stdout
    assert "fail  config      config.toml, line 1: unknown key 'scale'" in done.stdout
    assert "fix:" in done.stdout


def test_the_checks_are_json_and_the_exit_status_tells_whether_one_fails(cli: Run, tmp_path: Path) -> None:
    done = cli("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert list(checks) == list(CHECKS)
    assert all(set(check) == {"name", "state", "found", "mend"} for check in checks.values())
    assert checks["model"]["state"] == checks["xnnpack"]["state"] == "pass"
    assert done.returncode == int(any(check["state"] == "fail" for check in checks.values()))


def test_a_bad_model_fails_with_its_fix(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"x" * 1000)
    done = cli("doctor", "--model", "bad.tflite")
    assert done.returncode == 1
    assert "fail  model" in done.stdout
    assert "fix:" in done.stdout
