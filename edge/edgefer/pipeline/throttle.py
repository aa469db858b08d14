"""The throttle: limits the frame rate of a live source by the settings, a CPU budget and the heat of the board."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edgefer.machine import temperature_c, throttled
from edgefer.settings import ThrottleSettings

_LOG = logging.getLogger(__name__)

POLL_S = 10.0
"""Seconds between two readings of the temperature and of the firmware's throttle bits."""
HYSTERESIS_C = 5.0
"""A hot board is cool again at this many degrees below the limit."""
HOT_FACTOR = 2.0
"""While the board is hot, the time between frames is multiplied by this."""


def heat(limit_c: float, was_hot: bool) -> str:
    """Why the board counts as hot: its temperature or the firmware's throttle bits, as text; empty when it is not hot."""
    degrees = temperature_c()
    if degrees is not None and degrees >= (limit_c - HYSTERESIS_C if was_hot else limit_c):
        return f"{degrees:.0f} °C"
    return ", ".join(throttled(now_only=True))


class Throttle:
    """Computes the pause after every frame; clocks are arguments, so that tests need not wait.

    ``max_fps`` limits the frame rate, ``max_cpu_percent`` the CPU time of the process in per cent of one core, averaged over
    about a second. While the board is hot or throttled, the frame rate is halved.
    """

    def __init__(
        self,
        settings: ThrottleSettings,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        heat: Callable[[float, bool], str] = heat,
    ) -> None:
        self._settings, self._clock, self._cpu_clock, self._heat = settings, clock, cpu_clock, heat
        self._ended_s, self._cpu_s = clock(), cpu_clock()
        self._polled_s = float("-inf")
        self._debt_s = 0.0
        self.hot = ""
        """Why the frame rate is halved; empty while it is not."""

    def pause_s(self) -> float:
        """Seconds to pause after the frame that was just processed."""
        now_s, cpu_s = self._clock(), self._cpu_clock()
        took_s, used_s = now_s - self._ended_s, cpu_s - self._cpu_s
        wanted_s = 1 / self._settings.max_fps if self._settings.max_fps else 0.0
        if self._settings.max_cpu_percent:
            # The budget is balanced over frames: one whole search may use what ten other frames saved.
            self._debt_s = min(1.0, max(-1.0, self._debt_s + used_s / (self._settings.max_cpu_percent / 100) - took_s))
            wanted_s = max(wanted_s, took_s + self._debt_s)
        self._poll(now_s)
        if self.hot:
            wanted_s = HOT_FACTOR * max(wanted_s, took_s)
        pause = max(0.0, wanted_s - took_s)
        self._debt_s -= pause if self._settings.max_cpu_percent else 0.0
        self._ended_s, self._cpu_s = now_s + pause, cpu_s
        return pause

    def _poll(self, now_s: float) -> None:
        if not self._settings.hot_c or now_s - self._polled_s < POLL_S:
            return
        self._polled_s = now_s
        hot = self._heat(self._settings.hot_c, bool(self.hot))
        if hot and not self.hot:
            _LOG.warning("board is hot (%s): half the frame rate", hot)
        elif self.hot and not hot:
            _LOG.warning("board is cool again: full frame rate")
        self.hot = hot
