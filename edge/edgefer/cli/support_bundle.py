"""``edgefer doctor --bundle``: one small zip to attach to a bug report; secrets are cut out, and nobody can be seen in it."""

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
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints
from urllib.parse import unquote

import msgspec

from edgefer.cli.doctor import Patient, as_json, as_text, examine, model_of
from edgefer.cli.service import PLACE, UNIT
from edgefer.errors import EdgeferError, SettingsError
from edgefer.files import write_atomic
from edgefer.machine import board, version
from edgefer.redact import CUT, hidden, scrub, shown, without
from edgefer.settings import CONFIG, Settings, Table, read_toml

LINES = 200
"""Of the journal, the last so many."""
_MODULES = ("numpy", "cv2")
_PACKAGES = (
    "msgspec", "ai-edge-litert", "tflite-runtime", "picamera2", "paho-mqtt", "starlette", "uvicorn", "prometheus-client", "cryptography",
)  # fmt: skip
_CREDENTIALS = ("mqtt-password", "web-token")
_HARMLESS = re.compile(r"(?:show|every_s|keep|keep_days|max_mb|free_mb)=[\w.]+$|(?:login|token_file|ca|host|discovery)=")
_ABOUT_FACES = re.compile(
    r"(?<=\d frames/s).*|(?<=\d a second\)).*|.*\"faces\":.*"
    r"|(?<=Status: \")(?!waiting|no frame|the same picture|nothing to be seen|back after|stopping|\d).*"
)
"""What `edgefer.sinks` and the end of a run say of who was seen."""


def write_bundle(path: Path, patient: Patient) -> None:
    """Collect, and write ``path`` whole or not at all; raises `SettingsError` where it cannot be written."""
    if path.suffix != ".zip":
        raise SettingsError(f"--bundle {path}: it becomes a zip file, so its name must end in .zip")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in contents(patient).items():
            # A zip knows no date before 1980, where a Pi without a clock begins.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    write_atomic(path, packed.getvalue(), flag="--bundle ")


def contents(patient: Patient) -> dict[str, str]:
    """Name -> text of every file in the bundle; what this machine does not have is left out."""
    checks, known = examine(patient), set[str]()
    # First, for it learns what must be cut out of the others.
    configuration = _guarded(partial(_configuration, patient, known))
    files = {
        "doctor.json": json.loads(as_json(checks)),
        "doctor.txt": as_text(checks),
        "versions.json": _guarded(partial(_versions, patient)),
        "model.json": _guarded(partial(_model, patient)),
        "unit.txt": _unit(patient),
        "status.txt": _said("systemctl", "status", "--no-pager", "--full", "--lines=0", UNIT),
        "journal.txt": _said("journalctl", "--no-pager", "--no-hostname", "--output=short-iso", f"--lines={LINES}", f"--unit={UNIT}"),
    }
    # Before it becomes JSON, whose escapes would hide a secret from us, but not from a reader.
    clean = {"config.json": _cut(configuration, lambda text: without(text, known))}
    clean |= {name: _cut(content, lambda text: scrub(without(text, known))) for name, content in files.items() if content}
    return {name: text if isinstance(text, str) else json.dumps(text, indent=1, ensure_ascii=False) for name, text in clean.items()}


def _cut(content: object, cut: Callable[[str], str]) -> object:
    """Every text in what becomes JSON without what ``cut`` takes away."""
    if isinstance(content, dict):
        return {key: _cut(value, cut) for key, value in content.items()}
    if isinstance(content, list):
        return [_cut(value, cut) for value in content]
    return content if content is None or isinstance(content, int | float) else cut(str(content))


def _guarded(collect: Callable[[], Mapping[str, object]]) -> Mapping[str, object]:
    """A broken machine is what this is for: one part that fails leaves the others."""
    try:
        return collect()
    except Exception as error:
        return {"error": scrub(f"{type(error).__name__}: {error}")}


# ---------------------------------------------------------------- the configuration


def _configuration(patient: Patient, known: set[str]) -> Mapping[str, object]:
    path = patient.config or CONFIG
    known.update(_kept(patient.root / "etc/credstore"), _kept(Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"))))
    if not patient.config and not path.exists():
        return {"file": None}
    try:
        table = read_toml(path)
    except EdgeferError as error:
        return {"file": str(path), "error": scrub(str(error))}
    return {"file": str(path), "settings": without_secrets(table, known)}


def without_secrets(table: Mapping[str, object], known: set[str], kind: type[msgspec.Struct] = Settings) -> dict[str, object]:
    """A configuration as it was read, comments left out and secrets cut out; those are added to ``known``.

    A key that edgefer does not know keeps its name alone: it may be a password in the wrong place.
    """
    hints = get_type_hints(kind)
    return {key: _shown(key, value, hints.get(key), known) for key, value in table.items()}


def _shown(key: str, value: object, kind: object, known: set[str]) -> object:
    if isinstance(value, list) and key != "command":
        return [_shown(key, item, next(iter(get_args(kind)), None), known) for item in value]
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Table):
        return without_secrets(value, known, kind)
    if kind and key == "command":
        program, *arguments = [word for text in _texts(value) for word in text.split()] or [""]
        known.update(_long(arguments))
        return [program, *[CUT] * len(arguments)]
    if kind and not isinstance(value, str | dict):
        return value
    known.update(_secrets(key, value) if kind else _long(_texts(value)))
    return (_SHOWN.get(key, scrub))(str(value)) if kind and isinstance(value, str) else CUT


def _sink(spec: str) -> str:
    """With those of its options that hold no secret, and the names of those that may lead to one."""
    address, mark, options = spec.partition("?")
    if "@" in spec or not mark:
        return shown(spec)
    said = (_HARMLESS.match(option) for option in options.split("&"))
    return f"{shown(address)}?{'&'.join(match[0] + CUT * match[0].endswith('=') if match else CUT for match in said)}"


def _webhook(address: str) -> str:
    """Its host; the path is as good as a password."""
    return shown("".join(re.findall(r"^\w+://[^/?]*", address))) + f"/{CUT}"


_SHOWN = {"source": shown, "sinks": _sink, "webhook": _webhook}


def _secrets(key: str, value: object) -> set[str]:
    """What is cut out of a text in the configuration, and what the files hold that it names."""
    text = "".join(_texts(value))
    if key == "webhook":
        path = "".join(re.findall(r"^\w+://[^/?]*(.*)", text))
        return {*hidden(text), *_long([path, path.rpartition("/")[2]])}
    if key == "sinks":
        # The options of a sink are edgefer's own.
        address, _, options = text.partition("?")
        return set(hidden(address)).union(*(_kept(Path(unquote(file))) for file in re.findall(r"(?:login|token_file)=([^&]+)", options)))
    return set(hidden(text))


def _texts(value: object) -> Iterator[str]:
    """Every text in a value of TOML."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _long(texts: Iterator[str] | list[str]) -> set[str]:
    """Those that are not likely to turn up by chance."""
    return {text for text in texts if len(text) > 3}


def _kept(place: Path) -> set[str]:
    """The secrets in a file, or in the credentials of a folder, where they can be read: the whole line, and what follows the colon."""
    found = set[str]()
    for file in (place, *(place / name for name in _CREDENTIALS)):
        try:
            line = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        found |= {line, line.partition(":")[2]}
    return _long(list(found))


# ---------------------------------------------------------------- the machine


def _versions(patient: Patient) -> Mapping[str, object]:
    release = dict(line.split("=", 1) for line in patient.read("etc/os-release").splitlines() if "=" in line)
    return {
        "edgefer": version(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version,
        "system": release.get("PRETTY_NAME", "").strip('"'),
        "kernel": platform.platform(),
        "board": board(patient.root),
        **{name: _module_version(name) for name in _MODULES},
        **{name: found for name in _PACKAGES if (found := _package_version(name))},
    }


def _module_version(name: str) -> str:
    """Asked of the module: Debian's are not known as packages."""
    try:
        return str(importlib.import_module(name).__version__)
    except Exception as error:  # numpy's own are of many kinds
        return f"cannot be imported: {error}"


def _package_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _model(patient: Patient) -> Mapping[str, object]:
    from edgefer.model.describe import describe

    return describe(model_of(patient))


def _unit(patient: Patient) -> str:
    """The unit and what was added to it, without comments; values that may be secrets are cut out."""
    place = patient.root / PLACE.relative_to("/")
    said = list[str]()
    for path in (place, *sorted(place.parent.glob(f"{UNIT}.d/*.conf"))):
        lines = patient.read(str(path)).replace("\\\n", " ").splitlines()
        kept = [line for line in lines if re.match(r"\s*[^#;\s]", line)]
        said += [f"# {path}" for _ in kept[:1]]
        said += [re.sub(r"^\s*((?:Environment|SetCredential\w*)\s*=).*", rf"\1{CUT}", line) for line in kept]
    return "\n".join(said)


def _said(*command: str) -> str:
    """What a command prints, without what it says of faces; empty where there is no such command."""
    if not shutil.which(command[0]):
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command[0]}: {error}"
    return _ABOUT_FACES.sub(CUT, done.stdout or done.stderr)
