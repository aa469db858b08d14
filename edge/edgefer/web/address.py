"""The address on which a page is served."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """The address on which the server listens."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def elsewhere(self) -> str:
        """The address as other machines of the network write it."""
        return str(Address(f"{socket.gethostname()}.local", self.port) if self.host in ("0.0.0.0", "::") else self)

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
