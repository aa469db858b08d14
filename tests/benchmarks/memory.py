"""Whether memory stays flat: drawn frames through the whole loop, with its resident memory written down now and then.

    python tests/benchmarks/memory.py [FRAMES]      default: 200000

Prints the memory in 10^6 bytes and the slope after the first tenth; the frames are a loop of one second, drawn once, so that the loop's own
memory is seen and not the drawing's.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import cv2
import numpy as np

from edge.pipeline import open_pipeline
from edge.settings import Settings
from edge.sources import open_source
from edge.types import Frame

FPS = 30


def resident_mb() -> float:
    """Resident memory of this process now, in 10^6 bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


def main() -> None:
    """Run and report."""
    cv2.setNumThreads(1)
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    source = open_source(f"synthetic:?paced=false&size=640x480&faces=2&fps={FPS}")
    second = [frame.luma.copy() for frame in itertools.islice(source, FPS)]
    # There and back, so that nothing jumps where the second begins again.
    second += second[-2:0:-1]
    pipeline, seen = open_pipeline(Settings()), []
    for index, luma in enumerate(itertools.islice(itertools.cycle(second), frames)):
        pipeline.process(Frame(index, index / FPS, luma))
        if index % max(1, frames // 20) == 0:
            seen.append((index, resident_mb()))
            print(f"{index:8} frames {seen[-1][1]:7.1f} MB", flush=True)
    later = np.array([point for point in seen if point[0] >= frames / 10])
    slope = np.polyfit(later[:, 0], later[:, 1], 1)[0] * 100_000
    print(f"slope after the first tenth: {slope:+.2f} MB in 100,000 frames; peak {max(mb for _, mb in seen):.1f} MB")


if __name__ == "__main__":
    main()
