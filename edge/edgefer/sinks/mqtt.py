"""MQTT: observations go to a broker, where Home Assistant and fleets read them."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgefer.errors import SettingsError
from edgefer.machine import board_model, board_serial, temperature_c, version
from edgefer.mqtt.address import DEFAULT_BASE, check_level, default_node, host_name, is_level, node_of, parse_address
from edgefer.mqtt.connection import Connection, Message
from edgefer.mqtt.credentials import read_ca, read_login
from edgefer.mqtt.device import OFFLINE, ONLINE, Telemetry, Topics
from edgefer.mqtt.homeassistant import DeviceFacts, birth_topic, discovery, discovery_topic
from edgefer.mqtt.ownership import Ownership
from edgefer.options import FilePath, SecretFile
from edgefer.output import About, PrivacyControl, Sink, bare
from edgefer.queues import Mailbox
from edgefer.redact import redact_url
from edgefer.settings import Table, checked
from edgefer.spec import Spec
from edgefer.types import CameraState, Model, Observation
from edgefer.web.picture import encode

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
    name: Annotated[str, Meta(max_length=64)] = ""
    """Name of the device in Home Assistant, in any script; without a node in the path, the node is made of it."""
    area: Annotated[str, Meta(max_length=64)] = ""
    """Area that Home Assistant suggests for the device, such as Kitchen."""
    image: Literal["", "pixelated", "pictures"] = ""
    """Send the last annotated picture to the broker, pixelated or clear; empty: never."""


def parse_node(text: str) -> tuple[Topics, MqttOptions]:
    """Topics and options of a spec ``mqtt://host/base/node?…``; raises `SettingsError`."""
    address = parse_address(text)
    options = checked(address.options, MqttOptions, redact_url(text), strict=False)
    *base, node = address.path or ("",)
    if len(address.path) == 1:
        check_level(node, text)
        if not options.name:
            example = f"mqtt://{address.host}/{node}/{default_node()}"
            raise SettingsError(f"{redact_url(text)}: a base and this device's name are needed: write {example}")
        base, node = [node], ""
    if node and not is_level(node):
        if re.search(r"[+#\x00-\x1f\x7f/]", node):
            check_level(node, text)
        options = msgspec.structs.replace(options, name=options.name or node)
        node = node_of(node)
    return Topics("/".join(base) or DEFAULT_BASE, node or node_of(options.name) or default_node()), options


class Mqtt(Sink):
    """An MQTT broker, with TLS as mqtts; without a path the topics begin with edgefer/, then this machine's name and a part of its id.

    The frames never wait for the broker. While it is away, the state is not queued: the present one is sent when the broker is back.
    The last `EVENTS` events of the last `EVENT_S` seconds are queued: older ones would start automations much too late. Lost events
    are counted.
    """

    forms = ("mqtt://host[:port][/base/node]", "mqtts://host[:port][/base/node]")
    options = MqttOptions
    EVENTS = 256
    EVENT_S = 60.0
    GOODBYE_S = 0.7
    KNOWN_S = 3.0
    """Home Assistant listens to the events of a new device after this time."""
    IMAGE_S = 10.0
    """Shortest time between two pictures."""

    def __init__(self, spec: Spec, clock: Callable[[], float] = time.monotonic) -> None:
        self.topics, self._options = parse_node(spec.text)
        self.images_leave = bool(self._options.image)
        self._clock = clock
        options, celsius = self._options, temperature_c()
        self._facts = DeviceFacts(
            version(), options.name, options.area, board_model(), board_serial(), thermometer=celsius is not None, image=bool(options.image)
        )
        self._telemetry = Telemetry(self.topics, self._facts.version, options.every_s, temperature_c)
        self._waiting: Mailbox[tuple[float, Message]] = Mailbox(self.EVENTS)
        self._lost = 0
        self._lock = threading.RLock()
        """Held to publish: the sink's thread and the connection's both do."""
        self._resend = self._closed = False
        self._announced: tuple[Model, DeviceFacts] | None = None
        self._announced_s = self._image_s = -math.inf
        self._last: Observation | None = None
        self._paused = threading.Event()
        self._privacy: PrivacyControl | None = None
        self._level = ""
        self._ownership = Ownership(self.topics, host_name(), self._own)
        self.connection = Connection(
            parse_address(spec.text),
            client_id=self._ownership.client_id,
            login=options.login,
            ca=options.ca,
            will=Message(self.topics.status, OFFLINE, retain=True),
            on_connect=self._ownership.connected,
            on_lost=self._ownership.lost,
        )
        self._ownership.attach(self.connection)
        self.connection.subscribe(self.topics / "pause/set", self._pause)
        self.connection.subscribe(self.topics / "privacy/set", self._set_privacy)
        if prefix := options.discovery:
            self.connection.subscribe(birth_topic(prefix), self._birth)
            if self.topics.id != self.topics.plain_id:
                self.connection.subscribe(discovery_topic(prefix, self.topics.plain_id), self._remove_former)
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

    def begin(self, about: About) -> str:
        """Take the model and the web page of the run, so that the device is known before the first frame."""
        facts = about.model()
        page = next((sink.page_url for sink in map(bare, about.sinks) if sink.page_url), "")
        with self._lock:
            self._paused = about.paused
            self._privacy = next((sink.privacy_control for sink in map(bare, about.sinks) if sink.privacy_control), None)
            levels = tuple(self._privacy.allowed) if self._privacy else ()
            self._facts = replace(self._facts, page_url=page, privacy_levels=levels, updates=about.updates)
            self._telemetry.model = Model(facts["name"], facts["sha256"], tuple(facts["labels"]))
            if self._online:
                self._own()
        return "mqtt: annotated pictures go to the broker" if self._options.image else ""

    def write(self, observation: Observation) -> None:
        """Send what is new; never waits."""
        if self._paused.is_set():
            return
        with self._lock:
            self._last = observation
            now_s = self._clock()
            for event in self._telemetry.events(observation):
                self._waiting.put((now_s, event))
            self._send(observation, now_s)

    def camera(self, state: CameraState) -> None:
        """Send the camera's state: at once if no frame comes, else with the next one."""
        with self._lock:
            message = self._telemetry.camera(state.how, time.time())
            if message and self._online:
                self.connection.publish(message)

    def close(self) -> None:
        """Send what is left, and that this device goes offline; a short clip may end before the broker answers."""
        if self._closed:
            return
        self._closed = True
        connection = self.connection
        if self._last and not self._paused.is_set() and connection.wait_up(self.GOODBYE_S):
            with self._lock:
                self._send(self._last, self._clock(), last=True)
        online = self._online
        self._ownership.close()
        if online:
            connection.publish(Message(self.topics.status, OFFLINE, retain=True), wait_s=self.GOODBYE_S)
        connection.close()
        self._waiting.close()
        lost = self.dropped + self._unsent()
        if lost or connection.losses:
            broke = f"; the connection broke {connection.losses} times" if connection.losses else ""
            _LOG.warning("%s: %d events were lost%s", connection.address.name, lost, broke)

    @property
    def _online(self) -> bool:
        """Whether this device may publish."""
        return self._ownership.owner

    def _send(self, observation: Observation, now_s: float, last: bool = False) -> None:
        online = self._online and self.connection.up
        if online:
            self._telemetry.model = observation.model
            self._announce()
            if last or now_s - self._announced_s >= self.KNOWN_S:
                self._send_events(now_s)
        now = last or (online and self._resend)
        self._resend = self._resend and not now
        for state in self._telemetry.state(observation, now_s, self.dropped, now):
            if online and not self.connection.publish(state):
                # The broker hangs, and its queue is full: sent when there is room again.
                self._resend = True
        if online:
            self._send_level()
            self._send_image(observation, now_s)

    def _announce(self, again: bool = False) -> None:
        """Send the discovery message if it is new."""
        model = self._telemetry.model
        if not (model and self._options.discovery) or (not again and self._announced == (model, self._facts)):
            return
        self._announced, self._announced_s = (model, self._facts), self._clock()
        self.connection.publish(discovery(self._options.discovery, self.topics, model, self._facts))

    def _send_level(self, again: bool = False) -> None:
        if self._privacy and (again or self._privacy.level != self._level):
            self._level = self._privacy.level
            self.connection.publish(Message(self.topics / "privacy", self._level.encode(), retain=True))

    def _send_image(self, observation: Observation, now_s: float) -> None:
        if self._options.image and observation.faces and now_s - self._image_s >= self.IMAGE_S:
            self._image_s = now_s
            picture = encode(observation, self._options.image == "pixelated", boxes=True)
            self.connection.publish(Message(self.topics / "image", picture, retain=False, qos=0))

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

    def _own(self) -> None:
        """Send everything that a new connection, or a new Home Assistant, needs; online comes last, so that no old state is believed."""
        with self._lock:
            self._announce(again=True)
            now_s, last = self._clock(), self._last
            state = [] if self._telemetry.blind or not last else self._telemetry.state(last, now_s, self.dropped, now=True)
            for message in state or [self._telemetry.blind_state(time.time())]:
                self.connection.publish(message)
            self._send_level(again=True)
            self._send_paused()
            self.connection.publish(Message(self.topics.status, ONLINE, retain=True))

    def _send_paused(self) -> None:
        self.connection.publish(Message(self.topics / "pause", b"ON" if self._paused.is_set() else b"OFF", retain=True))

    def _birth(self, _topic: str, payload: bytes, retained: bool) -> None:
        """Home Assistant was started, and knows no devices yet."""
        if payload == ONLINE and not retained and self._online:
            self._own()

    def _pause(self, _topic: str, payload: bytes, _retained: bool) -> None:
        if payload not in (b"ON", b"OFF") or not self._online:
            return
        with self._lock:
            if payload == b"ON":
                self._paused.set()
            else:
                self._paused.clear()
            if message := self._telemetry.camera("paused" if payload == b"ON" else "starting", time.time()):
                self.connection.publish(message)
            self._send_paused()

    def _set_privacy(self, _topic: str, payload: bytes, _retained: bool) -> None:
        if self._privacy and self._online:
            self._privacy.set_level(payload.decode())
            self._send_level(again=True)

    def _remove_former(self, topic: str, payload: bytes, _retained: bool) -> None:
        """Version 0.1 announced this device under another id."""
        if payload and msgspec.json.decode(payload).get("availability_topic") == self.topics.status:
            self.connection.publish(Message(topic, b"", retain=True))
