"""Silences native libraries that write to the terminal past Python, for the moment in which they load."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native() -> Iterator[None]:
    """While inside, nothing reaches the process's standard error; Python's own errors are raised as ever.

    TFLite and TensorFlow announce themselves there in words no user asked for, and offer no switch.
    """
    try:
        kept = os.dup(2)
    except OSError:  # closed already: quiet enough
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
