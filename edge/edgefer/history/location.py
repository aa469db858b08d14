"""Where the history is: the default path, and the path that a configuration names."""

from __future__ import annotations

import os
from pathlib import Path

from edgefer.files import state_dir
from edgefer.settings import CONFIG, load_settings
from edgefer.spec import parse_spec

SERVICE_STATE = Path("/var/lib/edgefer")
"""The service's working directory, where its relative paths begin: StateDirectory= in edge/deploy/edgefer.service."""


def default_path() -> Path:
    """The history's path where none is given."""
    return state_dir() / "history.db"


def find_history(given: str | None, config: str | None) -> Path:
    """The path ``given``, else that of the ``history:`` sink in ``config`` (default: the service's), else the default path."""
    if given:
        return Path(given)
    file = Path(config) if config else CONFIG if os.access(CONFIG, os.R_OK) else None
    for spec in map(parse_spec, load_settings(file).sinks):
        if spec.scheme == "history":
            default = default_path()
            return SERVICE_STATE / (spec.path or default.name) if file == CONFIG else Path(spec.path or default)
    return default_path()
