"""What there is of sources, detectors and sinks: for ``--help`` as text, for documents as a table."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from edgefer.errors import EdgeferError
from edgefer.options import Option, options_of
from edgefer.plug import P, Plug, Registry


def help_table(registry: Registry[P]) -> str:
    """The plugs of a kind with their options, as lines of text. Imports every plug: call it only when help is printed."""
    lines = []
    for usage, plug in _plugs(registry):
        lines.append(f"  {usage}")
        if isinstance(plug, str):
            lines.append(f"      not available: {plug}")
            continue
        lines.append(f"      {_summary(plug)}")
        lines += [f"      {plug.options_after}{_setting(option):24} {_help(option)}" for option in options_of(plug.options)]
    return "\n".join(lines)


def markdown_table(registry: Registry[P]) -> str:
    """The same as a Markdown table."""
    rows = ["| write | what it is | option | type | unit | default | what it does |", "|---|---|---|---|---|---|---|"]
    for usage, plug in _plugs(registry):
        if isinstance(plug, str):
            rows.append(f"| `{usage}` | not available: {plug} | | | | | |")
            continue
        lead = f"`{'`, `'.join(usage.split('  '))}` | {_summary(plug)}"
        for cells in map(_cells, options_of(plug.options)):
            rows.append(f"| {lead} | {cells} |")
            lead = " | "
        if lead != " | ":
            rows.append(f"| {lead} | | | | | |")
    return "\n".join(rows)


def _plugs(registry: Registry[P]) -> Iterator[tuple[str, type[P] | str]]:
    """How it is written, and each class once; instead of one that cannot be imported, the reason."""
    seen = set[type[Plug]]()
    for scheme in registry:
        try:
            plug = registry.find(scheme)
        except EdgeferError as error:
            yield scheme, str(error)
        except ImportError as error:
            yield scheme, f"needs {error.name}, which is not installed"
        else:
            if plug not in seen:
                seen.add(plug)
                yield "  ".join(plug.forms), plug


def _summary(plug: type[Plug]) -> str:
    said = (inspect.getdoc(plug) or "").partition("\n")[0].replace("``", "`")
    return said + (f" (package {plug.package})" if plug.package else "")


def _setting(option: Option) -> str:
    return f"{option.name}={option.default}"


def _help(option: Option) -> str:
    return f"{option.help} [{', '.join(filter(None, (option.type, option.unit)))}]".replace("``", "`").strip()


def _cells(option: Option) -> str:
    cells = f"`{option.name}`", option.type, option.unit, f"`{option.default}`" if option.default else "", option.help.replace("``", "`")
    return " | ".join(cell.replace("|", "\\|") for cell in cells)
