"""Specs: short texts that name a source, a detector or a sink, such as ``opencv:0?fps=15``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl

from edgefer.errors import SettingsError
from edgefer.redact import redact_url
from edgefer.settings import Table, checked

T = TypeVar("T", bound=Table)


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec in its parts: ``snapshots:pictures?every_s=2`` is scheme, path and options. Messages hold its `str`, never its text."""

    text: str = field(repr=False)
    scheme: str
    path: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return redact_url(self.text)

    def read(self, options: type[T]) -> T:
        """The options as a struct; raises `SettingsError` that names the key, and the nearest one that exists."""
        return checked(self.options, options, str(self), strict=False)


def parse_spec(text: str) -> Spec:
    """Split ``scheme:path?key=value&...``; an address such as ``rtsp://…`` is all path.

    Raises `SettingsError` if there is no scheme.
    """
    match = re.fullmatch(r"([a-z][a-z0-9]*):(.*)", text, re.DOTALL)
    if not match:
        raise SettingsError(f"{redact_url(text)!r} is not a spec: write scheme:path, such as opencv:0, file:clip.mp4 or jsonl:-")
    scheme, rest = match.groups()
    if rest.startswith("//"):
        return Spec(text, scheme, text, {})
    path, options = split_options(rest, "?")
    return Spec(text, scheme, path, options)


def split_options(text: str, mark: str) -> tuple[str, dict[str, str]]:
    """``path?key=value&…`` in its two parts; ``mark`` is the character between them."""
    # Only a tail that reads as options is one: a question mark may be part of a file name.
    path, found, tail = text.rpartition(mark)
    if not found or (tail and "=" not in tail):
        return text, {}
    return path, dict(parse_qsl(tail, keep_blank_values=True))
