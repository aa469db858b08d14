"""A connection to an MQTT broker that reconnects by itself."""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
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
ANSWER_S = 4.0
"""Seconds after which a broker that does not answer a connection attempt is reported."""
SHORT_S, SHORT_MANY = 10.0, 3
"""After so many connections in a row that last less than these seconds there is a pause: two devices may throw each other out."""
MAX_QUEUED = 512
"""Messages that wait for the broker's acknowledgement; a further one is refused and counted."""
RETRY_S = (1, 60)
"""First and longest pause before a reconnection; each is twice the one before."""
_QUEUE_FULL = 15  # paho's MQTT_ERR_QUEUE_SIZE
_TAKEN_OVER = 0x8E  # MQTT 5: another client connected with this id
_NEWEST, _OLDER = 5, 4  # paho's numbers of MQTT 5 and 3.1.1
_TAKEN = (
    "the broker ends each connection soon: another device seems to have the same machine id, such as a copy of this SD card; "
    "delete /etc/machine-id on one of them and run systemd-machine-id-setup; connecting again in a minute"
)
_PERMIT = "permit it the topics that docs/mqtt.md lists"

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


class Alarm:
    """Calls a function after some seconds, in a thread of its own; setting it again replaces the call."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def set(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after ``seconds``."""
        self.stop()
        self._timer = threading.Timer(seconds, call)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Do not call any more."""
        if self._timer:
            self._timer.cancel()


class Connection:
    """A connection to a broker, in its own thread; after a failure it retries with growing pauses.

    It speaks MQTT 5, where a broker names the reason of a refusal, or 3.1.1 with brokers that do not know 5. ``will`` is the last will;
    ``birth`` is published after each connection. ``on_connect`` is called when the subscriptions are made and their retained messages
    are received, just before `up` is true; ``on_lost`` when the connection is lost. They and the callbacks of subscriptions run in the
    connection's thread. Each kind of problem is logged once.

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
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.address, self._birth, self._on_connect, self._on_lost = address, birth, on_connect, on_lost
        self._subscriptions: dict[str, Callback] = {}
        self._asked: set[str] = set()
        """Topics that are subscribed in the present connection."""
        self._subscribing: dict[int, str] = {}
        """Topics of subscriptions that the broker has not answered, by message id."""
        self._sent: dict[int, str] = {}
        """Topics of messages that the broker has not acknowledged, by message id."""
        self._up, self._disconnected = threading.Event(), threading.Event()
        self._log_once = LogOnce(_LOG)
        self._up_s, self._short = 0.0, 0
        self.problem = ""
        """Why there is no connection; empty while there is one."""
        self.refused = 0
        """Messages that were not accepted: the queue was full, or with QoS 0, there was no connection."""
        self.losses = 0
        """How often the connection was lost."""
        credentials = read_login(login)
        self._login = login or (CREDENTIAL if credentials else "")
        self._closed, self._answered = False, False
        self._answer_timer, self._pause_timer = Alarm(), Alarm()
        context = read_ca(ca) if address.tls else None
        self._make: Callable[[int], Client] = partial(self._client_of, client_id, credentials, context, will)
        self._protocol = _NEWEST
        self._client = self._make(self._protocol)

    def _client_of(
        self, client_id: str, credentials: tuple[str, str] | None, context: ssl.SSLContext | None, will: Message | None, protocol: int
    ) -> Client:
        client = _new_client(client_id, protocol)
        if credentials:
            client.username_pw_set(*credentials)
        if context:
            client.tls_set_context(context)
        if will:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.max_queued_messages_set(MAX_QUEUED)
        client.reconnect_delay_set(*RETRY_S)
        client.on_pre_connect = self._attempt
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_subscribe, client.on_publish = self._subscribed, self._acknowledged
        client.on_disconnect = self._lost
        for topic, callback in self._subscriptions.items():
            self._listen(client, topic, callback)
        client.connect_async(self.address.host, self.address.port, KEEPALIVE_S)
        return client

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
        self._listen(self._client, topic, callback)
        if self.up:
            self._client.subscribe(topic, qos=1)

    def _listen(self, client: Client, topic: str, callback: Callback) -> None:
        client.message_callback_add(topic, lambda _client, _data, message: self._dispatch(callback, message))

    def publish(self, message: Message, wait_s: float = 0.0) -> bool:
        """Queue a message; False where it is refused, see `refused`. ``wait_s`` waits for the broker's acknowledgement."""
        info = self._client.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)
        # Other errors mean that there is no connection; with QoS 1 the message then waits in the queue.
        if info.rc == _QUEUE_FULL or (info.rc and not message.qos):
            self.refused += 1
            return False
        if message.qos:
            self._sent[info.mid] = message.topic
        if wait_s:
            with suppress(RuntimeError):  # no connection
                info.wait_for_publish(wait_s)
        return True

    def pause(self, seconds: float, problem: str) -> None:
        """Disconnect, and connect again after ``seconds``; the reason is logged."""
        self._report(problem)
        self._up.clear()
        self._client.disconnect()
        self._pause_timer.set(seconds, self._restart)

    def close(self) -> None:
        """Disconnect; safe to call twice. The thread ends by itself, since it may hang in the network."""
        self._closed, up = True, self.up
        self._answer_timer.stop()
        self._pause_timer.stop()
        self._client.disconnect()
        if up:
            self._disconnected.wait(DISCONNECT_S)
        self._up.clear()

    def _restart(self) -> None:
        """Connect with a new client; paho cannot change the protocol of one."""
        if not self._closed:
            self._client.disconnect()
            self._sent.clear()
            self._client = self._make(self._protocol)
            self._client.loop_start()

    def _attempt(self, client: Client, _data: object) -> None:
        """A connection attempt begins."""
        if client is self._client and not self._closed:
            self._answered = False
            self._answer_timer.set(ANSWER_S, self._unanswered)

    def _unanswered(self) -> None:
        self._report(f"no answer within {ANSWER_S:.0f} s; retrying with growing pauses")

    def _connected(self, client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if client is not self._client:
            return
        self._answer_timer.stop()
        self._answered = True
        if reason.is_failure and self._protocol == _NEWEST and reason.getName() == "Unsupported protocol version":
            self._downgrade()
            return
        if reason.is_failure:
            whom = f"the login of {self._login}" if self._login else "us without a login; add ?login=FILE"
            self._report(f"the broker refuses {whom} ({reason}); retrying with growing pauses")
            return
        self._disconnected.clear()
        asked = list(self._subscriptions)
        self._asked = set(asked)
        self._subscribing = {mid: topic for topic in asked if (mid := client.subscribe(topic, qos=1)[1])}
        if not self._subscribing:
            self._ready(client)

    def _subscribed(self, client: Client, _data: object, mid: int, reasons: Any, _properties: object) -> None:
        topic = self._subscribing.pop(mid, "")
        if any(reason.is_failure for reason in reasons):
            self._warn(f"the broker does not permit {self._whom} to read {topic} ({reasons[0]}); {_PERMIT}", "read")
        # Retained messages of one subscription come before the answer to the next.
        if topic and not self._subscribing and client is self._client:
            self._ready(client)

    def _ready(self, client: Client) -> None:
        if self.problem:
            self._warn("connected")
        self.problem = ""
        self._on_connect()
        # Before the subscriptions are read: a thread that adds one meanwhile is among them, or sees that the connection is up.
        self._up_s = time.monotonic()
        self._up.set()
        for topic in set(self._subscriptions) - self._asked:
            client.subscribe(topic, qos=1)
        if self._birth:
            self.publish(self._birth)

    def _acknowledged(self, _client: Client, _data: object, mid: int, reason: Any, _properties: object) -> None:
        topic = self._sent.pop(mid, "a topic")
        if reason.is_failure:
            self._warn(f"the broker does not permit {self._whom} to write to {topic} ({reason}); {_PERMIT}", "write")

    def _downgrade(self) -> None:
        """MQTT 3.1.1 from now on."""
        self._protocol = _OLDER
        self._restart()

    @property
    def _whom(self) -> str:
        return f"the user of {self._login}" if self._login else "users without a login"

    def _failed(self, _client: Client, _data: object) -> None:
        self._answer_timer.stop()
        # paho calls this inside its "except OSError", and passes no reason.
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            self._report(f"the broker's certificate is not trusted ({error.verify_message}); give its authority with ?ca=FILE")
        elif isinstance(error, ssl.SSLError):
            self._report(f"no TLS at this port ({error.reason or reason}); is it the port for TLS?")
        else:
            self._report(f"no broker answers ({reason}); retrying with growing pauses")

    def _lost(self, client: Client, _data: object, flags: Any, reason: Any, _properties: object) -> None:
        if client is not self._client:
            return
        self._answer_timer.stop()
        self._disconnected.set()
        if self.up:
            self._up.clear()
            self._on_lost()
            self._short = self._short + 1 if time.monotonic() - self._up_s < SHORT_S else 0
            if reason.value == _TAKEN_OVER or self._short >= SHORT_MANY:
                self.pause(RETRY_S[1], _TAKEN)
            elif reason.is_failure:
                self.losses += 1
                named = f" ({reason})" if flags.is_disconnect_packet_from_server else ""
                self._report(f"the connection was lost{named}; reconnecting", "lost")
        elif not (self._answered or self._closed):
            if self._protocol == _NEWEST:
                self._downgrade()
            else:
                port = "is it an MQTT port?" if self.address.tls else "is it the port for TLS? Then write mqtts://"
                self._report(f"the connection is closed without an answer; {port}")

    def _dispatch(self, callback: Callback, message: Any) -> None:
        """No message may stop the connection's thread."""
        try:
            callback(message.topic, message.payload, message.retain)
        except Exception as error:
            self._warn(f"a message on {message.topic} was ignored ({type(error).__name__}: {error})")

    def _report(self, problem: str, kind: str = "") -> None:
        self.problem = problem
        self._warn(problem, kind)

    def _warn(self, message: str, kind: str = "") -> None:
        self._log_once(logging.WARNING, f"{self.address.name}: {message}", kind)


def _new_client(client_id: str, protocol: int) -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
    except ImportError:
        raise MissingLibrary("mqtt needs paho-mqtt 2.1 or newer: pip install 'edgefer[mqtt]'") from None
    return Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion(protocol))


def unreachable(connection: Connection) -> SinkError:
    """The error of a command that needs a broker."""
    return SinkError(f"{connection.address.name}: {connection.problem.partition('; retrying')[0] or 'no answer'}")
