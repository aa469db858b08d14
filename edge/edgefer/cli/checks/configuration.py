"""Checks of the configuration file and of the broker it names."""

from __future__ import annotations

import socket

from edgefer.cli.check_config import check_config
from edgefer.cli.checks.target import Finding, Target
from edgefer.errors import EdgeferError
from edgefer.mqtt.address import parse_address
from edgefer.settings import CONFIG


def config(target: Target) -> Finding:
    """Whether the configuration file is valid."""
    path = target.config or CONFIG
    if not target.config and not path.exists():
        return Finding("pass", f"no file {path}: the defaults")
    try:
        check_config(path)
    except EdgeferError as error:
        return Finding("fail", str(error), f"edit it, then edgefer check-config {path}")
    return Finding("pass", f"{path}: good")


def broker(target: Target) -> Finding:
    """Whether the brokers of the configuration's MQTT sinks accept a connection; no password is sent."""
    try:
        settings = check_config(target.config or CONFIG)
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
