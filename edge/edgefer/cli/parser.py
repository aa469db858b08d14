"""The parser of the command and of each verb."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from edgefer.redact import redact


class Parser(argparse.ArgumentParser):
    """Help as it is written, and errors without secrets that name the nearest option."""

    more: Callable[[], str] | None = None
    """Makes the last part of the help, only when help is printed."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]

    def format_help(self) -> str:
        """The help, with what `more` adds."""
        return super().format_help() + (self.more() if self.more else "")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does, but what is not known is an error of the verb that it was given to."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self.declared() for option in action.option_strings]
            wrong = next((text.partition("=")[0] for text in unknown if text.startswith("-")), "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{_nearest(wrong, options)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """A wrong flag: usage, one line, exit status 2. The line may quote an address; its password is redacted."""
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += _nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        super().error(redact(message))

    def declared(self) -> list[argparse.Action]:
        """Options and positional arguments that help shows."""
        return [action for action in self._actions if action.help != argparse.SUPPRESS]

    def verbs(self) -> Iterator[tuple[str, str, Parser]]:
        """Each verb with its line of help and its parser."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
                yield from ((name, summaries.get(name, ""), parser) for name, parser in action.choices.items())


def _nearest(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6) if wrong else []
    return f"; did you mean {near[0]}?" if near else ""
