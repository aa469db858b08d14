"""The address of an MQTT broker: ``mqtt[s]://host[:port]/path?option=value``."""

from __future__ import annotations

import hashlib
import re
import socket
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from edgefer.errors import SettingsError
from edgefer.machine import machine_id
from edgefer.redact import redact_url

DEFAULT_BASE = "edgefer"
"""First level of the topics where the address has no path."""
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
"""A host name, an IPv4 or an IPv6 address."""
_LEVEL = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address."""

    host: str
    port: int
    tls: bool
    path: tuple[str, ...]
    """The levels of the topic; the last one may be any name."""
    options: Mapping[str, str]

    @property
    def name(self) -> str:
        """The address without topic and options, for messages."""
        return f"mqtt{'s' * self.tls}://{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The parts of an address; raises `SettingsError`, which repeats no password."""
    # An @ anywhere is refused: a password may hold characters that end the host part of a URL.
    if "@" in text:
        raise SettingsError(
            "mqtt: an address may hold no user and password, since every process can read it; write user:password into a "
            "file that only you can read and add ?login=FILE (an @ in a file's name is %40)"
        )
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise SettingsError(
            f"{redact_url(text)}: the port is no number from 1 to 65535, or a [ has no ]; write mqtt://host:1883/base/node"
        ) from None
    host = url.hostname or ""
    if url.scheme not in ("mqtt", "mqtts") or not _HOST.fullmatch(host):
        raise SettingsError(f"{redact_url(text)}: not a broker's address; write mqtt://host/base/node, or mqtts:// for TLS")
    path = tuple(unquote(level) for level in url.path.split("/") if level)
    for level in path[:-1]:
        check_level(level, text)
    tls = url.scheme == "mqtts"
    return Address(host, port or (8883 if tls else 1883), tls, path, dict(parse_qsl(url.query, keep_blank_values=True)))


def check_level(level: str, text: str) -> None:
    """Raises `SettingsError` for a level that cannot be part of a topic in the address ``text``."""
    if not _LEVEL.fullmatch(level):
        raise SettingsError(f"{redact_url(text)}: {level!r} cannot be part of a topic: letters, digits, _ and - only, at most 64")


def is_level(text: str) -> bool:
    """Whether a text can be a level of a topic as it is."""
    return bool(_LEVEL.fullmatch(text))


def node_of(name: str) -> str:
    """The level of a topic for a name in any script: ``Living Room`` becomes ``living_room``; empty where no letter is left."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = [letter for letter in plain if not unicodedata.combining(letter)]
    node = re.sub(r"[^a-z0-9]+", "_", "".join(letter if letter.isascii() else "_" for letter in letters)).strip("_")[:48]
    if all(letter.isascii() or not letter.isalnum() for letter in letters):
        return node
    return f"{node}_{hashlib.sha256(name.encode()).hexdigest()[:6]}".strip("_")


def host_name() -> str:
    """This machine's name, in characters that a topic may hold."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname().partition(".")[0]).strip("-")[:64] or "edgefer"


def default_node() -> str:
    """The node where the address names none: the machine's name, and a part of its id, since every new Pi is ``raspberrypi``."""
    return f"{host_name()[:59]}-{machine_id()[:4]}"
