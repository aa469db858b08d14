"""What systemd is told of a service: ready, alive, and in words how it goes; the protocol is sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time

from edgefer.errors import SinkError
from edgefer.settings import Table, checked
from edgefer.spec import Spec, without_path
from edgefer.types import CameraState, Observation

_LOG = logging.getLogger(__name__)


class Systemd:
    """``systemd:``, which ``run`` adds by itself where systemd started it (``Type=notify``).

    The first processed frame makes the service ready, and processed frames alone feed the watchdog: a camera, a detector
    or a model that hangs starves it, and systemd starts the service again.
    """

    main_thread = True
    """Fed by the loop itself: behind a queue, the queue would be what is watched."""
    EVERY_S = 5.0

    def __init__(self, spec: Spec) -> None:
        without_path(spec)
        checked(spec.options, Table, str(spec), strict=False)
        self._address = _address()
        if not self._address:
            raise SinkError(f"{spec}: NOTIFY_SOCKET is not set: systemd did not start this as Type=notify; 'edgefer service install'")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(1.0)
        self._every_s = min(self.EVERY_S, _watchdog_s() / 4 or self.EVERY_S)
        self._frames, self._told_s, self._ready = 0, time.monotonic(), False
        self._tell("STATUS=waiting for the first frame")

    def write(self, observation: Observation) -> None:
        """Tell of a processed frame: of the first at once, then a few times in each watchdog period."""
        self._frames += 1
        elapsed_s = time.monotonic() - self._told_s
        if self._ready and elapsed_s < self._every_s:
            return
        seen = ", ".join(face.expression for face in observation.faces) or "no face"
        rate = f"{self._frames / elapsed_s:.1f} frames/s, " if self._ready else ""
        self._tell("WATCHDOG=1", f"STATUS={rate}{seen}", *([] if self._ready else ["READY=1"]))
        self._frames, self._told_s, self._ready = 0, time.monotonic(), True

    def camera(self, state: CameraState) -> None:
        """Tell what the camera is up to; this feeds no watchdog."""
        self._tell(f"STATUS={state}")

    def close(self) -> None:
        """Release the socket; safe to call twice. That the process ends is for `stopping` to say: a reload closes this too."""
        self._socket.close()

    def _tell(self, *lines: str) -> None:
        _send(self._socket, self._address, *lines)


def stopping() -> None:
    """Tell systemd, where it started this process, that it ends now."""
    if address := _address():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.settimeout(1.0)
            _send(notify, address, "STOPPING=1", "STATUS=stopping")


def _address() -> str:
    """Where systemd listens; empty where it does not. It writes a name in the abstract namespace with @ for its leading zero byte."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    return "\0" + address[1:] if address.startswith("@") else address


def _send(notify: socket.socket, address: str, *lines: str) -> None:
    try:
        notify.sendto("\n".join(lines).encode(), address)
    except OSError as error:  # untold is unfed: the watchdog is there for it
        _LOG.debug("systemd could not be told: %s", error)


def _watchdog_s() -> float:
    """Seconds without a frame after which systemd ends this process; 0: never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    period_us = os.environ.get("WATCHDOG_USEC", "")
    return int(period_us) / 1e6 if period_us.isdecimal() else 0.0
