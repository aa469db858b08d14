"""Checks whether the configured outputs can be opened here; they are not opened, and nothing is written."""

from __future__ import annotations

import errno
import http.client
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from edgefer.cli.check_config import check_config
from edgefer.cli.checks.target import Finding, Target
from edgefer.errors import EdgeferError
from edgefer.history.location import default_path
from edgefer.output import split_required
from edgefer.redact import redact_url
from edgefer.settings import CONFIG
from edgefer.spec import parse_spec

TIMEOUT_S = 3.0


def outputs(target: Target) -> Finding:
    """Whether the files and the addresses of the configuration's outputs can be used."""
    try:
        settings = check_config(target.config or CONFIG)
    except EdgeferError:
        return Finding("pass", "none configured")
    problems = {redact_url(text): why for text in settings.sinks if (why := _problem(text))}
    if not problems:
        return Finding("pass", f"{len(settings.sinks)} configured")
    found = "; ".join(f"{name}: {why}" for name, why in problems.items())
    return Finding("fail", found, "free the space or the port, or change the output; a running service tries it again by itself")


def _problem(text: str) -> str:
    """Why an output cannot be opened; empty if nothing is known against it."""
    spec = parse_spec(split_required(text)[0])
    if spec.scheme in ("history", "jsonl", "snapshots") and spec.path != "-":
        return _disk_problem(Path(spec.path) if spec.path else default_path())
    if spec.scheme in ("http", "web"):
        url = urlsplit(spec.text if spec.scheme == "http" else "http://127.0.0.1:8080")
        return _port_problem(url.hostname or "", url.port or 0)
    return ""


def _disk_problem(path: Path) -> str:
    folder = next(parent for parent in path.resolve().parents if parent.exists())
    if not folder.is_dir():
        return f"{folder} is not a folder"
    disk = os.statvfs(folder)
    if disk.f_flag & os.ST_RDONLY:
        return f"the disk of {folder} is read-only"
    return "" if disk.f_bavail else f"the disk of {folder} is full"


def _port_problem(host: str, port: int) -> str:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_edgefer(host, port):
            return ""
        return f"cannot listen there: {error.strerror}"
    return ""


def _is_edgefer(host: str, port: int) -> bool:
    """Whether a running edgefer answers there."""
    connection = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().read(200) == b'{"status":"alive"}'
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
