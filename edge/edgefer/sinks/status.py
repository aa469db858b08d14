"""What is seen right now, in words: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

from edgefer.settings import Table, checked
from edgefer.spec import Spec, without_path
from edgefer.types import CameraState, Observation


class Status:
    """``status:`` writes to standard error, which leaves standard output to data."""

    main_thread = False
    LIVE_EVERY_S, PLAIN_EVERY_S = 0.2, 10.0

    def __init__(self, spec: Spec) -> None:
        self.check(spec)
        self._live = sys.stderr.isatty()
        self._frames, self._since_s, self._shown = 0, time.monotonic(), ""

    @staticmethod
    def check(spec: Spec) -> None:
        """Raises `SettingsError` for a spec that could not be opened; opens nothing."""
        without_path(spec)
        checked(spec.options, Table, str(spec), strict=False)

    def write(self, observation: Observation) -> None:
        """Show a line when it is time for one; off a terminal also when what is seen changes, once a second."""
        self._frames += 1
        elapsed_s = time.monotonic() - self._since_s
        seen = ", ".join(f"#{face.track} {face.expression}" for face in observation.faces) or "no face"
        changed = seen != self._shown and elapsed_s >= 1.0
        if elapsed_s < (self.LIVE_EVERY_S if self._live else self.PLAIN_EVERY_S) and not (changed and not self._live):
            return
        rate = self._frames / elapsed_s
        self._frames, self._since_s, self._shown = 0, time.monotonic(), seen
        line = f"{rate:5.1f} frames/s  " + (_bars(observation) if observation.faces else "no face")
        if observation.frame.dropped:
            line += f"  ({observation.frame.dropped} dropped)"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{line[:width]}")
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def camera(self, state: CameraState) -> None:
        """Say what the camera is up to."""
        lead, end = ("\r\x1b[K", "") if self._live else ("", "\n")
        sys.stderr.write(f"{lead}camera: {state}{end}")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the live line standing and go to the next."""
        if self._live:
            self._live = False
            sys.stderr.write("\n")


def _bars(observation: Observation) -> str:
    """Each face with a ten-step bar of how sure it is."""
    faces = [
        f"#{face.track} {face.expression:9} {'█' * round(10 * face.score):░<10} {100 * face.score:3.0f}%" for face in observation.faces[:3]
    ]
    more = len(observation.faces) - len(faces)
    return "   ".join(faces) + (f"   +{more} more" if more else "")
