"""Outputs, by the scheme of their spec; each runs in its own thread unless it asks for the main one."""

from __future__ import annotations

from edgefer import builtin
from edgefer.output import Sink
from edgefer.plug import Registry

__all__ = ["SINKS", "Sink", "open_sink"]

SINKS: Registry[Sink] = Registry("sink", builtin.SINKS)
"""edgefer's own sinks, and those that other packages publish under ``edgefer.sinks``."""


def open_sink(text: str) -> Sink:
    """Open the sink a spec names; raises `SettingsError` for a bad spec, `SinkError` if it cannot be opened."""
    return SINKS.open(text)
