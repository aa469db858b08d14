"""Two devices with the same topics: one of them notices the other, names it, and waits."""

from __future__ import annotations

import hashlib
import logging
import secrets
import socket
from collections.abc import Callable

import msgspec

from edgefer.log_once import LogOnce
from edgefer.machine import machine_id
from edgefer.mqtt.connection import Alarm, Connection, Message
from edgefer.mqtt.device import OFFLINE, ONLINE, Topics

_LOG = logging.getLogger(__name__)

ANSWER_S = 4.0
"""Longest wait for the answer of another device."""
WAIT_S = 60.0
"""Pause after which the topics are tried again while another device uses them."""


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON on the device topic: who publishes on the topics; with ``ask``, who would like to."""

    id: str = ""
    host: str = ""
    ask: bool = False


class Ownership:
    """Decides whether this device publishes on its topics.

    The device topic is retained and names the owner. A device that finds another one there asks it; an owner that is alive answers at
    once, and the other one disconnects for a minute. Of two owners the one with the lower id stays. ``own`` is called when this device
    is the owner: after each connection, in the connection's thread or in a timer's.
    """

    def __init__(self, topics: Topics, host: str, own: Callable[[], None]) -> None:
        self._topics, self._own = topics, own
        self._name = f"{topics.base}/{topics.node}"
        self._lock = _lock(self._name)
        # A second process of this machine is another device.
        self.id = machine_id() if self._lock else hashlib.sha256((machine_id() + secrets.token_hex(8)).encode()).hexdigest()[:12]
        self.client_id = client_id(self.id, self._name)
        self._me = Device(self.id, host)
        self._connection: Connection | None = None
        self._other: Device | None = None
        self._alarm = Alarm()
        self._log_once = LogOnce(_LOG)
        self.owner = False
        """Whether this device may publish."""

    def attach(self, connection: Connection) -> None:
        """Follow the device topic and the status; call it before other subscriptions."""
        self._connection = connection
        connection.subscribe(self._topics.device, self._heard_device)
        connection.subscribe(self._topics.status, self._heard_status)

    def connected(self) -> None:
        """The connection is up; see ``own``."""
        if self._other is None:
            self._take()
            return
        self._publish(msgspec.structs.replace(self._me, ask=True), retain=False)
        self._alarm.set(ANSWER_S, self._take)

    def lost(self) -> None:
        """The connection is lost."""
        self.owner, self._other = False, None
        self._alarm.stop()

    def close(self) -> None:
        """Let another process of this machine use the topics; safe to call twice."""
        self.lost()
        if self._lock:
            self._lock.close()

    def _take(self) -> None:
        self._other, self.owner = None, True
        self._publish(self._me, retain=True)
        self._own()

    def _heard_device(self, _topic: str, payload: bytes, retained: bool) -> None:
        if not payload:
            return
        other = msgspec.json.decode(payload, type=Device)
        if other.id == self.id:
            return
        if retained:
            self._other = other
        elif self.owner and (other.ask or self.id < other.id):
            self._log_once(logging.WARNING, f"{self._describe(other)}; it waits, this device stays", other.id)
            self._publish(self._me, retain=True)
        elif not other.ask:
            self._yield_to(other)

    def _yield_to(self, other: Device) -> None:
        self.lost()
        if self._connection:
            self._connection.pause(WAIT_S, f"{self._describe(other)}; this device waits, and tries again every minute")

    def _describe(self, other: Device) -> str:
        return (
            f"another device ({other.host}, id {other.id}) publishes on {self._name} too; "
            f"give one of them another name: mqtt://…/{self._topics.base}/{self._topics.node}-2"
        )

    def _heard_status(self, _topic: str, payload: bytes, retained: bool) -> None:
        # The last will of an earlier connection comes late, after a restart or a lost network.
        if payload == OFFLINE and not retained and self.owner and self._connection:
            self._connection.publish(Message(self._topics.status, ONLINE, retain=True))

    def _publish(self, device: Device, retain: bool) -> None:
        if self._connection:
            self._connection.publish(Message(self._topics.device, msgspec.json.encode(device), retain=retain))


def client_id(device_id: str, topics: str) -> str:
    """The id of a device to the broker, which ends an older connection with the same one; 3.1.1 allows 23 characters."""
    return f"edgefer-{hashlib.sha256(f'{device_id} {topics}'.encode()).hexdigest()[:12]}"


def _lock(name: str) -> socket.socket | None:
    """A lock that this process holds on the topics, as long as it lives; None where another process of this machine has it."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        # In Linux's abstract namespace: no file stays behind.
        lock.bind(f"\0edgefer {hashlib.sha256(name.encode()).hexdigest()}")
    except OSError:
        lock.close()
        return None
    return lock
