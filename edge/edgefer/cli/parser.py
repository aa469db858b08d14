"""The parser of the command and of each verb."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from edgefer.redact import redact


class Parser(argparse.ArgumentParser):
    """Help as it is written, and errors without secrets."""

    more: Callable[[], str] | None = None
    """Makes the last part of the help, only when help is printed."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]

    def format_help(self) -> str:
        """The help, with what `more` adds."""
        return super().format_help() + (self.more() if self.more else "")

    def error(self, message: str) -> NoReturn:
        """A wrong flag: usage, one line, exit status 2. The line may quote an address; its password is redacted."""
        super().error(redact(message))
