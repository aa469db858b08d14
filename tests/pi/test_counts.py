"""Instructions a frame, counted on an emulated Cortex-A53: they are exact, so that a change of 2 % is somebody's doing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pi.emulation import needs

from edge.store import find_model

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from boards import COUNTS, count


def test_the_default_model_costs_what_it_did() -> None:
    """`make bench-pi` writes the counts anew where a change is meant; look at them in the diff."""
    needs("qemu-aarch64", "mmdebstrap", "gcc")
    kept = json.loads(COUNTS.read_text())["cortex-a53"]["small"]
    now = count("cortex-a53", [find_model("small")])["small"]
    for stretch, instructions in kept.items():
        # Next to nothing is counted for some stages: a fiftieth of that is noise.
        assert now[stretch] == pytest.approx(instructions, rel=0.02, abs=20_000), stretch
