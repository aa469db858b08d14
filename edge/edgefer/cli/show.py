"""The verb ``show``: the facts in a model file."""

from __future__ import annotations

import argparse
import json

from edgefer.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer show``."""
    parser.add_argument(
        "model", nargs="?", default=Settings().model,
        help="a .tflite or .keras file, or the name of a model that edgefer ships (default: small)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")


def main(options: argparse.Namespace) -> int:
    """Print labels, input, metrics, provenance and digest."""
    from edgefer.model.describe import describe

    facts = describe(options.model)
    if options.json:
        print(json.dumps(facts, indent=1))
        return 0
    for key, value in facts.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for inner, fact in value.items():
                print(f"  {inner:24} {fact}")
        else:
            print(f"{key:10} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return 0
