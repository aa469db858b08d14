"""Outputs, by the scheme of their spec; each runs in its own thread unless it says otherwise."""

from __future__ import annotations

from edgefer.output import Sink
from edgefer.spec import parse_spec, resolve

__all__ = ["SINKS", "open_sink"]

SINKS = {
    "jsonl": "edgefer.sinks.jsonl:JsonLines",
    "display": "edgefer.sinks.display:Display",
    "snapshots": "edgefer.sinks.snapshots:Snapshots",
    "status": "edgefer.sinks.status:Status",
    "history": "edgefer.sinks.history:HistorySink",
    "http": "edgefer.sinks.web:Web",
    "web": "edgefer.sinks.web:Web",
    "mqtt": "edgefer.sinks.mqtt:Mqtt",
    "mqtts": "edgefer.sinks.mqtt:Mqtt",
    "systemd": "edgefer.sinks.systemd:Systemd",
}
"""Scheme -> "module:Class", imported on use. A class is called with the spec and raises `SinkError`."""


def open_sink(text: str) -> Sink:
    """Open the sink a spec names; raises `SettingsError` for a bad spec, `SinkError` where it cannot be opened."""
    spec = parse_spec(text)
    sink: Sink = resolve(SINKS, spec.scheme, "sink")(spec)
    return sink
