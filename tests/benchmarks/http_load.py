"""Whether readers of the web page can hurt: frames a second and memory of the daemon, quiet and under four kinds of load, in one run.

    python tests/benchmarks/http_load.py [--seconds 60] [--rounds 3] [--fps 15]      needs the extra web

The daemon is the verb ``run`` in a process of its own, with drawn faces at a rate this machine must be able to hold, the page on a free
port of 127.0.0.1, and JSON lines that are counted here: what the page says of itself is not asked. The load comes from another process, at
nice 19:

    slow       200 readers of events and pictures that take 100 bytes a second, with a small window
    half-open  200 connections that send half a request and then nothing
    requests   as many as 1,000 requests a second over 50 connections, a mix of what a page, a script and Prometheus ask for
    visitors   the same, but each request on a connection of its own

Who is turned away or let go comes again after a tenth of a second. Each stretch of load stands between two quiet ones half as long; a
kind's ratio is its frames a second by the mean of the quiet ones around it, the median over the rounds. Exit status 1: a ratio below 0.9,
or memory that grew by more than 40 MB over the quiet beginning, in which nobody has looked at the page yet.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

READERS, CONNECTIONS, RATE = 200, 50, 1000
AGAIN_S = 0.1
PATHS = ("/api/state", "/api/picture", "/api/picture?boxes=true", "/api/history", "/metrics", "/", "/page.js", "/healthz")
LEAST_RATIO, MOST_GROWTH_MB = 0.9, 40.0
WARM_UP_S = 5.0


@dataclass
class Said:
    """What a load met with: answers by status, connections turned away or let go, seconds each answer took."""

    sent: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)


def request(path: str, *, keep: bool = True) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()


async def slow(port: int, number: int, said: Said) -> None:
    """A reader of a stream, or of one picture after another, that takes 100 bytes a second."""
    asked = request("/api/events") if number % 2 else request("/api/picture?boxes=true") * 16
    while True:
        with socket.socket() as reader, suppress(OSError):
            reader.setblocking(False)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            await asyncio.get_running_loop().sock_connect(reader, ("127.0.0.1", port))
            said.sent += 1
            await asyncio.get_running_loop().sock_sendall(reader, asked)
            first = True
            while got := await asyncio.get_running_loop().sock_recv(reader, 100):
                if first:
                    said.ends[got[9:12].decode()] += 1
                first = False
                await asyncio.sleep(1)
        said.ends["let go"] += 1
        await asyncio.sleep(AGAIN_S)


async def half_open(port: int, number: int, said: Said) -> None:
    """A connection that never says what it wants."""
    while True:
        with socket.socket() as silent, suppress(OSError):
            silent.setblocking(False)
            await asyncio.get_running_loop().sock_connect(silent, ("127.0.0.1", port))
            said.sent += 1
            await asyncio.get_running_loop().sock_sendall(silent, request("/api/state")[: 10 + number % 20])
            await asyncio.get_running_loop().sock_recv(silent, 100)
        said.ends["let go"] += 1
        await asyncio.sleep(AGAIN_S)


async def ask(port: int, number: int, said: Said, *, keep: bool = True) -> None:
    """One of `CONNECTIONS` that share the rate: a request when it is due, at once where it is late, then its answer."""
    paths, due_s = itertools.islice(itertools.cycle(PATHS), number, None), time.monotonic() + random.random() * CONNECTIONS / RATE
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            said.ends["not connected"] += 1
            await asyncio.sleep(AGAIN_S)
            continue
        try:
            while True:
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                # Nobody makes up for what an answer's slowness held back: the rate that was reached is reported.
                due_s = max(due_s + CONNECTIONS / RATE, time.monotonic())
                begun_s = time.monotonic()
                said.sent += 1
                writer.write(request(next(paths), keep=keep))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                said.took_s.append(time.monotonic() - begun_s)
                said.ends[head[9:12].decode()] += 1
                if not keep:
                    break
                if b"connection: close" in head:
                    await asyncio.sleep(AGAIN_S)
                    break
        except (OSError, asyncio.IncompleteReadError):
            said.ends["let go"] += 1
            await asyncio.sleep(AGAIN_S)
        finally:
            writer.close()


async def visit(port: int, number: int, said: Said) -> None:
    """The same, each request on a connection of its own."""
    await ask(port, number, said, keep=False)


KINDS = {"slow": (slow, READERS), "half-open": (half_open, READERS), "requests": (ask, CONNECTIONS), "visitors": (visit, CONNECTIONS)}


def load(kind: str, port: int, seconds: float, answer: Connection) -> None:
    """The other process."""
    os.nice(19)
    said = Said()

    async def everybody() -> None:
        client, many = KINDS[kind]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for number in range(many):
                    group.create_task(client(port, number, said))

    asyncio.run(everybody())
    answer.send(said)


class Daemon:
    """``edgefer run`` with the page; counts its JSON lines as they come."""

    def __init__(self, fps: float, folder: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port: int = taken.getsockname()[1]
        sinks = ("jsonl:-", "history:history.db", f"http://127.0.0.1:{self.port}")
        command = [
            sys.executable,
            "-m",
            "edgefer",
            "run",
            "--source",
            f"synthetic:?fps={fps}",
            *(word for sink in sinks for word in ("--sink", sink)),
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "edge")}
        self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE)
        self.came_s: list[float] = []
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        assert self._process.stdout
        for _ in self._process.stdout:
            self.came_s.append(time.monotonic())

    @property
    def memory_mb(self) -> float:
        """Resident, in 10^6 bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    def watch(self, seconds: float) -> tuple[float, float, float]:
        """Frames a second, the longest time without one in seconds, and the most memory, while it is left alone for so long."""
        begun_s, most_mb = time.monotonic(), 0.0
        while time.monotonic() - begun_s < seconds:
            assert self._process.poll() is None, "the daemon ended"
            most_mb = max(most_mb, self.memory_mb)
            time.sleep(0.1)
        ended_s = time.monotonic()
        came = [begun_s, *(at for at in self.came_s[:] if begun_s <= at < ended_s), ended_s]
        return (len(came) - 2) / (ended_s - begun_s), float(np.diff(came).max()), most_mb

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)


@contextmanager
def loaded(kind: str, port: int, seconds: float, said: list[Said]) -> Iterator[None]:
    """Load from another process while the body lasts; what it met with goes into ``said``."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=load, args=(kind, port, seconds + 1, there))
    process.start()
    time.sleep(1)
    yield
    said.append(here.recv())
    process.join()


def main() -> None:
    """Measure, print the table, and fail where a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of each stretch of load (default: 60)")
    parser.add_argument("--rounds", type=int, default=3, help="stretches of each kind (default: 3)")
    parser.add_argument("--fps", type=float, default=15, help="frames a second of the drawn camera (default: 15)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of load (default: all)")
    options = parser.parse_args()
    said: dict[str, list[Said]] = {kind: [] for kind in options.kinds}
    ratios: dict[str, list[float]] = {kind: [] for kind in options.kinds}
    found: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in ("quiet", *options.kinds)}
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(options.fps, folder)
        while len(daemon.came_s) < WARM_UP_S * options.fps:
            time.sleep(0.1)
        found["quiet"].append(daemon.watch(options.seconds / 2))
        for kind in options.kinds * options.rounds:
            with loaded(kind, daemon.port, options.seconds, said[kind]):
                found[kind].append(daemon.watch(options.seconds))
            found["quiet"].append(daemon.watch(options.seconds / 2))
            ratios[kind].append(found[kind][-1][0] / np.mean([stretch[0] for stretch in found["quiet"][-2:]]))
            print(f"{kind}: {found[kind][-1][0]:.2f} frames/s, {ratios[kind][-1]:.3f} of quiet, {found[kind][-1][2]:.1f} MB", flush=True)
        daemon.stop()
    before_mb = found["quiet"][0][2]
    row = "{:10} {:>8} {:>6} {:>9} {:>8} {:>8} {:>9} {:>9}  {}"
    print("\n" + row.format("", "frames/s", "ratio", "longest s", "most MB", "sent/s", "p50 ms", "p95 ms", "answers, connections"))
    for kind, stretches in found.items():
        fps, longest_s, most_mb = np.median([at[0] for at in stretches]), max(at[1] for at in stretches), max(at[2] for at in stretches)
        if kind == "quiet":
            print(row.format(kind, f"{fps:.2f}", "", f"{longest_s:.2f}", f"{most_mb:.1f}", "", "", "", ""))
            continue
        ends, took_ms = sum((one.ends for one in said[kind]), Counter()), [1000 * s for one in said[kind] for s in one.took_s]
        p50, p95 = np.percentile(took_ms, [50, 95]) if took_ms else (float("nan"),) * 2
        rate = sum(one.sent for one in said[kind]) / (options.rounds * (options.seconds + 1))
        what = ", ".join(f"{end} {count}" for end, count in ends.most_common())
        ratio = float(np.median(ratios[kind]))
        print(
            row.format(
                kind, f"{fps:.2f}", f"{ratio:.3f}", f"{longest_s:.2f}", f"{most_mb:.1f}", f"{rate:.0f}", f"{p50:.1f}", f"{p95:.1f}", what
            )
        )
    worst, grown_mb = min(np.median(of) for of in ratios.values()), max(at[2] for of in found.values() for at in of) - before_mb
    held = np.median([at[0] for at in found["quiet"]]) > 0.97 * options.fps
    kept = held and worst >= LEAST_RATIO and grown_mb <= MOST_GROWTH_MB
    print(f"{'kept' if kept else 'BROKEN' if held else 'UNDECIDED, this machine does not hold the rate when quiet'}: at least ", end="")
    print(f"{worst:.3f} of the frames (promised {LEAST_RATIO}), memory grew by {grown_mb:.1f} MB (at most {MOST_GROWTH_MB:.0f}); ", end="")
    print(f"load average {os.getloadavg()[0]:.1f}")
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
