"""Install packages with pip, one line for each: python requirements/install.py -r requirements/edge.txt

pip is either silent or prints pages. This shows the name of each package as pip finds it, the size of large downloads, a sign of
life during long steps, and pip's own output only if it fails: on standard error. pip's exit status is kept.
"""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

QUIET_S = 15.0
"""Seconds without a line after which a sign of life is printed."""
_FOUND = re.compile(r"Collecting ([\w.\-]+)|(?:Processing|Using cached) (?:\S*/)?([\w.]+)-\d")
_LARGE = re.compile(r"Downloading (?:\S*/)?([A-Za-z0-9_.]+-[^-\s]+)-\S+\.whl \((\d{2,}(?:\.\d+)? MB|\d[\d.]* GB)\)")
_UNPACK = re.compile(r"Installing collected packages: (.+)")
_TROUBLE = re.compile(r"WARNING|ERROR")
_ODD_INDEX = re.compile(r"WARNING: (?:Location|Skipping page|The index url)")


class Summary:
    """Turns pip's lines into a few short ones."""

    def __init__(self) -> None:
        self._seen = set[str]()

    def line(self, text: str) -> str:
        """What to print for a line of pip; empty for nothing."""
        if found := _FOUND.match(text.strip()):
            return self._once(re.sub(r"[-_.]+", "-", found[1] or found[2]).lower())
        if large := _LARGE.match(text.strip()):
            return f"  {large[1]}: downloading {large[2]}"
        if unpack := _UNPACK.match(text):
            names = unpack[1].split(", ")
            return f"  installing {names[0] if len(names) == 1 else f'{len(names)} packages'}"
        if _TROUBLE.match(text) and not _ODD_INDEX.match(text):
            return self._once(text.strip())
        return ""

    def _once(self, text: str) -> str:
        if text in self._seen:
            return ""
        self._seen.add(text)
        return f"  {text}"


def install(arguments: list[str]) -> int:
    """Run ``pip install`` with the arguments; returns its exit status."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    summary, lines = Summary(), list[str]()
    for text in _lines(process):
        lines.append(text)
        if short := summary.line(text):
            print(short, file=sys.stderr, flush=True)
    if status := process.wait():
        print("".join([text for text in lines if not _ODD_INDEX.match(text)][-20:]), end="", file=sys.stderr)
    return status


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """The lines of a process; prints a sign of life while there are none."""
    waiting: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout
        for text in process.stdout:
            waiting.put(text)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    started_s = time.monotonic()
    while True:
        try:
            text = waiting.get(timeout=QUIET_S)
        except queue.Empty:
            print(f"  … {time.monotonic() - started_s:.0f} s", file=sys.stderr, flush=True)
            continue
        if text is None:
            return
        yield text


if __name__ == "__main__":
    sys.exit(install(sys.argv[1:]))
