"""The faces in the present frame, in words: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

from edgefer.output import Sink
from edgefer.spec import Spec
from edgefer.types import CameraState, Observation


class Status(Sink):
    """A live line on the terminal, or plain lines in a log; on standard error."""

    forms = ("status:",)
    LIVE_EVERY_S, PLAIN_EVERY_S = 0.2, 10.0

    def __init__(self, spec: Spec) -> None:
        self._live = sys.stderr.isatty()
        self._frames, self._since_s, self._shown = 0, time.monotonic(), ""

    def write(self, observation: Observation) -> None:
        """Show a line at fixed intervals; without a terminal also when the faces change, at most once a second."""
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
        """Show the camera's state."""
        lead, end = ("\r\x1b[K", "") if self._live else ("", "\n")
        sys.stderr.write(f"{lead}camera: {state}{end}")
        sys.stderr.flush()

    def close(self) -> None:
        """Keep the live line and go to the next."""
        if self._live:
            self._live = False
            sys.stderr.write("\n")


def _bars(observation: Observation) -> str:
    """Each face with its score as a bar of ten steps."""
    faces = [
        f"#{face.track} {face.expression:9} {'█' * round(10 * face.score):░<10} {100 * face.score:3.0f}%" for face in observation.faces[:3]
    ]
    more = len(observation.faces) - len(faces)
    return "   ".join(faces) + (f"   +{more} more" if more else "")
