"""Whether anything grows: a million drawn frames through the whole program with every sink, its memory, files and threads written down.

    python tests/benchmarks/memory.py [FRAMES [CHART.png]]      default: 1000000; needs Mosquitto, web, mqtt, matplotlib

What runs is the verb ``run`` (`edgefer.cli.daemon.run`) with jsonl, snapshots, history, status, web and MQTT; no sink may lose an
observation, so every frame goes through all of them. The frames are a loop of one second, drawn once, so that the program's own
memory is measured and not the drawing's. With each sample the web page's state, metrics and picture are fetched. Ctrl-C ends it
early, and what was reached is reported.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from mosquitto import Mosquitto, free_port

from edgefer import builtin
from edgefer.cli import daemon
from edgefer.cli.terminal import on_stop_signal
from edgefer.settings import Settings
from edgefer.sources import Source, open_source
from edgefer.spec import Spec
from edgefer.types import Frame

FPS, LOOKS = 30, 500
"""Frames a second of the clip's own time; how many times is looked."""
WARM_UP = 0.2
"""The share of the frames reached after which nothing may grow."""


class Grown(Source):
    """``__main__:Grown``, a source: the clip again and again, and a look at this process now and then."""

    forms, description = ("grown:",), "one drawn second for ever"
    frames: ClassVar[int] = 0
    web: ClassVar[str] = ""
    seen: ClassVar[list[tuple[int, float, int, int]]] = []
    """Frames so far, resident 10^6 bytes, open file descriptors, threads."""

    def __init__(self, spec: Spec) -> None:
        source = open_source(f"synthetic:?paced=false&size=160x120&fps={FPS}")
        second = [frame for frame in itertools.islice(source, FPS)]
        # There and back, so that nothing jumps where the second begins again.
        self._clip = [(frame.luma.copy(), frame.bgr) for frame in second + second[-2:0:-1]]

    def __iter__(self) -> Iterator[Frame]:
        begun_s, every = time.time() - self.frames / FPS, max(1, self.frames // LOOKS)
        for index, (luma, bgr) in enumerate(itertools.islice(itertools.cycle(self._clip), self.frames)):
            if index % every == 0 and index:
                self.look(index)
            yield Frame(index, begun_s + index / FPS, luma, bgr)

    def look(self, index: int) -> None:
        for route in ("api/state", "metrics", "api/picture"):
            urllib.request.urlopen(f"{self.web}/{route}", timeout=60).read()
        self.seen.append((index, resident_mb(), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))
        print(f"{index:8} frames {self.seen[-1][1]:7.2f} MB {self.seen[-1][2]:4} files {self.seen[-1][3]:3} threads", flush=True)

    def close(self) -> None: ...


def resident_mb() -> float:
    """Resident memory of this process now, in 10^6 bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


def span(found: np.ndarray) -> str:
    """The least and the most."""
    return f"{found.min():.0f} to {found.max():.0f}"


def draw(seen: np.ndarray, slope: float, path: Path) -> None:
    """Memory, files and threads over the frames."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    left.plot(seen[:, 0] / 1000, seen[:, 1])
    left.set(title=f"resident memory: {slope:+.2f} MB in 100,000 frames", ylabel="MB", ylim=(0, 1.2 * seen[:, 1].max()))
    for column, name in ((2, "file descriptors"), (3, "threads")):
        right.plot(seen[:, 0] / 1000, seen[:, column], label=name)
    right.set(title="files and threads", ylim=(0, 1.2 * seen[:, 2:].max()))
    right.legend()
    for axes in (left, right):
        axes.set(xlabel="thousand frames, all sinks")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Run and report."""
    cv2.setNumThreads(1)
    Grown.frames = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    builtin.SOURCES["grown:"] = "__main__:Grown"
    with tempfile.TemporaryDirectory() as folder:
        broker, port, place = Mosquitto(Path(folder)), free_port(), Path(folder)
        Grown.web = f"http://127.0.0.1:{port}"
        sinks = [f"jsonl:{place}/seen.jsonl", f"snapshots:{place}/pictures?keep=100", f"history:{place}/history.db", "status:"]
        sinks += [Grown.web, f"mqtt://127.0.0.1:{broker.port}/home/desk"]
        stop = threading.Event()
        on_stop_signal(stop.set)
        failed = daemon.run(Settings(source="grown:", sinks=sinks), stop, lambda line: print(line, flush=True))
        broker.stop()
    seen = np.array(Grown.seen)
    later = seen[seen[:, 0] >= WARM_UP * seen[-1, 0]]
    slope = float(np.polyfit(later[:, 0], later[:, 1], 1)[0] * 100_000)
    print(
        f"{seen[-1, 0]:.0f} frames; after the first {WARM_UP:.0%}: {slope:+.2f} MB in 100,000 frames, peak {seen[:, 1].max():.1f} MB, ",
        end="",
    )
    print(f"files {span(later[:, 2])}, threads {span(later[:, 3])}; outputs {'FAILED' if failed else 'lost nothing'}")
    if len(sys.argv) > 2:
        draw(seen, slope, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
