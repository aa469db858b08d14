"""A window: the live picture with box and label, or "No Face Found"; q quits."""

from __future__ import annotations

import os
import sys

import cv2

from edgefer.errors import SinkError
from edgefer.output import QuitRun, Sink
from edgefer.overlay import annotate
from edgefer.spec import Spec
from edgefer.types import Observation


class Display(Sink):
    """A window with the live picture; q ends the run.

    Raises `SinkError` without a screen or with an OpenCV that has no windows.
    """

    forms = ("display:",)
    main_thread = True
    WINDOW = "edgefer"

    def __init__(self, spec: Spec) -> None:
        if "GUI:                           NONE" in cv2.getBuildInformation():
            raise SinkError(
                "display: this OpenCV has no windows (opencv-python-headless); "
                "'pip uninstall opencv-python-headless' then \"pip install 'opencv-python<5'\", or use --sink snapshots:DIR"
            )
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SinkError("display: no screen here (DISPLAY is not set); use --sink snapshots:DIR or --sink jsonl:-")
        try:
            cv2.namedWindow(self.WINDOW, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise SinkError(f"display: the window cannot be opened ({error.err}); use --sink snapshots:DIR") from None

    def write(self, observation: Observation) -> None:
        """Show it; raises `QuitRun` when q is pressed or the window is closed."""
        cv2.imshow(self.WINDOW, annotate(observation))
        pressed = cv2.waitKey(1) & 0xFF
        if pressed in (ord("q"), ord("Q")) or cv2.getWindowProperty(self.WINDOW, cv2.WND_PROP_VISIBLE) < 1:
            raise QuitRun

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
