"""The tables of docs/plugins.md, written from what the classes declare: python docs/plug_tables.py"""

from __future__ import annotations

from pathlib import Path

from edgefer.detectors import DETECTORS
from edgefer.plug_help import markdown_table
from edgefer.sinks import SINKS
from edgefer.sources import SOURCES

PAGE = Path(__file__).with_name("plugins.md")


def page(text: str) -> str:
    """A page with its tables as they should be."""
    for registry in (SOURCES, DETECTORS, SINKS):
        before, begin, rest = text.partition(f"<!-- {registry.kind}s -->\n")
        _, end, after = rest.partition("<!-- end -->")
        text = f"{before}{begin}{markdown_table(registry)}\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
