"""What a live camera is up to: that it gives nothing, repeats itself or sees nothing is noticed, and said once."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2

from edgefer.errors import SourceError
from edgefer.types import CameraHow, CameraState, Pixels

NOTICED_S = 4.0
"""Seconds after which trouble is reported, long before the camera is given up."""
LOOK_S = 0.5
"""Seconds between looks at a picture."""

_CONTRAST = 12
"""Grey levels between the darkest and the brightest part of a picture that shows anything; the clips at hand have 145 and more."""


class Watch:
    """Follows a live camera by its pictures and their absence; one thread.

    Each change of state is given to ``tell``. Silence, or one and the same picture unless it ``repeats`` on purpose, that lasts for
    ``timeout_s`` raises `SourceError`; a picture without contrast may be the night, and raises nothing.
    """

    def __init__(
        self, name: str, repeats: bool, tell: Callable[[CameraState], None], timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._repeats, self._tell, self._timeout_s, self._clock = name, repeats, tell, timeout_s, clock
        self._still = Stillness()
        self._how: CameraHow = "live"
        self._came_s = self._looked_s = self._seen_s = self._trouble_s = clock()

    def came(self) -> None:
        """A picture came."""
        self._came_s = self._clock()

    def waits(self) -> None:
        """None came yet."""
        silent_s = self._clock() - self._came_s
        if silent_s > NOTICED_S:
            self._become("silent", silent_s)
        if silent_s > self._timeout_s:
            raise SourceError(f"{self._name}: no frame for {self._timeout_s:g} s; it hangs or was unplugged")

    def saw(self, luma: Pixels) -> None:
        """What came, (H, W) uint8."""
        now_s = self._clock()
        if now_s - self._looked_s < LOOK_S and self._how != "silent":
            return
        self._looked_s = now_s
        if contrast(luma) >= _CONTRAST:
            self._seen_s = now_s
        same_s = 0.0 if self._repeats else self._still.lasts_s(luma, now_s)
        if (blind_s := now_s - self._seen_s) > NOTICED_S:
            self._become("blocked", blind_s)
        elif same_s > NOTICED_S:
            self._become("frozen", same_s)
        else:
            self._become("live", 0.0)
        if same_s > self._timeout_s:
            raise SourceError(f"{self._name}: the same picture for {self._timeout_s:g} s; it hangs or was unplugged")

    def _become(self, how: CameraHow, for_s: float) -> None:
        if how == self._how:
            return
        if self._how == "live":
            self._trouble_s = self._clock() - for_s
        self._how = how
        self._tell(CameraState(how, for_s if how != "live" else self._clock() - self._trouble_s))


class Stillness:
    """Tells a camera that repeats its last picture, as some do when unplugged, by what never repeats: its sensor's noise."""

    def __init__(self) -> None:
        self._rows, self._since_s = b"", 0.0

    def begin(self, now_s: float) -> None:
        """Count from now on; the last picture stays the last."""
        self._since_s = now_s

    def lasts_s(self, luma: Pixels, now_s: float) -> float:
        """Seconds for which pictures, (H, W) uint8, have been the same in every sixteenth row."""
        rows = luma[::16].tobytes()
        # A lens cap or a black night repeats as well, and is no fault: a picture without contrast proves nothing.
        if rows != self._rows or int(luma.max()) - int(luma.min()) < 16:
            self._rows, self._since_s = rows, now_s
        return now_s - self._since_s


def contrast(luma: Pixels) -> int:
    """Grey levels between the darkest and the brightest of 16x12 parts of a picture, (H, W) uint8: noise averages out in them."""
    parts = cv2.resize(luma[::4], (16, 12), interpolation=cv2.INTER_AREA)
    return int(parts.max()) - int(parts.min())
