"""How soon a camera's trouble is noticed, and how soon the daemon works again once it is over: a table.

    python tests/benchmarks/faults.py [SECONDS]      SECONDS each fault lasts; default: 15

What runs is `edgefer run` on a real MJPEG camera of this machine (`tests/faults.py`), started again 5 s after it ended, as
the unit has it. Noticed: from the fault to its line in the JSON lines. Back: from its end to the first processed frame.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import Camera
from notify import Listener

from edgefer.sources.synthetic import Scene, SyntheticOptions

RESTART_S = 5.0
"""The unit's RestartSec."""

FAULTS = {
    "hang": "silence on an open line",
    "repeat": "one picture again and again",
    "black": "a covered lens, with a sensor's noise",
    "garbage": "bytes that are no picture",
    "wrong size": "640x480 instead of 320x240",
    "slow": "one picture a second",
    "end": "hangs up on every connection",
    "gone": "nobody listens any more",
}


class Daemon:
    """Keeps `edgefer run` running, as systemd does, and reads what it says as it comes."""

    def __init__(self, source: str, folder: Path) -> None:
        self.ended, self.frames_s, self.said = 0, list[float](), list[tuple[float, str, float]]()
        self._over, self._process, self._folder = threading.Event(), None, folder
        self._command = [sys.executable, "-m", "edgefer", "run", "--source", source, "--sink", "jsonl:-"]
        self.listener = Listener(str(folder / "notify"))
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    _process: subprocess.Popen[bytes] | None

    def _keep(self) -> None:
        environment = {**os.environ, "NOTIFY_SOCKET": str(self._folder / "notify"), "WATCHDOG_USEC": "30000000"}
        with (self._folder / "log").open("w") as log:
            while not self._over.is_set():
                with subprocess.Popen(
                    self._command, cwd=self._folder, env=environment, stdout=subprocess.PIPE, stderr=log
                ) as self._process:
                    assert self._process.stdout
                    for line in self._process.stdout:
                        self._read(json.loads(line))
                if not self._over.is_set():
                    self.ended += 1
                    self._over.wait(RESTART_S)

    def _read(self, line: dict[str, object]) -> None:
        now_s = time.monotonic()
        if "camera" in line:
            self.said.append((now_s, str(line["camera"]), float(str(line["for_s"]))))
        else:
            self.frames_s.append(now_s)

    def frame_after(self, since_s: float, within_s: float) -> float | None:
        """When the first frame after ``since_s`` was processed; None where none was in time."""
        while time.monotonic() < since_s + within_s:
            if self.frames_s and self.frames_s[-1] > since_s:
                return next(at for at in self.frames_s if at > since_s)
            time.sleep(0.02)
        return None

    def close(self) -> None:
        """End it for good."""
        self._over.set()
        if self._process:
            self._process.terminate()
        self._thread.join()
        self.listener.close()


def main() -> int:
    """Every fault in turn; 1 where one was noticed after 5 s, or the daemon was not back within 15."""
    lasts_s = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    scene, bad = Scene(SyntheticOptions(size="320x240")), 0
    camera = Camera(scene)
    camera.connections = [camera.follows]
    print(
        f"| fault, for {lasts_s:g} s | noticed after | said | frames meanwhile | process ended | back after |\n|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(camera.address, Path(folder))
        try:
            for fault, what in FAULTS.items():
                if daemon.frame_after(time.monotonic(), 60) is None:
                    print(f"no frame within a minute, before {fault!r}:\n{(Path(folder) / 'log').read_text()}")
                    return 1
                time.sleep(2)
                begun_s, ended, spoken = time.monotonic(), daemon.ended, len(daemon.said)
                camera = gone(camera) if fault == "gone" else camera
                camera.fault = fault
                time.sleep(lasts_s)
                camera = Camera(scene, camera.port) if fault == "gone" else camera
                camera.connections = [camera.follows]
                over_s, camera.fault = time.monotonic(), ""
                back_s = daemon.frame_after(over_s, 60)
                time.sleep(1)
                said = [(at - begun_s, how) for at, how, _ in daemon.said[spoken:] if how != "live"]
                meanwhile = sum(begun_s + 1 < at < over_s for at in daemon.frames_s)
                noticed = f"{said[0][0]:.1f} s | {said[0][1]}" if said else "- | -"
                back = "never" if back_s is None else f"{back_s - over_s:.1f} s"
                print(f"| {fault}: {what} | {noticed} | {meanwhile} | {daemon.ended - ended} times | {back} |", flush=True)
                bad += back_s is None or back_s - over_s > 15 or bool(said and said[0][0] > 5)
        finally:
            daemon.close()
            camera.stop()
    return int(bad > 0)


def gone(camera: Camera) -> Camera:
    """The same, stopped."""
    camera.stop()
    return camera


if __name__ == "__main__":
    sys.exit(main())
