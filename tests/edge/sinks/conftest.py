"""A real broker and a client that listens to it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mosquitto import Listener, Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate authority of our own, and a certificate for 127.0.0.1 that it signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (apt install openssl)")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1")
    for command in (
        ["req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=our authority", "-days", "2"],
        ["req", *new, "-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=broker"],
        ["x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "broker.pem", "-days", "2",
         "-extfile", "names"],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path
