"""``edgefer doctor --bundle``: a small zip to attach to a bug report, without secrets and without anything about faces."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from edgefer.cli.checks.target import Target
from edgefer.cli.doctor import as_json, as_text, examine
from edgefer.cli.redacted_settings import stored_secrets, without_secrets
from edgefer.cli.service import UNIT, UNIT_PATH
from edgefer.errors import EdgeferError, SettingsError
from edgefer.files import write_atomic
from edgefer.machine import board, version
from edgefer.redact import CUT, redact, redact_known
from edgefer.settings import CONFIG, read_toml

LINES = 200
"""Journal lines to include."""
_MODULES = ("numpy", "cv2")
_PACKAGES = (
    "msgspec", "ai-edge-litert", "tflite-runtime", "picamera2", "paho-mqtt", "starlette", "uvicorn", "prometheus-client", "cryptography",
)  # fmt: skip
_ABOUT_FACES = re.compile(
    r"(?<=\d frames/s).*|(?<=\d a second\)).*|.*\"faces\":.*"
    r"|(?<=Status: \")(?!waiting|no camera|no frame|the same picture|nothing to be seen|back after|stopping|\d).*"
)
"""The parts of log lines in which `edgefer.sinks` and the summary of a run report expressions."""


def write_bundle(path: Path, target: Target) -> None:
    """Collect the contents and write ``path``, whole or not at all; raises `SettingsError` if it cannot be written."""
    if path.suffix != ".zip":
        raise SettingsError(f"--bundle {path}: it is a zip file, so its name must end in .zip")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in contents(target).items():
            # A zip has no date before 1980, and a Pi without a clock boots in 1970.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    write_atomic(path, packed.getvalue(), flag="--bundle ")


def contents(target: Target) -> dict[str, str]:
    """Name -> text of every file in the bundle; files with nothing in them are left out."""
    checks, known = examine(target), set[str]()
    # First: it collects the secrets to remove from the other files.
    configuration = _guarded(partial(_configuration, target, known))
    files = {
        "doctor.json": json.loads(as_json(checks)),
        "doctor.txt": as_text(checks),
        "versions.json": _guarded(partial(_versions, target)),
        "model.json": _guarded(partial(_model, target)),
        "unit.txt": _unit(target),
        "status.txt": _output("systemctl", "status", "--no-pager", "--full", "--lines=0", UNIT),
        "journal.txt": _output("journalctl", "--no-pager", "--no-hostname", "--output=short-iso", f"--lines={LINES}", f"--unit={UNIT}"),
    }
    # Before it becomes JSON: a secret with JSON escapes in it would not be found, but a reader can decode it.
    clean = {"config.json": _cut(configuration, lambda text: redact_known(text, known))}
    clean |= {name: _cut(content, lambda text: redact(redact_known(text, known))) for name, content in files.items() if content}
    return {name: text if isinstance(text, str) else json.dumps(text, indent=1, ensure_ascii=False) for name, text in clean.items()}


def _cut(content: object, cut: Callable[[str], str]) -> object:
    """Apply ``cut`` to every string in the content of a JSON file."""
    if isinstance(content, dict):
        return {key: _cut(value, cut) for key, value in content.items()}
    if isinstance(content, list):
        return [_cut(value, cut) for value in content]
    return content if content is None or isinstance(content, int | float) else cut(str(content))


def _guarded(collect: Callable[[], Mapping[str, object]]) -> Mapping[str, object]:
    """The part, or its error: on a broken machine the other parts are still collected."""
    try:
        return collect()
    except Exception as error:
        return {"error": redact(f"{type(error).__name__}: {error}")}


def _configuration(target: Target, known: set[str]) -> Mapping[str, object]:
    path = target.config or CONFIG
    known.update(stored_secrets(target.root / "etc/credstore"), stored_secrets(Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"))))
    if not target.config and not path.exists():
        return {"file": None}
    try:
        table = read_toml(path)
    except EdgeferError as error:
        return {"file": str(path), "error": redact(str(error))}
    return {"file": str(path), "settings": without_secrets(table, known)}


def _versions(target: Target) -> Mapping[str, object]:
    return {
        "edgefer": version(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version,
        "system": target.os_release().get("PRETTY_NAME", ""),
        "kernel": platform.platform(),
        "board": board(target.root),
        **{name: _module_version(name) for name in _MODULES},
        **{name: found for name in _PACKAGES if (found := _package_version(name))},
    }


def _module_version(name: str) -> str:
    """The module's own version: Debian's modules have no pip metadata."""
    try:
        return str(importlib.import_module(name).__version__)
    except Exception as error:  # of many types, numpy's own
        return f"cannot be imported: {error}"


def _package_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _model(target: Target) -> Mapping[str, object]:
    from edgefer.model.describe import describe

    return describe(target.model_name())


def _unit(target: Target) -> str:
    """The unit and its drop-ins, without comments; values that may be secrets are removed."""
    unit = target.root / UNIT_PATH.relative_to("/")
    text = list[str]()
    for path in (unit, *sorted(unit.parent.glob(f"{UNIT}.d/*.conf"))):
        lines = target.read(str(path)).replace("\\\n", " ").splitlines()
        kept = [line for line in lines if re.match(r"\s*[^#;\s]", line)]
        text += [f"# {path}" for _ in kept[:1]]
        text += [re.sub(r"^\s*((?:Environment|SetCredential\w*)\s*=).*", rf"\1{CUT}", line) for line in kept]
    return "\n".join(text)


def _output(*command: str) -> str:
    """The output of a command without anything about faces; empty if it is not installed."""
    if not shutil.which(command[0]):
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command[0]}: {error}"
    return _ABOUT_FACES.sub(CUT, done.stdout or done.stderr)
