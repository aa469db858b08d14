"""Times of frames from their presentation stamps."""

from __future__ import annotations

DRIFT = 1e-3
"""Part by which the clocks of a camera and of this machine may differ."""
RESET_S = 10.0
"""A jump of a live stream's stamps by more than this, or a frame later than this, starts a new reckoning."""


class FileTimes:
    """Seconds since a file's first frame; never the same twice and never going back.

    ``interval_s`` is the time between two frames of which the stamps say nothing: they are missing, repeated, or jump back.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._time_s: float | None = None
        self._stamp_s = self._offset_s = 0.0
        self._jumped = False

    def next_s(self, stamp_s: float) -> float:
        """The time of the next frame, whose stamp is ``stamp_s``."""
        step_s, self._stamp_s = stamp_s - self._stamp_s, stamp_s
        if self._time_s is None:
            self._offset_s, time_s = stamp_s, 0.0
        elif (time_s := stamp_s - self._offset_s) > self._time_s:
            self._jumped = False
        elif self._jumped and step_s > 0:
            # The second frame in a row that is too early: from the jump on, stamps count from another beginning.
            time_s = self._time_s + step_s
            self._offset_s, self._jumped = stamp_s - time_s, False
        else:
            time_s, self._jumped = self._time_s + self._interval_s, True
        self._time_s = time_s
        return time_s


class LiveTimes:
    """Seconds since 1970 at which a stream's frames were taken, apart from the least delay of the network.

    Frames arrive late and in bursts, and their stamps do not: the frame with the least delay says what the clocks differ by.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._stamp_s = self._time_s = 0.0

    def next_s(self, stamp_s: float | None, now_s: float) -> float:
        """The time of the next frame, which arrived at ``now_s``; that time itself where the stream has no stamps."""
        if stamp_s is None:
            return now_s
        step_s, self._stamp_s = stamp_s - self._stamp_s, stamp_s
        offset_s = now_s - stamp_s
        if self._offset_s is None or not 0 < step_s < RESET_S or offset_s - self._offset_s > RESET_S:
            self._offset_s = offset_s
        else:
            self._offset_s = min(offset_s, self._offset_s + DRIFT * step_s)
        time_s = stamp_s + self._offset_s
        # After a burst the offset is smaller, and the frame could come before the one before it.
        self._time_s = time_s if time_s > self._time_s or self._time_s - time_s > RESET_S else self._time_s + 0.001
        return self._time_s
