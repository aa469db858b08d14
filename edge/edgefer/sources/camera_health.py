"""The health of a live camera: silence, a frozen picture or a blocked view is noticed, and reported once."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2

from edgefer.errors import SourceError
from edgefer.types import CameraHow, CameraState, Pixels

NOTICED_S = 4.0
"""Seconds after which a fault is reported, long before the camera is given up."""
CHECK_S = 0.5
"""Seconds between two pictures that are checked."""

_CONTRAST = 12
"""Least number of grey levels between the darkest and the brightest part of a picture that shows anything; clips have 145 and more."""


class CameraHealth:
    """The state of a live camera, from its pictures and the time between them; one thread.

    ``report`` is called at each change of state. If there is no picture for ``timeout_s``, or the same one unless the camera
    ``repeats`` on purpose, `SourceError` is raised. A picture without contrast may be the night, and raises nothing.
    """

    def __init__(
        self, name: str, repeats: bool, report: Callable[[CameraState], None], timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._repeats, self._report, self._timeout_s, self._clock = name, repeats, report, timeout_s, clock
        self._stillness = Stillness()
        self._how: CameraHow = "live"
        self._received_s = self._checked_s = self._contrast_s = self._fault_s = clock()

    def received(self) -> None:
        """A picture was received."""
        self._received_s = self._clock()

    def waiting(self) -> None:
        """No picture was received yet."""
        silent_s = self._clock() - self._received_s
        if silent_s > NOTICED_S:
            self._become("silent", silent_s)
        if silent_s > self._timeout_s:
            raise SourceError(f"{self._name}: no frame for {self._timeout_s:g} s; it hangs or was unplugged")

    def check(self, luma: Pixels) -> None:
        """The picture, (H, W) uint8."""
        now_s = self._clock()
        if now_s - self._checked_s < CHECK_S and self._how != "silent":
            return
        self._checked_s = now_s
        if contrast(luma) >= _CONTRAST:
            self._contrast_s = now_s
        same_s = 0.0 if self._repeats else self._stillness.lasts_s(luma, now_s)
        if (blind_s := now_s - self._contrast_s) > NOTICED_S:
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
            self._fault_s = self._clock() - for_s
        self._how = how
        self._report(CameraState(how, for_s if how != "live" else self._clock() - self._fault_s))


class Stillness:
    """Recognises a camera that repeats its last picture, as some do when unplugged: the noise of a working sensor never repeats."""

    def __init__(self) -> None:
        self._rows, self._since_s = b"", 0.0

    def begin(self, now_s: float) -> None:
        """Count from now on; the last picture stays the last."""
        self._since_s = now_s

    def lasts_s(self, luma: Pixels, now_s: float) -> float:
        """Seconds for which pictures, (H, W) uint8, have been the same in every sixteenth row."""
        rows = luma[::16].tobytes()
        # A lens cap or a dark night repeats as well, and is no fault: a picture without contrast proves nothing.
        if rows != self._rows or int(luma.max()) - int(luma.min()) < 16:
            self._rows, self._since_s = rows, now_s
        return now_s - self._since_s


def contrast(luma: Pixels) -> int:
    """Grey levels between the darkest and the brightest of 16x12 parts of a picture, (H, W) uint8; noise averages out."""
    parts = cv2.resize(luma[::4], (16, 12), interpolation=cv2.INTER_AREA)
    return int(parts.max()) - int(parts.min())
