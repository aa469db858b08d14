"""Named checks of an installation, each with the one command that mends it."""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgefer.cli.check_config import check_config
from edgefer.errors import EdgeferError, MissingLibrary
from edgefer.machine import board, governor, temperature_c, throttle_bits, throttled, version
from edgefer.mqtt.address import parse_address
from edgefer.native_stderr import silence_native_stderr
from edgefer.redact import scrub
from edgefer.settings import CONFIG, Settings, load_settings

State = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``mend`` is empty when there is nothing to do."""

    name: str
    state: State
    found: str
    mend: str = ""


class Finding(NamedTuple):
    """What a check says, without its name."""

    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the model, the configuration, and the machine under ``root``, which tests put elsewhere."""

    model: str = ""
    """Empty: the configuration's."""
    config: Path | None = None
    """None: the one of `CONFIG`, where it is there."""
    folder: Path = Path()
    """Where outputs would be written."""
    root: Path = Path("/")
    machine: str = platform.machine()
    bits: int = 64 if sys.maxsize > 2**32 else 32

    @property
    def is_pi(self) -> bool:
        """Whether the board says that it is a Raspberry Pi."""
        return board(self.root).startswith("Raspberry Pi")

    def read(self, path: str) -> str:
        """A file under the root; empty where there is none."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def examine(patient: Patient) -> list[Check]:
    """Every check, in the order in which one would mend them; none of them raises, and none tells a secret."""
    findings = ((name, _guarded(check, patient)) for name, check in CHECKS.items())
    return [Check(name, found.state, scrub(found.found), scrub(found.mend)) for name, found in findings]


def as_text(checks: Sequence[Check]) -> str:
    """For people: a line for each, and one for what mends it."""
    return "\n".join(
        f"{check.state:5} {check.name:11} {check.found}" + (f"\n      {'mend:':11} {check.mend}" if check.mend else "") for check in checks
    )


def as_json(checks: Sequence[Check]) -> str:
    """For machines."""
    return json.dumps({"version": version(), "checks": [asdict(check) for check in checks]}, indent=1)


def _guarded(check: Callable[[Patient], Finding], patient: Patient) -> Finding:
    try:
        return check(patient)
    except Exception as error:  # a broken machine is what this is for: the other checks still tell of it
        return Finding("warn", f"could not be checked: {type(error).__name__}: {error}", "report this, with the whole output")


# ---------------------------------------------------------------- software


def _python(_: Patient) -> Finding:
    return Finding("pass", f"{sys.version.split()[0]} at {sys.executable}")


def _system(patient: Patient) -> Finding:
    """Raspberry Pi OS often runs a 32-bit system on a 64-bit kernel: what Python is counts, not what the kernel says."""
    release = dict(line.split("=", 1) for line in patient.read("etc/os-release").splitlines() if "=" in line)
    name = release.get("PRETTY_NAME", "unknown system").strip('"')
    found = f"{name}, {patient.bits}-bit, {patient.machine}, {board(patient.root)}"
    if patient.machine == "armv6l":
        return Finding("fail", f"{found}: no TFLite runtime is made for ARMv6", "use a Zero 2 W, 3, 4 or 5 with 64-bit Raspberry Pi OS")
    if patient.bits == 32:
        old = release.get("VERSION_CODENAME", "").strip('"') == "bookworm"
        why = "tflite-runtime, which does not speed int8 up" if old else "no TFLite runtime is made for it"
        return Finding("warn" if old else "fail", f"{found}: {why}", "install the 64-bit Raspberry Pi OS")
    return Finding("pass", found)


def _opencv(patient: Patient) -> Finding:
    mend = "sudo apt install python3-opencv" if patient.is_pi else _pip("'opencv-python-headless<5'")
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        return Finding("fail", f"cannot be imported: {error}", mend)
    if not hasattr(cv2, "CascadeClassifier"):
        return Finding("fail", f"{cv2.__version__} has no Haar cascades", _pip("'opencv-python-headless<5'"))
    return Finding("pass", cv2.__version__)


def _numpy(patient: Patient) -> Finding:
    """The system's picamera2 is built against the system's numpy, and dies on import with another major version."""
    numpy = importlib.import_module("numpy")
    found = f"{numpy.__version__} at {Path(numpy.__file__ or '').parent}"
    _, error = _picamera2()
    if error and ("numpy" in str(error) or "_ARRAY_API" in str(error)):
        return Finding("fail", f"{found}: picamera2 was built against another: {error}", f"{sys.executable} -m pip uninstall -y numpy")
    return Finding("pass", found)


def _runtime(_: Patient) -> Finding:
    for name in ("ai_edge_litert", "tflite_runtime"):
        try:
            importlib.import_module(f"{name}.interpreter")
        except ImportError:
            continue
        return Finding("pass", name)
    return Finding("fail", "neither ai-edge-litert nor tflite-runtime", _pip("ai-edge-litert"))


def _model(patient: Patient) -> Finding:
    """Digest and card are checked on opening; then golden pictures are shown, whose answers were kept on publishing."""
    import numpy as np

    from edgefer.model.golden import CLOSE, deviation, golden_answers
    from edgefer.update.selftest import check_scores

    try:
        classifier = _classifier(patient)
    except MissingLibrary as error:
        return Finding("fail", str(error), _pip("ai-edge-litert"))
    except EdgeferError as error:
        return Finding("fail", str(error), "git checkout models, or pip install --force-reinstall edgefer")
    found = f"{classifier.path}, sha256 {classifier.sha256[:12]}…"
    answers, off = np.array(golden_answers(classifier)), deviation(classifier)
    again = _pip("--force-reinstall ai-edge-litert")
    try:
        check_scores(answers)
    except EdgeferError as error:
        return Finding("fail", f"{found}: {error} on the golden pictures", again)
    if off is None:
        return Finding("pass", f"{found}; a model without golden answers of its own, its probabilities are sound")
    if off > CLOSE:
        return Finding("fail", f"{found}: {off:.2f} off its golden answers, {CLOSE:g} is allowed: the runtime computes wrongly", again)
    return Finding("pass", f"{found}; within {off:.3f} of its golden answers")


def _xnnpack(patient: Patient) -> Finding:
    try:
        accelerated = _classifier(patient).accelerated
    except EdgeferError:
        return Finding("warn", "not known: the model does not open", "mend the checks above")
    if accelerated:
        return Finding("pass", "in use")
    found = "not in use: every answer takes many times as long"
    if patient.bits == 32:
        return Finding("warn", f"{found}; tflite-runtime has none for int8", "install the 64-bit Raspberry Pi OS")
    if not patient.read("proc/cpuinfo"):
        return Finding("warn", f"{found}; /proc/cpuinfo cannot be read", "let it be read: no ProcSubset=pid in the unit")
    return Finding("warn", found, _pip("--upgrade ai-edge-litert"))


# ---------------------------------------------------------------- cameras


def _libcamera(patient: Patient) -> Finding:
    module, error = _picamera2()
    if module:
        return Finding("pass", "picamera2 and libcamera can be imported")
    system = patient.root / "usr/lib/python3/dist-packages"
    if not any((system / name).exists() for name in ("libcamera", "picamera2")):
        if patient.is_pi:
            return Finding("warn", "picamera2 is not installed: USB cameras and streams only", "sudo apt install python3-picamera2")
        return Finding("pass", "not there, nor needed: no Raspberry Pi, USB cameras and streams")
    again = "'make pi-install', or python3 -m venv --system-site-packages"
    if str(system) not in map(str, sys.path):
        return Finding("fail", f"the system has it, but this Python does not look in {system}", again)
    suffix = importlib.import_module("sysconfig").get_config_var("SOABI") or ""
    built = sorted((system / "libcamera").glob("_libcamera*.so"))
    if built and not any(suffix in path.name for path in built):
        return Finding("fail", f"{built[0].name} is for another Python than this {platform.python_version()}", again)
    return Finding("fail", f"cannot be imported: {error}", "sudo apt install --reinstall python3-picamera2 python3-libcamera")


CODECS = ("bcm2835", "rpi", "pispbe", "rp1-cfe", "unicam")
"""What a Pi's own /dev/video* are called: decoders and image processors, which give no picture by themselves."""


def _camera(patient: Patient) -> Finding:
    devices = sorted(patient.root.glob("dev/video[0-9]*"))
    names = {device: patient.read(f"sys/class/video4linux/{device.name}/name").strip() for device in devices}
    usb = {device: name for device, name in names.items() if not name.startswith(CODECS)}
    # libcamera goes by way of the media controller.
    needed = [*(usb or names), *(sorted(patient.root.glob("dev/media[0-9]*")) if patient.is_pi else [])]
    if closed := [str(device) for device in needed if not os.access(device, os.R_OK | os.W_OK)]:
        return Finding("fail", f"no permission for {', '.join(closed)}", "sudo usermod -aG video $USER, then log in again")
    module, _ = _picamera2()
    try:
        with silence_native_stderr():
            known = module.Picamera2.global_camera_info() if module else []
    except Exception as error:  # libcamera's own, of many kinds
        return Finding("fail", f"libcamera cannot list cameras: {error}", "sudo reboot")
    # It lists USB cameras too.
    found = [f"Pi camera {camera.get('Model', '?')}" for camera in known if "/usb" not in camera["Id"]]
    found += [f"/dev/{device.name} {name}" for device, name in usb.items()]
    if found:
        return Finding("pass", ", ".join(found))
    mend = "rpicam-hello --list-cameras" if patient.is_pi else "plug one in, or name a stream: edgefer run --source rtsp://…"
    return Finding("warn", "none; edgefer runs its synthetic demonstration", mend)


# ---------------------------------------------------------------- the board


def _memory(patient: Patient) -> Finding:
    free_mb, total_mb = _meminfo_mb(patient, "MemAvailable"), _meminfo_mb(patient, "MemTotal")
    if free_mb is None or total_mb is None:
        return Finding("warn", "/proc/meminfo does not say", "mount /proc")
    found = f"{free_mb:.0f} of {total_mb:.0f} MB free"
    if free_mb < 100:
        return Finding("warn", f"{found}; edgefer takes about 100", "ps aux --sort=-rss | head")
    return Finding("pass", found)


def _cma(patient: Patient) -> Finding:
    """Camera buffers lie in the contiguous memory the kernel set aside at start."""
    total_mb, free_mb = _meminfo_mb(patient, "CmaTotal"), _meminfo_mb(patient, "CmaFree")
    if not total_mb or free_mb is None:
        return (
            Finding("warn", "none: a Pi camera needs some", _boot("dtoverlay=cma,cma-128"))
            if patient.is_pi
            else Finding("pass", "none, nor needed")
        )
    found = f"{free_mb:.0f} of {total_mb:.0f} MB free"
    if free_mb < 16:
        return Finding("warn", f"{found}: a camera may find no room for its frames", _boot("dtoverlay=cma,cma-128"))
    return Finding("pass", found)


def _cgroup(patient: Patient) -> Finding:
    unified = patient.read("sys/fs/cgroup/cgroup.controllers").split()
    legacy = [line.split() for line in patient.read("proc/cgroups").splitlines() if line.startswith("memory")]
    if "memory" in unified or any(line[-1] == "1" for line in legacy):
        return Finding("pass", "on: the service's MemoryMax= holds")
    mend = "sudo sed -i '1 s/$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt && sudo reboot"
    return Finding("warn", "off, as Raspberry Pi OS has it: the service's MemoryMax= does nothing", mend)


def _governor(patient: Patient) -> Finding:
    found = governor(patient.root)
    if found == "powersave":
        mend = "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return Finding("warn", "powersave: the slowest clock, always", mend)
    return Finding("pass", found or "the system does not say")


def _temperature(patient: Patient) -> Finding:
    degrees = temperature_c(patient.root)
    if degrees is None:
        return Finding("pass", "the system does not say")
    if degrees >= Settings().pace.hot_c:
        return Finding(
            "fail" if degrees >= 85 else "warn",
            f"{degrees:.0f} °C: the board slows itself down",
            "cool it: a heat sink, a fan, a more open case",
        )
    return Finding("pass", f"{degrees:.0f} °C")


def _throttling(patient: Patient) -> Finding:
    return _firmware(patient, lambda bit: "voltage" not in bit, "warn", "cool it: a heat sink, a fan, a more open case")


def _power(patient: Patient) -> Finding:
    return _firmware(patient, lambda bit: "voltage" in bit, "fail", "use the power supply made for this board, and a short cable")


def _firmware(patient: Patient, concerns: Callable[[str], bool], now_state: State, mend: str) -> Finding:
    """What the firmware says is so now has ``now_state``, what was so since the start is a warning."""
    if not shutil.which("vcgencmd"):
        return (
            Finding("warn", "not known: no vcgencmd", "sudo apt install raspi-utils")
            if patient.is_pi
            else Finding("pass", "not a Raspberry Pi")
        )
    if throttle_bits() is None:
        return Finding("warn", "not known: vcgencmd does not answer", "sudo usermod -aG video $USER, then log in again")
    now, ever = (list(filter(concerns, throttled(now_only))) for now_only in (True, False))
    if now:
        return Finding(now_state, f"{', '.join(now)}, now", mend)
    return (
        Finding("warn", f"{', '.join(ever)}, since the board was started", mend)
        if ever
        else Finding("pass", "never since the board was started")
    )


def _disk(patient: Patient) -> Finding:
    folder = patient.folder.resolve()
    free_mb = shutil.disk_usage(folder).free / 1e6
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"edgefer" * 10_000)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        mend = "sudo mount -o remount,rw /, and check the card: it may be worn out" if free_mb > 1 else "sudo apt clean"
        return Finding("fail", f"{folder}: cannot be written: {error.strerror}", mend)
    if free_mb < 200:
        return Finding("warn", f"{folder}: {free_mb:.0f} MB free", "sudo apt clean && sudo journalctl --vacuum-size=50M")
    return Finding("pass", f"{folder}: {free_mb:,.0f} MB free, written and synced")


def _clock(_: Patient) -> Finding:
    """A Pi without a clock battery starts in the past until the network tells it."""
    mend = "sudo timedatectl set-ntp true"
    if time.time() < 1.75e9:
        return Finding("fail", f"it is not {time.strftime('%d %B %Y')}: observations would be dated wrongly", mend)
    try:
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Finding("warn", "not known whether it is synchronized: timedatectl does not answer", "sudo apt install systemd-timesyncd")
    return Finding("pass", "synchronized") if said == "yes" else Finding("warn", "not synchronized", mend)


# ---------------------------------------------------------------- the configuration


def _config(patient: Patient) -> Finding:
    path = patient.config or CONFIG
    if not patient.config and not path.exists():
        return Finding("pass", f"none at {path}: the defaults")
    try:
        check_config(path)
    except EdgeferError as error:
        return Finding("fail", str(error), f"edit it, then edgefer check-config {path}")
    return Finding("pass", f"{path}: good")


def _broker(patient: Patient) -> Finding:
    """Whether something listens where the configuration's MQTT sink would go; no password is sent, nor shown."""
    try:
        settings = check_config(patient.config or CONFIG)
    except EdgeferError:
        return Finding("pass", "none configured")
    brokers = [parse_address(sink) for sink in settings.sinks if sink.startswith("mqtt")]
    for broker in brokers:
        try:
            socket.create_connection((broker.host, broker.port), timeout=3).close()
        except OSError as error:
            why = error.strerror or str(error)
            return Finding("fail", f"{broker.host}:{broker.port}: {why}", "sudo systemctl start mosquitto, on the broker's machine")
    return Finding("pass", ", ".join(f"{broker.host} answers" for broker in brokers) or "none configured")


# ---------------------------------------------------------------- shared


def model_of(patient: Patient) -> str:
    """The model that is meant: by its name or its path."""
    try:
        configured = load_settings(patient.config or (CONFIG if CONFIG.exists() else None)).model
    except EdgeferError:
        configured = Settings().model  # what is wrong with the file is another check's to say
    return patient.model or configured


def _classifier(patient: Patient) -> Any:
    from edgefer.model.classifier import Classifier
    from edgefer.model.store import find_model

    return Classifier(find_model(model_of(patient)))


def _picamera2() -> tuple[Any, Exception | None]:
    """The module picamera2, or why it cannot be imported."""
    try:
        with silence_native_stderr():
            importlib.import_module("libcamera")
            return importlib.import_module("picamera2"), None
    except Exception as error:  # numpy's and libcamera's own are of many kinds
        return None, error


def _pip(what: str) -> str:
    return f"{sys.executable} -m pip install {what}"


def _boot(line: str) -> str:
    return f"echo '{line}' | sudo tee -a /boot/firmware/config.txt && sudo reboot"


def _meminfo_mb(patient: Patient, key: str) -> float | None:
    for line in patient.read("proc/meminfo").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


CHECKS: dict[str, Callable[[Patient], Finding]] = {
    "python": _python,
    "system": _system,
    "opencv": _opencv,
    "numpy": _numpy,
    "runtime": _runtime,
    "model": _model,
    "xnnpack": _xnnpack,
    "libcamera": _libcamera,
    "camera": _camera,
    "memory": _memory,
    "cma": _cma,
    "cgroup": _cgroup,
    "governor": _governor,
    "temperature": _temperature,
    "throttling": _throttling,
    "power": _power,
    "disk": _disk,
    "clock": _clock,
    "config": _config,
    "broker": _broker,
}
