"""The service manager's end of NOTIFY_SOCKET."""

from __future__ import annotations

import socket

Message = dict[str, str]


class Listener:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hear(self, within_s: float = 30.0) -> Message:
        """The next message; raises TimeoutError when none comes."""
        self._socket.settimeout(within_s)
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def waiting(self) -> list[Message]:
        """The messages that came so far."""
        found = []
        while True:
            try:
                found.append(self.hear(within_s=1e-6))
            except (TimeoutError, BlockingIOError):
                return found

    def close(self) -> None:
        self._socket.close()
