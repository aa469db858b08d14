"""The update status that a device publishes, retained, on ``<base>/<node>/update/status``."""

from __future__ import annotations

import logging
import time

import msgspec

from edgefer.mqtt.connection import Connection, Message
from edgefer.mqtt.device import Topics
from edgefer.redact import redact

_LOG = logging.getLogger(__name__)


class UpdateStatus:
    """Keeps the last status, and publishes each one once a broker is known."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._topic, self._payload = "", b""

    def attach(self, connection: Connection, topics: Topics) -> None:
        """Publish the last status, and the following ones, through this connection."""
        self._connection, self._topic = connection, topics / "update/status"
        self._publish()

    def set(self, state: str, sha256: str, why: str = "") -> None:
        """A new status; a failure is logged as well."""
        why = redact(why)
        if state in ("refused", "rolled_back"):
            _LOG.warning("update %s: %s: %s", sha256[:12] or "message", state.replace("_", " "), why)
        self._payload = msgspec.json.encode({"state": state, "sha256": sha256, "why": why, "time": round(time.time(), 3)})
        self._publish()

    def _publish(self) -> None:
        if self._connection:
            self._connection.publish(Message(self._topic, self._payload, retain=True))
