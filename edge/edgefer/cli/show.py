"""The verb ``show``: the facts in a model file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edgefer.files import write_atomic
from edgefer.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer show``."""
    parser.add_argument(
        "model", nargs="?", default=Settings().model,
        help="a .tflite or .keras file, or the name of a model that edgefer ships (default: small)",
    )  # fmt: skip
    parser.add_argument("--export-labels", metavar="FILE", help="write the labels to a text file, one a line; - prints them")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")


def main(options: argparse.Namespace) -> int:
    """Print labels, input, metrics, provenance and digest."""
    from edgefer.model.describe import card_of, describe

    if options.export_labels:
        labels = "".join(f"{label}\n" for label in card_of(options.model).labels)
        if options.export_labels == "-":
            print(labels, end="")
        else:
            write_atomic(Path(options.export_labels), labels, "--export-labels ")
        return 0
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
