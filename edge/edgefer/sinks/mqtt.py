"""MQTT: observations go to a broker, where Home Assistant and fleets read them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from edgefer.errors import SettingsError
from edgefer.machine import board, temperature_c, version
from edgefer.mqtt.address import DEFAULT_BASE, host_name, parse_address
from edgefer.mqtt.connection import Connection, Message
from edgefer.mqtt.credentials import read_ca, read_login
from edgefer.mqtt.device import OFFLINE, ONLINE, Telemetry, Topics
from edgefer.mqtt.homeassistant import birth_topic, discovery
from edgefer.options import FilePath, SecretFile
from edgefer.output import Sink
from edgefer.queues import Mailbox
from edgefer.redact import redact_url
from edgefer.settings import Table, checked
from edgefer.spec import Spec
from edgefer.types import CameraState, Model, Observation

_LOG = logging.getLogger(__name__)


class MqttOptions(Table, frozen=True):
    """Who edgefer is to the broker, and what it sends."""

    login: SecretFile = ""
    """File with the line user:password; without it the systemd credential mqtt-password, if there is one."""
    ca: FilePath = ""
    """File with the certificate of the authority that signed the broker's; without it those of the system."""
    every_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    """Seconds after which an unchanged state is sent again."""
    discovery: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_/-]*$")] = "homeassistant"
    """Home Assistant's topic for new devices; empty: nothing is sent there."""


def parse_node(text: str) -> tuple[Topics, MqttOptions]:
    """Topics and options of a spec ``mqtt://host/base/node?…``; raises `SettingsError`."""
    address = parse_address(text)
    options = checked(address.options, MqttOptions, redact_url(text), strict=False)
    if len(address.path) == 1:
        raise SettingsError(
            f"{redact_url(text)}: a base and this device's name are needed: write mqtt://{address.host}/{address.path[0]}/{host_name()}"
        )
    base, node = ("/".join(address.path[:-1]), address.path[-1]) if address.path else (DEFAULT_BASE, host_name())
    return Topics(base, node), options


class Mqtt(Sink):
    """An MQTT broker, with TLS as mqtts; without a path the topics begin with edgefer/, then this machine's name.

    The frames never wait for the broker. While it is away, the state is not queued: the present one is sent when the broker is back.
    The last `EVENTS` events of the last `EVENT_S` seconds are queued: older ones would start automations much too late. Lost events
    are counted.
    """

    forms = ("mqtt://host[:port][/base/node]", "mqtts://host[:port][/base/node]")
    options = MqttOptions
    EVENTS = 256
    EVENT_S = 60.0
    GOODBYE_S = 0.7

    def __init__(self, spec: Spec, clock: Callable[[], float] = time.monotonic) -> None:
        self.topics, self._options = parse_node(spec.text)
        self._clock, self._version = clock, version()
        self._reporter = Telemetry(self.topics, self._version, self._options.every_s, temperature_c)
        self._waiting: Mailbox[tuple[float, Message]] = Mailbox(self.EVENTS)
        self._lost = 0
        self._resend = threading.Event()
        self._announced: Model | None = None
        self._last: Observation | None = None
        self._silence: Message | None = None
        self._closed = False
        self.connection = Connection(
            parse_address(spec.text),
            client_id=f"edgefer-{self.topics.id}",
            login=self._options.login,
            ca=self._options.ca,
            will=Message(self.topics.status, OFFLINE, retain=True),
            birth=Message(self.topics.status, ONLINE, retain=True),
            on_connect=self._came_up,
        )
        if self._options.discovery:
            self.connection.subscribe(birth_topic(self._options.discovery), self._birth)
        self.connection.open()

    @classmethod
    def check(cls, spec: Spec) -> None:
        """Raises `SettingsError` for a spec that cannot be opened; connects to nothing."""
        _, options = parse_node(spec.text)
        if options.login:
            read_login(options.login)
        if options.ca:
            read_ca(options.ca)

    @property
    def dropped(self) -> int:
        """Events that never reached the broker."""
        return self._waiting.dropped + self._lost

    def write(self, observation: Observation) -> None:
        """Send what is new; never waits."""
        self._last = observation
        now_s = self._clock()
        for event in self._reporter.events(observation):
            self._waiting.put((now_s, event))
        self._send(observation, now_s)

    def camera(self, state: CameraState) -> None:
        """Send the camera's state: at once if no frame comes, else with the next one."""
        self._silence = self._reporter.camera(state.how, time.time())
        if self._silence and self.connection.up:
            self.connection.publish(self._silence)

    def close(self) -> None:
        """Send what is left, and that this device goes offline; a short clip may end before the broker answers."""
        if self._closed:
            return
        self._closed = True
        connection = self.connection
        if self._last and connection.wait_up(self.GOODBYE_S):
            self._send(self._last, self._clock(), last=True)
        if connection.up:
            connection.publish(Message(self.topics.status, OFFLINE, retain=True), wait_s=self.GOODBYE_S)
        connection.close()
        self._waiting.close()
        lost = self.dropped + self._unsent()
        if lost or connection.losses:
            broke = f"; the connection broke {connection.losses} times" if connection.losses else ""
            _LOG.warning("%s: %d events were lost%s", connection.address.name, lost, broke)

    def _send(self, observation: Observation, now_s: float, last: bool = False) -> None:
        up = self.connection.up
        resend = up and self._resend.is_set()
        if resend:
            self._resend.clear()
        if up:
            self._send_events(now_s)
        if up and observation.model and self._options.discovery and (resend or observation.model != self._announced):
            self._announced = observation.model
            self.connection.publish(discovery(self._options.discovery, self.topics, observation.model, self._version, board()))
        for state in self._reporter.state(observation, now_s, self.dropped, now=resend or last):
            if up and not self.connection.publish(state):
                # The broker hangs, and its queue is full: sent when there is room again.
                self._resend.set()

    def _send_events(self, now_s: float) -> None:
        # Their QoS is 0: an event that a broken connection did not take is not sent again later.
        while (waiting := self._next()) is not None:
            since_s, event = waiting
            if now_s - since_s > self.EVENT_S or not self.connection.publish(event):
                self._lost += 1

    def _next(self) -> tuple[float, Message] | None:
        try:
            return self._waiting.get(timeout_s=0)
        except TimeoutError:
            return None

    def _unsent(self) -> int:
        return sum(1 for _ in iter(self._next, None))

    def _came_up(self) -> None:
        self._resend.set()
        # While a camera is silent, no frame comes to send its state.
        if silence := self._silence:
            self.connection.publish(silence)

    def _birth(self, _topic: str, payload: bytes, _retained: bool) -> None:
        """Home Assistant was started, and knows no devices yet."""
        if payload == ONLINE:
            self._resend.set()
