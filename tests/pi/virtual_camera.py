"""edgefer's command line with libcamera's virtual camera in the place of a sensor: ``python virtual_camera.py run --source picamera:``

picamera2 and libcamera are the real ones. Bridged is only what a Pi has and the virtual camera lacks: a preview library, raw modes,
one-plane buffers, and a sensor's pace. ``VIRTUAL_FPS`` is that pace; after ``VIRTUAL_FRAMES`` frames the camera hangs.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import types
import weakref
from typing import Any


class Sensor:
    """A libcamera camera that is handed a request only when a sensor would have its next frame ready."""

    def __init__(self, camera: Any, fps: float, frames: int) -> None:
        self.inner, self._period_s, self._left = camera, 1 / fps, frames
        self._requests: queue.Queue[tuple[int, Any] | None] = queue.Queue()
        self._run, self._lock = 0, threading.Lock()
        threading.Thread(target=self._deliver, daemon=True, name="sensor").start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.inner == getattr(other, "inner", other))

    __hash__ = None  # type: ignore[assignment]

    def queue_request(self, request: Any) -> None:
        self._requests.put((self._run, request))

    def stop(self) -> Any:
        with self._lock:  # what was queued before belongs to a run that is over
            self._run += 1
            return self.inner.stop()

    def release(self) -> Any:
        self._requests.put(None)
        return self.inner.release()

    def _deliver(self) -> None:
        due_s = time.monotonic()
        while item := self._requests.get():
            due_s = max(due_s + self._period_s, time.monotonic())
            time.sleep(max(0.0, due_s - time.monotonic()))
            with self._lock:
                if item[0] == self._run and self._left:
                    self._left -= 1
                    self.inner.queue_request(item[1])


class Anything(type):
    """A class of which every attribute is its own name."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


def stand_in(name: str, **classes: type) -> None:
    """An empty module for one that a desktop cannot install and that is not used here."""
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []  # type: ignore[attr-defined]
    for key, value in classes.items():
        setattr(module, key, value)


def bridge(fps: float, frames: int) -> None:
    """Let picamera2 open the virtual camera."""
    for name in ("pykms", "kms"):  # a preview on a screen
        stand_in(name, PixelFormat=Anything("PixelFormat", (), {}), PixelFormats=Anything("PixelFormats", (), {}))
    stand_in("pidng")  # raw photographs
    stand_in("pidng.camdefs", Picamera2Camera=type("Picamera2Camera", (), {}))
    stand_in("pidng.core", PICAM2DNG=type("PICAM2DNG", (), {}))
    import libcamera
    from picamera2 import picamera2 as module
    from picamera2.allocators import LibcameraAllocator

    def modes(self: Any) -> list[dict[str, object]]:
        formats = self.camera.generate_configuration([libcamera.StreamRole.Viewfinder]).at(0).formats
        return [{"format": str(kind), "size": (s.width, s.height)} for kind in formats.pixel_formats for s in formats.sizes(kind)]

    class Allocator(LibcameraAllocator):
        def __init__(self, owner: Any = None) -> None:
            super().__init__(None)
            self.owner = owner

        def allocate(self, configuration: Any, use_case: Any) -> None:
            camera = self.owner().camera
            self.camera = getattr(camera, "inner", camera)
            super().allocate(configuration, use_case)

    opened = module.Picamera2.__init__

    def open_virtual(self: Any, camera_num: int = 0, *arguments: Any, **more: Any) -> None:
        opened(self, camera_num, *arguments, allocator=Allocator(weakref.ref(self)), **more)
        self.camera = Sensor(self.camera, fps, frames)

    module.Picamera2._get_raw_modes = modes
    module.Picamera2.__init__ = open_virtual
    module.DmaAllocator = Allocator  # close() makes one to throw away


if __name__ == "__main__":
    bridge(float(os.environ.get("VIRTUAL_FPS", "30")), int(os.environ.get("VIRTUAL_FRAMES", "-1")))
    from edgefer.cli.main import main

    sys.exit(main(sys.argv[1:]))
