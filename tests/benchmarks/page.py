"""What the history and the web page cost: CPU seconds and peak memory of a 20 s run at 30 frames a second, one drawn face."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress

PORT = 8093
PAGE = f"http://127.0.0.1:{PORT}"


def run(*sinks: str, watch: Callable[[], None] | None = None) -> str:
    """One run; returns what it took."""
    arguments = [argument for sink in ("jsonl:/dev/null", *sinks) for argument in ("--sink", sink)]
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?seconds=20", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    if watch:
        while not process.stderr.readline().startswith("web page"):
            pass
        threading.Thread(target=watch, daemon=True).start()
    said = process.stderr.read().splitlines()[-1]
    used = os.wait4(process.pid, 0)[2]
    return f"{used.ru_utime + used.ru_stime:5.2f} s CPU  {used.ru_maxrss / 1000:5.1f} MB  {said.partition(',')[0]}"


def watch(pictures: bool) -> None:
    """What an open page asks for."""
    stream, more = (http.client.HTTPConnection("127.0.0.1", PORT) for _ in range(2))
    stream.request("GET", "/api/events")
    with suppress(http.client.HTTPException, OSError):  # the run has ended
        for line in stream.getresponse():
            if pictures and line.startswith(b"event: faces"):
                more.request("GET", "/api/picture")
                more.getresponse().read()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print("alone                    ", run(), flush=True)
        print("history                  ", run(f"history:{folder}/history.db"), flush=True)
        print("page, nobody looks       ", run(PAGE), flush=True)
        print("page, one looks, no image", run(f"{PAGE}?show=faces", watch=lambda: watch(pictures=False)), flush=True)
        print("page, one looks          ", run(PAGE, watch=lambda: watch(pictures=True)), flush=True)
