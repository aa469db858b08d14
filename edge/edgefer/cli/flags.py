"""Flags that several verbs share, and the settings they make with the configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from edgefer.cli.terminal import log_to_stderr
from edgefer.settings import Settings, load_settings


def add_settings_flags(parser: argparse.ArgumentParser, source: str = "a camera, else synthetic:") -> None:
    """``--source``, ``--model``, ``--config`` and ``--log-level``, for `settings_of`; ``source`` is the default to print."""
    parser.add_argument("--source", metavar="SPEC", help=f"where frames come from (default: {source})")
    parser.add_argument("--model", metavar="PATH", help="a .tflite file, or the name of a model that edgefer ships (default: small)")
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings; flags override it")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="least severe message that is logged")


def settings_of(options: argparse.Namespace) -> Settings:
    """The configuration file, overridden by the flags; logging starts at the level they ask for."""
    settings = load_settings(config_path(options))
    flags = {
        "source": options.source,
        "sinks": getattr(options, "sink", None),
        "model": options.model,
        "log_level": options.log_level,
    }
    settings = msgspec.structs.replace(settings, **{key: value for key, value in flags.items() if value is not None})
    log_to_stderr(settings.log_level)
    return settings


def config_path(options: argparse.Namespace) -> Path | None:
    """The file of ``--config``."""
    return Path(options.config) if options.config else None
