"""An MQTT broker: its address, who we are to it, and a connection that heals itself."""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from edgefer.errors import MissingLibrary, SettingsError, SinkError
from edgefer.log_once import LogOnce
from edgefer.redact import shown, shown_file

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_LOG = logging.getLogger(__name__)

DEFAULT_BASE = "edgefer"
CREDENTIAL = "mqtt-password"
"""The systemd credential (``LoadCredential=mqtt-password``) that is read where no file is named."""
KEEPALIVE_S = 30
GOODBYE_S = 0.5
QUEUE = 512
"""Messages that wait for the broker's answer at most; a newer one is refused and counted."""
RETRY_S = (1, 60)
"""The first pause before connecting again, and the longest: each is twice the one before."""
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
"""A name or an address, also of IPv6."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is: ``mqtt[s]://host[:port]/path?option=value``."""

    host: str
    port: int
    tls: bool
    path: tuple[str, ...]
    """The topic in its levels."""
    options: Mapping[str, str]

    @property
    def name(self) -> str:
        """For people: without topic and options."""
        return f"mqtt{'s' * self.tls}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published."""

    topic: str
    payload: bytes
    retain: bool
    qos: int = 1
    """1: the broker says that it has it, and until then it is sent again; 0: now or never."""


def parse_address(text: str) -> Address:
    """An address in its parts; raises `SettingsError`, which never repeats a password."""
    # Also where a password holds characters that end the host part of a URL: nothing of such a text is shown.
    if "@" in text:
        raise SettingsError(
            "mqtt: user and password do not belong into the address, where every process can read them; write user:password into a "
            "file only you can read and add ?login=FILE (an @ in a file's name is %40)"
        )
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise SettingsError(
            f"{shown(text)}: the port is no number from 1 to 65535, or a [ has no ]; write mqtt://host:1883/base/node"
        ) from None
    host = url.hostname or ""
    if url.scheme not in ("mqtt", "mqtts") or not _HOST.fullmatch(host):
        raise SettingsError(f"{shown(text)}: not a broker's address; write mqtt://host/base/node, or mqtts:// for TLS")
    path = tuple(unquote(level) for level in url.path.split("/") if level)
    for level in path:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", level):
            raise SettingsError(f"{shown(text)}: {level!r} cannot be part of a topic: letters, digits, _ and - only, at most 64")
    tls = url.scheme == "mqtts"
    return Address(host, port or (8883 if tls else 1883), tls, path, dict(parse_qsl(url.query, keep_blank_values=True)))


def host_name() -> str:
    """This machine's name, fit to be part of a topic."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname().partition(".")[0]).strip("-")[:64] or "edgefer"


def read_login(path: str) -> tuple[str, str] | None:
    """User and password out of a file with the line ``user:password``; without a path, out of the systemd credential.

    None where neither is given. Raises `SettingsError`, which never repeats what the file holds.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    file = Path(path) if path else Path(folder) / CREDENTIAL
    if not path and not (folder and file.exists()):
        return None
    try:
        content = file.read_text(encoding="utf-8")
        if path and file.stat().st_mode & 0o004:
            _LOG.warning("%s: everyone on this machine can read this password; chmod o-r %s", file, file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"login {shown_file(str(file))}: cannot be read: {reason}; write the line user:password into that file"
        ) from None
    user, colon, password = content.strip("\r\n").partition(":")
    if not (user and colon) or "\n" in password:
        raise SettingsError(f"login {file}: one line user:password is expected")
    return user, password


class Connection:
    """A connection to a broker, kept up in a thread of its own: absent, flapping or refusing, it is tried again with growing pauses.

    ``will`` is what the broker says of us when we are gone without a word, ``hello`` what we say each time we are connected;
    ``came_up``, called just before `up` is true, and the subscriptions' callbacks run in the connection's thread. What is wrong is
    logged once per kind.

    Raises `SettingsError` for a login or certificate that cannot be read, `MissingLibrary` without paho-mqtt.
    """

    def __init__(
        self,
        address: Address,
        client_id: str = "",
        login: str = "",
        ca: str = "",
        will: Message | None = None,
        hello: Message | None = None,
        came_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.address, self._hello, self._came_up = address, hello, came_up
        self._subscriptions: dict[str, Callable[[str, bytes, bool], None]] = {}
        self._up, self._gone = threading.Event(), threading.Event()
        self._log_once = LogOnce(_LOG)
        self.problem = ""
        """Why there is no connection, in words; empty while there is one."""
        self.refused = 0
        """Messages that were not taken: the queue was full, or without QoS, the broker away."""
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
        client.max_queued_messages_set(QUEUE)
        client.reconnect_delay_set(*RETRY_S)
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_disconnect = self._lost
        client.connect_async(address.host, address.port, KEEPALIVE_S)

    def open(self) -> None:
        """Start to connect; returns at once."""
        self._client.loop_start()

    @property
    def up(self) -> bool:
        """Whether the broker took us."""
        return self._up.is_set()

    def wait_up(self, within_s: float) -> bool:
        """Wait for the connection; whether there is one."""
        return self._up.wait(within_s)

    def subscribe(self, topic: str, heard: Callable[[str, bytes, bool], None]) -> None:
        """Call ``heard(topic, payload, retained)`` for every message, now and after each time the connection comes back."""
        self._subscriptions[topic] = heard
        self._client.message_callback_add(topic, lambda _client, _data, said: self._hand_over(heard, said))
        if self.up:
            self._client.subscribe(topic, qos=1)

    def publish(self, message: Message, wait_s: float = 0.0) -> bool:
        """Hand a message to the broker, or to the queue for when it is back; False where that is full or, without QoS, the broker away.

        ``wait_s`` waits so long for the broker to say that it has it.
        """
        info = self._client.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)
        # MQTT_ERR_QUEUE_SIZE; without QoS nothing is kept for later.
        if info.rc == 15 or (info.rc and not message.qos):
            self.refused += 1
            return False
        if wait_s:
            with suppress(RuntimeError):  # no connection: it waits in the queue
                info.wait_for_publish(wait_s)
        return True

    def close(self) -> None:
        """Say goodbye; safe to call twice. The thread ends by itself: one that hangs in the network must not hold up the end."""
        up = self.up
        self._client.disconnect()
        if up:
            self._gone.wait(GOODBYE_S)
        self._up.clear()

    def _connected(self, client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            whom = f"the login of {self._login}" if self._login else "us without a login; add ?login=FILE"
            self._trouble(f"the broker refuses {whom} ({reason}); trying again with growing pauses")
            return
        if self.problem:
            self._warn("connected")
        self.problem = ""
        self._gone.clear()
        self._came_up()
        # Up before the subscriptions are gone through: whoever adds one meanwhile either is among them or sees that it is up.
        self._up.set()
        for topic in list(self._subscriptions):
            client.subscribe(topic, qos=1)
        if self._hello:
            self.publish(self._hello)

    def _failed(self, _client: Client, _data: object) -> None:
        # paho calls this inside its "except OSError" and tells nothing else.
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            self._trouble(f"the broker's certificate is not trusted ({error.verify_message}); give its authority with ?ca=FILE")
        elif isinstance(error, ssl.SSLError):
            self._trouble(f"no TLS there ({error.reason or reason}); is this the port for TLS?")
        else:
            self._trouble(f"no broker answers ({reason}); trying again with growing pauses")

    def _lost(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        self._gone.set()
        if self.up:
            self._up.clear()
            if reason.is_failure:
                self.losses += 1
                self._trouble("the connection was lost; connecting again")

    def _hand_over(self, heard: Callable[[str, bytes, bool], None], message: Any) -> None:
        """Whatever a message holds, the connection's thread goes on."""
        try:
            heard(message.topic, message.payload, message.retain)
        except Exception as error:
            self._warn(f"a message on {message.topic} was ignored ({type(error).__name__}: {error})")

    def _trouble(self, problem: str) -> None:
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


def read_ca(ca: str) -> ssl.SSLContext:
    """Whom to believe: the authority in a file, or without one the system's; raises `SettingsError` for a file that is none."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"ca {ca}: cannot be read: {reason}") from None


def no_broker(connection: Connection) -> SinkError:
    """The error of a command that cannot do without a broker."""
    return SinkError(f"{connection.address.name}: {connection.problem.partition('; trying')[0] or 'no answer'}")
