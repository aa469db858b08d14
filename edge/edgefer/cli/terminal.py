"""How verbs talk to a terminal: messages, the log, questions, signals."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Callable

from edgefer.errors import SettingsError
from edgefer.redact import RedactingFormatter, redact


def open_standard_streams() -> None:
    """Make standard input, output and error usable, whatever the caller closed, and in whatever encoding."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The next file that is opened would get this number, and what is written to the stream.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print one message on standard error, without secrets."""
    print(redact(line), file=sys.stderr, flush=True)


def log_to_stderr(level: str) -> None:
    """Log to standard error from ``level`` up, without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def ask(question: str, default: str) -> str:
    """One answer from the terminal; raises `SettingsError` at the end of the input."""
    try:
        return input(f"{question} [{default}] ").strip() or default
    except EOFError:
        raise SettingsError("no answer; nothing was written") from None


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Call ``stop`` on Ctrl-C (SIGINT) and on SIGTERM, which systemd sends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())


def hold_sighup(hold: bool) -> None:
    """Let the kernel keep a SIGHUP until there is a handler: it would end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK if hold else signal.SIG_UNBLOCK, {signal.SIGHUP})
