"""Instructions a frame, counted on an emulated Cortex-A53: they are exact, so that a change of 2 % is somebody's doing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pi.emulation import needs

from edgefer.model.store import find_model

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from boards import COUNTS, STAGES, count

NAIVE = ("haar", "classify")


def test_a_frame_costs_what_it_did_and_no_more_than_was_promised() -> None:
    """`make bench-pi` writes the counts anew where a change is meant; look at them in the diff."""
    needs("qemu-aarch64", "mmdebstrap", "gcc")
    kept = json.loads(COUNTS.read_text())["cortex-a53"]
    now = count("cortex-a53", [find_model("small"), find_model("nano")])
    for name, spent in now.items():
        for stretch, instructions in kept[name].items():
            # Next to nothing is counted for some stages: a fiftieth of that is noise.
            assert spent[stretch] == pytest.approx(instructions, rel=0.02, abs=20_000), f"{name}: {stretch}"
    assert now["small"]["invoke"] <= 24_000_000
    assert now["nano"]["invoke"] <= 6_000_000
    frame, naive = (sum(now["small"][f"{kind} {stage}"] for stage in stages) for kind, stages in (("moving", STAGES), ("naive", NAIVE)))
    assert frame <= naive / 10
