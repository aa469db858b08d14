"""Plug points: URI-like specs (``opencv:0?fps=15``) and the tables that name what implements them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from edgefer.errors import SettingsError
from edgefer.redact import shown


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec in its parts: ``snapshots:pictures?every_s=2`` is scheme, path and options. Messages hold its `str`, never its text."""

    text: str = field(repr=False)
    scheme: str
    path: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return shown(self.text)


def parse_spec(text: str) -> Spec:
    """Split ``scheme:path?key=value&...``; a URL (``rtsp://…``) keeps its own query and is all path.

    Raises `SettingsError` where there is no scheme.
    """
    match = re.fullmatch(r"([a-z][a-z0-9]*):(.*)", text, re.DOTALL)
    if not match:
        raise SettingsError(f"{shown(text)!r} is not a spec: write kind:place, such as opencv:0, file:clip.mp4 or jsonl:-")
    scheme, rest = match.groups()
    if rest.startswith("//"):
        return Spec(text, scheme, text, {})
    # Only a tail that reads as options is one: a question mark is a fair character in a file name.
    path, mark, query = rest.rpartition("?")
    if not mark or (query and "=" not in query):
        path, query = rest, ""
    return Spec(text, scheme, path, dict(parse_qsl(query, keep_blank_values=True)))


def without_path(spec: Spec) -> None:
    """Raises `SettingsError` where something stands between the scheme and the options, and would go unheard."""
    if spec.path:
        raise SettingsError(f"{spec}: {spec.scheme}: takes no path; options follow a question mark, {spec.scheme}:?key=value")


def check_spec(table: Mapping[str, str], text: str, what: str) -> None:
    """Raises `EdgeferError` for a spec that ``table`` has no class for, or that the class itself would refuse; opens nothing."""
    spec = parse_spec(text)
    getattr(resolve(table, spec.scheme, what), "check", lambda _: None)(spec)


def resolve(table: Mapping[str, str], name: str, what: str) -> Any:
    """The class that ``table`` names "module:Class" for ``name``, imported now.

    Raises `SettingsError` listing the table where there is no such name.
    """
    if name not in table:
        raise SettingsError(f"no {what} {name!r}; there are {', '.join(table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
