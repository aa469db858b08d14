"""Silences native libraries, which write to standard error without Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_native_stderr() -> Iterator[None]:
    """Inside, the process's standard error is discarded; Python still raises its errors.

    TFLite and TensorFlow print banners there, and have no option against it.
    """
    try:
        saved = os.dup(2)
    except OSError:  # closed already
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
