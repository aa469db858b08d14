"""JSON lines: one observation a line, to a file or to standard output."""

from __future__ import annotations

import sys
from pathlib import Path

from edge.errors import SinkError
from edge.plug import Spec
from edge.settings import Table, checked
from edge.types import Observation
from edge.wire import to_json


class JsonLines:
    """``jsonl:PATH`` appends to a file, ``jsonl:-`` writes to standard output; every line is whole and flushed."""

    main_thread = False

    def __init__(self, spec: Spec) -> None:
        checked(spec.options, Table, spec.text, strict=False)
        if not spec.path:
            raise SinkError(f"{spec.text}: no place given; write jsonl:- for standard output or jsonl:PATH for a file")
        try:
            self._file = sys.stdout.buffer if spec.path == "-" else Path(spec.path).open("ab")  # noqa: SIM115 (closed in close)
        except OSError as error:
            raise SinkError(f"{spec.text}: cannot write there: {error.strerror}") from None
        self._own = spec.path != "-"

    def write(self, observation: Observation) -> None:
        """One line, pushed out at once so that a reader sees it now."""
        self._file.write(to_json(observation) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._own:
            self._file.close()
