"""Typed settings: TOML into frozen structs, where an unknown key or a wrong value stops the start with one line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, get_type_hints

import msgspec

from edge.errors import SettingsError

T = TypeVar("T", bound=msgspec.Struct)


def read_toml(path: Path) -> dict[str, object]:
    """The tables of a TOML file; raises `SettingsError` naming file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as text: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None


def checked(table: Mapping[str, object], kind: type[T], where: str) -> T:
    """``table`` as a ``kind``; raises `SettingsError` naming ``where``, the key and the nearest valid one."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_explain(str(error), kind)}") from None


def _explain(message: str, kind: type[msgspec.Struct]) -> str:
    """Turn msgspec's words into ours: key path first, nearest valid key where there is one."""
    text, _, path = message.partition(" - at ")
    keys = [key for key in path.strip("`$").split(".") if key]
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        allowed = _fields(kind, keys)
        near = difflib.get_close_matches(unknown[1], allowed, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(allowed)}"
        return f"unknown key {'.'.join([*keys, unknown[1]])!r}; {advice}"
    return f"key {'.'.join(keys)!r}: {text[0].lower()}{text[1:]}" if keys else text


def _fields(kind: type[msgspec.Struct], keys: list[str]) -> list[str]:
    for key in keys:
        kind = get_type_hints(kind)[key]
    return list(kind.__struct_fields__)
