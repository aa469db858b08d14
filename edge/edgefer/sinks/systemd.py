"""Messages to systemd about the service: ready, alive, and a status in words; the protocol is sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time

from edgefer.errors import SinkError
from edgefer.output import Sink
from edgefer.spec import Spec
from edgefer.types import CameraState, Observation

_LOG = logging.getLogger(__name__)


class Systemd(Sink):
    """Messages to systemd; ``run`` adds this sink by itself if systemd started it (``Type=notify``).

    The first processed frame makes the service ready, and processed frames feed the watchdog: if a camera, a detector or a model
    hangs, the watchdog is not fed, and systemd restarts the service. A source that may pause feeds it while it is idle.
    """

    forms = ("systemd:",)
    main_thread = True
    """The loop itself feeds the watchdog: behind a queue, only the queue would be supervised."""
    EVERY_S = 5.0

    def __init__(self, spec: Spec) -> None:
        self._address = _address()
        if not self._address:
            raise SinkError(f"{spec}: NOTIFY_SOCKET is not set: systemd did not start this as Type=notify; 'edgefer service install'")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(1.0)
        self._every_s = min(self.EVERY_S, _watchdog_s() / 4 or self.EVERY_S)
        self._frames, self._sent_s, self._ready = 0, time.monotonic(), False
        self._send("STATUS=waiting for the first frame")

    def write(self, observation: Observation) -> None:
        """Report a processed frame: the first at once, then a few in each watchdog period."""
        self._frames += 1
        seen = ", ".join(face.expression for face in observation.faces) or "no face"
        self._alive(seen)

    def idle(self) -> None:
        """Report that the source pauses, as often as frames."""
        self._alive("waiting for the next frame")

    def _alive(self, status: str) -> None:
        elapsed_s = time.monotonic() - self._sent_s
        if self._ready and elapsed_s < self._every_s:
            return
        rate = f"{self._frames / elapsed_s:.1f} frames/s, " if self._ready and self._frames else ""
        self._send("WATCHDOG=1", f"STATUS={rate}{status}", *([] if self._ready else ["READY=1"]))
        self._frames, self._sent_s, self._ready = 0, time.monotonic(), True

    def camera(self, state: CameraState) -> None:
        """Report the camera's state; this feeds no watchdog."""
        self._send(f"STATUS={state}")

    def close(self) -> None:
        """Release the socket; safe to call twice. The end of the process is reported by `stopping`: a reload closes this too."""
        self._socket.close()

    def _send(self, *lines: str) -> None:
        _notify(self._socket, self._address, *lines)


def stopping() -> None:
    """Report the end of this process, if systemd started it."""
    if address := _address():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.settimeout(1.0)
            _notify(notify, address, "STOPPING=1", "STATUS=stopping")


def _address() -> str:
    """The socket of systemd; empty if there is none. A name in the abstract namespace has @ for its leading zero byte."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    return "\0" + address[1:] if address.startswith("@") else address


def _notify(notify: socket.socket, address: str, *lines: str) -> None:
    try:
        notify.sendto("\n".join(lines).encode(), address)
    except OSError as error:  # a lost message feeds no watchdog, which then restarts the service
        _LOG.debug("systemd: a message was not sent: %s", error)


def _watchdog_s() -> float:
    """Seconds without a frame after which systemd ends this process; 0: never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    period_us = os.environ.get("WATCHDOG_USEC", "")
    return int(period_us) / 1e6 if period_us.isdecimal() else 0.0
