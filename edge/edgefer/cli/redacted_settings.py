"""A configuration without its secrets, for the support bundle."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args, get_type_hints
from urllib.parse import unquote

import msgspec

from edgefer.redact import CUT, redact, redact_url, secret_parts
from edgefer.settings import Settings, Table

_CREDENTIALS = ("mqtt-password", "web-token")
_HARMLESS = re.compile(r"(?:show|every_s|keep|keep_days|max_mb|free_mb|required)=[\w.]+$|(?:login|token_file|ca|host|discovery)=")


def without_secrets(table: Mapping[str, object], known: set[str], kind: type[msgspec.Struct] = Settings) -> dict[str, object]:
    """A configuration as read, without comments and with secrets replaced by ``…``; the secrets are added to ``known``.

    An unknown key keeps only its name: its value may be a misplaced password.
    """
    hints = get_type_hints(kind)
    return {key: _redacted(key, value, hints.get(key), known) for key, value in table.items()}


def _redacted(key: str, value: object, kind: object, known: set[str]) -> object:
    if isinstance(value, list) and key != "command":
        return [_redacted(key, item, next(iter(get_args(kind)), None), known) for item in value]
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Table):
        return without_secrets(value, known, kind)
    if kind and key == "command":
        program, *arguments = [word for text in _texts(value) for word in text.split()] or [""]
        known.update(_long(arguments))
        return [program, *[CUT] * len(arguments)]
    if kind and not isinstance(value, str | dict):
        return value
    known.update(_secrets(key, value) if kind else _long(_texts(value)))
    return (_REDACT.get(key, redact))(str(value)) if kind and isinstance(value, str) else CUT


def _sink(spec: str) -> str:
    """A sink's spec with the options that hold no secret, and the names of those that may lead to one."""
    address, mark, options = spec.partition("?")
    if "@" in spec or not mark:
        return redact_url(spec)
    matches = (_HARMLESS.match(option) for option in options.split("&"))
    return f"{redact_url(address)}?{'&'.join(match[0] + CUT * match[0].endswith('=') if match else CUT for match in matches)}"


def _webhook(address: str) -> str:
    """The host only: the path of a webhook is as good as a password."""
    return redact_url("".join(re.findall(r"^\w+://[^/?]*", address))) + f"/{CUT}"


_REDACT = {"source": redact_url, "sinks": _sink, "webhook": _webhook}


def _secrets(key: str, value: object) -> set[str]:
    """The secrets in a text of the configuration, and in the files it names."""
    text = "".join(_texts(value))
    if key == "webhook":
        path = "".join(re.findall(r"^\w+://[^/?]*(.*)", text))
        return {*secret_parts(text), *_long([path, path.rpartition("/")[2]])}
    if key == "sinks":
        # The options of a sink hold no secrets themselves.
        address, _, options = text.partition("?")
        return set(secret_parts(address)).union(
            *(stored_secrets(Path(unquote(file))) for file in re.findall(r"(?:login|token_file)=([^&]+)", options))
        )
    return set(secret_parts(text))


def _texts(value: object) -> Iterator[str]:
    """Every string in a TOML value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _long(texts: Iterator[str] | list[str]) -> set[str]:
    """Strings long enough not to occur by chance."""
    return {text for text in texts if len(text) > 3}


def stored_secrets(path: Path) -> set[str]:
    """The secrets in a file, or in a folder of credentials, if readable: the whole line, and the part after the colon."""
    found = set[str]()
    for file in (path, *(path / name for name in _CREDENTIALS)):
        try:
            line = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        found |= {line, line.partition(":")[2]}
    return _long(list(found))
