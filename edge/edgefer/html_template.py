"""HTML from templates: values are escaped, unless they are HTML themselves."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from string import Template


class Html(str):
    """Text that is HTML, and is not escaped again."""

    __slots__ = ()


def fill(template: str, **values: str) -> Html:
    """The template with each ``$name`` replaced by the value of that name; raises `KeyError` where a value is missing."""
    return Html(Template(template).substitute({name: text if isinstance(text, Html) else escape(text) for name, text in values.items()}))


def fill_all(template: str, rows: Iterable[dict[str, str]]) -> Html:
    """The filled template of each row, one after the other."""
    return Html("".join(fill(template, **row) for row in rows))
