"""A connection to an MQTT broker that reconnects by itself."""

from __future__ import annotations

import logging
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefer.errors import MissingLibrary, SinkError
from edgefer.log_once import LogOnce
from edgefer.mqtt.address import Address
from edgefer.mqtt.credentials import CREDENTIAL, read_ca, read_login

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_LOG = logging.getLogger(__name__)

KEEPALIVE_S = 30
DISCONNECT_S = 0.5
"""Longest wait for the broker's answer to a disconnect."""
MAX_QUEUED = 512
"""Messages that wait for the broker's acknowledgement; a further one is refused and counted."""
RETRY_S = (1, 60)
"""First and longest pause before a reconnection; each is twice the one before."""
_QUEUE_FULL = 15  # paho's MQTT_ERR_QUEUE_SIZE

Callback = Callable[[str, bytes, bool], None]
"""Called with topic, payload, and whether the message is retained."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish."""

    topic: str
    payload: bytes
    retain: bool
    qos: int = 1
    """1: sent until the broker acknowledges it; 0: sent once, or not at all."""


class Connection:
    """A connection to a broker, in its own thread; after a failure it retries with growing pauses.

    ``will`` is the last will; ``birth`` is published after each connection; ``on_connect``, called just before `up` is true, and the
    callbacks of subscriptions run in the connection's thread. Each kind of problem is logged once.

    Raises `SettingsError` for a login or certificate that cannot be read, `MissingLibrary` without paho-mqtt.
    """

    def __init__(
        self,
        address: Address,
        client_id: str = "",
        login: str = "",
        ca: str = "",
        will: Message | None = None,
        birth: Message | None = None,
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        self.address, self._birth, self._on_connect = address, birth, on_connect
        self._subscriptions: dict[str, Callback] = {}
        self._up, self._disconnected = threading.Event(), threading.Event()
        self._log_once = LogOnce(_LOG)
        self.problem = ""
        """Why there is no connection; empty while there is one."""
        self.refused = 0
        """Messages that were not accepted: the queue was full, or with QoS 0, there was no connection."""
        self.losses = 0
        """How often the connection was lost."""
        self._client = client = _client(client_id)
        credentials = read_login(login)
        self._login = login or (CREDENTIAL if credentials else "")
        if credentials:
            client.username_pw_set(*credentials)
        if address.tls:
            client.tls_set_context(read_ca(ca))
        if will:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.max_queued_messages_set(MAX_QUEUED)
        client.reconnect_delay_set(*RETRY_S)
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_disconnect = self._lost
        client.connect_async(address.host, address.port, KEEPALIVE_S)

    def open(self) -> None:
        """Start to connect; returns at once."""
        self._client.loop_start()

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._up.is_set()

    def wait_up(self, within_s: float) -> bool:
        """Wait for the connection; whether there is one."""
        return self._up.wait(within_s)

    def subscribe(self, topic: str, callback: Callback) -> None:
        """Call ``callback`` for every message, now and after each reconnection."""
        self._subscriptions[topic] = callback
        self._client.message_callback_add(topic, lambda _client, _data, message: self._dispatch(callback, message))
        if self.up:
            self._client.subscribe(topic, qos=1)

    def publish(self, message: Message, wait_s: float = 0.0) -> bool:
        """Queue a message; False where it is refused, see `refused`. ``wait_s`` waits for the broker's acknowledgement."""
        info = self._client.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)
        # Other errors mean that there is no connection; with QoS 1 the message then waits in the queue.
        if info.rc == _QUEUE_FULL or (info.rc and not message.qos):
            self.refused += 1
            return False
        if wait_s:
            with suppress(RuntimeError):  # no connection
                info.wait_for_publish(wait_s)
        return True

    def close(self) -> None:
        """Disconnect; safe to call twice. The thread ends by itself, since it may hang in the network."""
        up = self.up
        self._client.disconnect()
        if up:
            self._disconnected.wait(DISCONNECT_S)
        self._up.clear()

    def _connected(self, client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            whom = f"the login of {self._login}" if self._login else "us without a login; add ?login=FILE"
            self._report(f"the broker refuses {whom} ({reason}); retrying with growing pauses")
            return
        if self.problem:
            self._warn("connected")
        self.problem = ""
        self._disconnected.clear()
        self._on_connect()
        # Before the subscriptions are read: a thread that adds one meanwhile is among them, or sees that the connection is up.
        self._up.set()
        for topic in list(self._subscriptions):
            client.subscribe(topic, qos=1)
        if self._birth:
            self.publish(self._birth)

    def _failed(self, _client: Client, _data: object) -> None:
        # paho calls this inside its "except OSError", and passes no reason.
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            self._report(f"the broker's certificate is not trusted ({error.verify_message}); give its authority with ?ca=FILE")
        elif isinstance(error, ssl.SSLError):
            self._report(f"no TLS at this port ({error.reason or reason}); is it the port for TLS?")
        else:
            self._report(f"no broker answers ({reason}); retrying with growing pauses")

    def _lost(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        self._disconnected.set()
        if self.up:
            self._up.clear()
            if reason.is_failure:
                self.losses += 1
                self._report("the connection was lost; reconnecting")

    def _dispatch(self, callback: Callback, message: Any) -> None:
        """No message may stop the connection's thread."""
        try:
            callback(message.topic, message.payload, message.retain)
        except Exception as error:
            self._warn(f"a message on {message.topic} was ignored ({type(error).__name__}: {error})")

    def _report(self, problem: str) -> None:
        self.problem = problem
        self._warn(problem)

    def _warn(self, message: str) -> None:
        self._log_once(logging.WARNING, f"{self.address.name}: {message}")


def _client(client_id: str) -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise MissingLibrary("mqtt needs paho-mqtt 2.1 or newer: pip install 'edgefer[mqtt]'") from None
    return Client(CallbackAPIVersion.VERSION2, client_id=client_id)


def unreachable(connection: Connection) -> SinkError:
    """The error of a command that needs a broker."""
    return SinkError(f"{connection.address.name}: {connection.problem.partition('; retrying')[0] or 'no answer'}")
