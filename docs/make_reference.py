"""Write docs/configuration.md and docs/api.md from the code's own types and docstrings: python docs/make_reference.py"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec

import edgefer
from edgefer.options import Option, field_docstrings, options_of
from edgefer.settings import CONFIG, Settings

HERE = Path(__file__).parent
MADE = "<!-- Made by docs/make_reference.py: change the docstrings in the code, then run it. -->"

CONFIGURATION = f"""# Configuration

{MADE}

A configuration is a TOML file. `edgefer run --config FILE` reads it; the service reads `{CONFIG}`. Flags override it. Every key is
optional. An unknown key or a wrong value is an error of one line, with its line number and the nearest valid key:
`edgefer check-config FILE`. `sudo edgefer setup` writes a file with every key and its default, as `edge/deploy/config.toml` is.
A running service reads it again with `sudo systemctl reload edgefer`.
"""

API = f"""# Python API

{MADE}

These names are public: they stay, or a release says how to replace them. `import edgefer` alone is fast: OpenCV and NumPy are
imported on first use. `edgefer.__version__` is the version. Every error that edgefer raises on purpose is an `EdgeferError`.
"""


def configuration() -> str:
    """The page of all settings."""
    return "\n".join([CONFIGURATION, *_table("Top level", Settings), *_tables()])


def _tables() -> Iterator[str]:
    """A section for each TOML table."""
    for kind in get_type_hints(Settings).values():
        for table in filter(_is_table, (kind, *get_args(kind))):
            heading, _, text = inspect.getdoc(table).partition(": ")
            yield from _table(heading.strip("`"), table, f"{text[0].upper()}{text[1:]}".replace("``", "`"))


def _table(heading: str, table: type[msgspec.Struct], text: str = "") -> Iterator[str]:
    yield f"## {heading}\n"
    if text:
        yield f"{text}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    nested = {name for name, kind in get_type_hints(table).items() if any(map(_is_table, (kind, *get_args(kind))))}
    yield from (_row(option) for option in options_of(table) if option.name not in nested)
    yield ""


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _row(option: Option) -> str:
    value = f"{option.type}, {option.unit}" if option.unit else option.type
    default = option.default or '""'
    return f"| `{option.name}` | {value} | `{default}` | {option.help.replace('``', '`')} |"


def api() -> str:
    """The page of the public names."""
    functions = [name for name in edgefer.__all__ if inspect.isfunction(getattr(edgefer, name))]
    classes = [name for name in edgefer.__all__ if name not in functions]
    functions.sort(key=lambda name: getattr(edgefer, name).__module__ != "edgefer.api")
    sections = [*map(_function, functions), *map(_class, classes)]
    return "\n".join([API, *sections])


def _function(name: str) -> str:
    function = getattr(edgefer, name)
    return f"## {name}\n\n```python\nedgefer.{name}{_signature(function)}\n```\n\n{_markdown(function)}\n"


def _class(name: str) -> str:
    kind = getattr(edgefer, name)
    lines = [f"## {name}", "", _markdown(kind), ""]
    if "__init__" in vars(kind) and not dataclasses.is_dataclass(kind):
        lines[2:2] = ["```python", f"edgefer.{name}{_signature(kind.__init__).removesuffix(' -> None')}", "```", ""]
    meanings = field_docstrings(kind)
    if dataclasses.is_dataclass(kind):
        lines += ["| field | type | meaning |", "|---|---|---|"]
        types = {field.name: str(field.type).replace("|", "\\|") for field in dataclasses.fields(kind)}
        lines += [*(f"| `{field}` | `{type}` | {meanings.get(field, '').replace('``', '`')} |" for field, type in types.items()), ""]
    if name == "Settings":
        lines += ["Its fields are the keys of the [configuration](configuration.md).", ""]
    for member, value in vars(kind).items():
        if isinstance(value, property):
            lines += [f"- `{member}`: {_first_line(value)}"]
        elif inspect.isfunction(value) and (not member.startswith("_") or member == "__call__") and inspect.getdoc(value):
            call = "" if member == "__call__" else f".{member}"
            lines += [f"- `{name.lower()}{call}{_signature(value)}`: {_first_line(value)}"]
    return "\n".join(lines).rstrip() + "\n"


def _signature(function: Callable[..., object]) -> str:
    found = inspect.signature(function)
    text = str(found.replace(parameters=[parameter for name, parameter in found.parameters.items() if name != "self"]))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    # A function with @contextmanager is written as a generator.
    return text.replace("-> Iterator[", "-> AbstractContextManager[") if hasattr(function, "__wrapped__") else text


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0].replace("``", "`")


def _markdown(value: object) -> str:
    """A docstring as Markdown: its examples become blocks of code."""
    blocks = (inspect.getdoc(value) or "").replace("``", "`").split("\n\n")
    return "\n\n".join(f"```pycon\n{block}\n```" if block.startswith(">>>") else re.sub(r"\n(?!├|└)", " ", block) for block in blocks)


PAGES = {HERE / "configuration.md": configuration, HERE / "api.md": api}

if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(make(), encoding="utf-8")
        print(f"{path}: written")
