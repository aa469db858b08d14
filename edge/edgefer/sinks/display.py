"""A window: the live picture with box and label, or "No Face Found"; q quits."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Protocol

import cv2

from edgefer.errors import SinkError
from edgefer.output import QuitRun, Sink
from edgefer.overlay import annotate
from edgefer.spec import Spec
from edgefer.types import Observation, Pixels

TITLE = "edgefer"


class Window(Protocol):
    """A window on the screen."""

    def show(self, bgr: Pixels) -> bool:
        """Show a picture, (H, W, 3) uint8; whether the window stays open: not after q, or if it was closed."""

    def close(self) -> None:
        """Close it."""


class Display(Sink):
    """A window with the live picture; q ends the run. Drawn by OpenCV, or by Tk where OpenCV has no windows.

    Raises `SinkError` without a screen, or where neither of them can open a window.
    """

    forms = ("display:",)
    main_thread = True

    def __init__(self, spec: Spec) -> None:
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SinkError("display: no screen here (DISPLAY is not set); use --sink snapshots:DIR or --sink jsonl:-")
        self._window: Window = TkWindow() if "GUI:                           NONE" in cv2.getBuildInformation() else OpenCvWindow()

    def write(self, observation: Observation) -> None:
        """Show it; raises `QuitRun` when q is pressed or the window is closed."""
        if not self._window.show(annotate(observation)):
            raise QuitRun

    def close(self) -> None:
        """Close the window."""
        self._window.close()


class OpenCvWindow:
    """A window of OpenCV's."""

    def __init__(self) -> None:
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise SinkError(f"display: the window cannot be opened ({error.err}); use --sink snapshots:DIR") from None

    def show(self, bgr: Pixels) -> bool:
        """Show a picture; whether the window stays open."""
        cv2.imshow(TITLE, bgr)
        pressed = cv2.waitKey(1) & 0xFF
        return pressed not in (ord("q"), ord("Q")) and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close it."""
        cv2.destroyAllWindows()


class TkWindow:
    """A window of Tk, which belongs to Python: pip's headless OpenCV has none."""

    def __init__(self) -> None:
        try:
            self._tk: Any = importlib.import_module("tkinter")
        except ImportError:
            pip = f"{sys.executable} -m pip"
            raise SinkError(
                "display: OpenCV has no windows here (opencv-python-headless), and this Python has no tkinter. Install one: "
                f"'sudo apt install python3-tk' for Debian's Python, or '{pip} uninstall -y opencv-python-headless && "
                f'{pip} install "opencv-python<5"\'; or use --sink snapshots:DIR'
            ) from None
        try:
            self._root = self._tk.Tk(className=TITLE)
        except self._tk.TclError as error:
            raise SinkError(f"display: the window cannot be opened ({error}); use --sink snapshots:DIR") from None
        self._open = True
        self._root.title(TITLE)
        self._root.protocol("WM_DELETE_WINDOW", self._quit)
        for key in ("q", "Q"):
            self._root.bind(f"<Key-{key}>", self._quit)
        self._label = self._tk.Label(self._root, borderwidth=0)
        self._label.pack()

    def _quit(self, *_: object) -> None:
        self._open = False

    def show(self, bgr: Pixels) -> bool:
        """Show a picture; whether the window stays open."""
        height, width = bgr.shape[:2]
        # PPM is the format without compression that Tk reads.
        content = b"P6 %d %d 255\n" % (width, height) + cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).tobytes()
        self._image = self._tk.PhotoImage(master=self._root, data=content, format="PPM")
        self._label.configure(image=self._image)
        self._root.update()
        return self._open

    def close(self) -> None:
        """Close it; safe to call twice."""
        root, self._root = self._root, None
        if root is not None:
            root.destroy()
