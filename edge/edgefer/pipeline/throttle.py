"""How fast a live source is worked through: as fast as the settings, the CPU budget and the heat allow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edgefer.machine import temperature_c, throttled
from edgefer.settings import PaceSettings

_LOG = logging.getLogger(__name__)

LOOK_S = 10.0
"""Seconds between looks at the temperature and the firmware's throttle bits."""
COOL_BY_C = 5.0
"""Degrees under the limit at which the full pace comes back: without a gap it would flap."""
SLOWED = 2.0
"""How many times longer a frame may take while the board is hot."""


def board_is_hot(limit_c: float, was_hot: bool) -> str:
    """Why the board should be spared, in words; empty where it need not be."""
    degrees = temperature_c()
    if degrees is not None and degrees >= (limit_c - COOL_BY_C if was_hot else limit_c):
        return f"{degrees:.0f} °C"
    return ", ".join(throttled(now_only=True))


class Pace:
    """Says after every frame how long to pause; clocks are arguments, so that tests need not wait.

    The frame rate is bounded by ``max_fps``, the process's CPU time by ``max_cpu_percent`` of one core, averaged over
    a second or so; while the board is hot or throttled, frames come half as often.
    """

    def __init__(
        self,
        how: PaceSettings,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        hot: Callable[[float, bool], str] = board_is_hot,
    ) -> None:
        self._how, self._clock, self._cpu_clock, self._hot = how, clock, cpu_clock, hot
        self._ended_s, self._cpu_s = clock(), cpu_clock()
        self._looked_s = float("-inf")
        self._debt_s = 0.0
        self.slowed = ""
        """Why frames come half as often; empty while they do not."""

    def pause_s(self) -> float:
        """Seconds to pause after the frame that has just been worked through."""
        now_s, cpu_s = self._clock(), self._cpu_clock()
        took_s, used_s = now_s - self._ended_s, cpu_s - self._cpu_s
        wanted_s = 1 / self._how.max_fps if self._how.max_fps else 0.0
        if self._how.max_cpu_percent:
            # Budgets are balanced over frames: one that is searched whole may take what ten others saved.
            self._debt_s = min(1.0, max(-1.0, self._debt_s + used_s / (self._how.max_cpu_percent / 100) - took_s))
            wanted_s = max(wanted_s, took_s + self._debt_s)
        self._look(now_s)
        if self.slowed:
            wanted_s = SLOWED * max(wanted_s, took_s)
        pause = max(0.0, wanted_s - took_s)
        self._debt_s -= pause if self._how.max_cpu_percent else 0.0
        self._ended_s, self._cpu_s = now_s + pause, cpu_s
        return pause

    def _look(self, now_s: float) -> None:
        if not self._how.hot_c or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        why = self._hot(self._how.hot_c, bool(self.slowed))
        if bool(why) != bool(self.slowed):
            _LOG.warning("board is hot (%s): half the pace", why) if why else _LOG.warning("board is cool again: full pace")
        self.slowed = why
