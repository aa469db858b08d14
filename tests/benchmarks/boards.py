"""Instructions a frame on emulated boards, and what they let expect of real ones; writes counts.json and the tables of docs/boards.md.

    PYTHONPATH=.:tests python tests/benchmarks/boards.py [MODEL.tflite ...]     default: every int8 file in models/

A model without a card is counted with the default model's. Counts are exact: a run gives them again. Those of models that are not
counted this time, such as the report's network (`make train RECIPE=report`, `make convert`), stay in counts.json.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from pi.emulation import BOARDS, BUILD, HERE, LIBCAMERA, REPOSITORY, edge_requirements, emulated, root, shared_library, site

from edgefer.errors import ModelError
from edgefer.luma import luma_of
from edgefer.model.card import attach_card, read_card, split_card
from edgefer.model.store import find_model
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Pixels

COUNTS = Path(__file__).with_name("counts.json")
PAGE = REPOSITORY / "docs" / "boards.md"
FRAMES = 165
"""15 to warm up, and five seconds: the whole frame is searched once in them."""
STAGES = ("gate", "detect", "classify", "rest")

Counts = dict[str, dict[str, dict[str, int]]]
"""Processor -> model -> stretch -> instructions, averaged over its frames; "dearest" is the frame that takes most."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a board is taken to do: its clock, and the instructions it retires a cycle at worst and at best."""

    board: str
    processor: str
    ghz: float
    worst_ipc: float
    best_ipc: float


ASSUMED = (
    Assumed("Zero 2 W", "cortex-a53", 1.0, 0.6, 0.9),
    Assumed("3B+", "cortex-a53", 1.4, 0.6, 0.9),
    Assumed("4", "cortex-a72", 1.8, 1.0, 1.5),
    Assumed("5", "cortex-a76", 2.4, 1.5, 2.5),
)


def clips() -> dict[str, Pixels]:
    """The drawn face at 320x240 as luma: moving as `synthetic:` draws it, and still before a noisy sensor."""
    moving, still = (Scene(SyntheticOptions(size="320x240", still=still)) for still in (False, True))
    noise, luma = np.random.default_rng(5), luma_of(still.draw(0))
    return {
        "moving": np.stack([luma_of(moving.draw(index)) for index in range(FRAMES)]),
        "still": np.stack([np.clip(np.rint(luma + noise.normal(0, 1.3, luma.shape)), 0, 255).astype(np.uint8) for _ in range(FRAMES)]),
    }


def count(processor: str, models: list[Path]) -> dict[str, dict[str, int]]:
    """Instructions of every stretch of every model on an emulated processor."""
    base, wheels = root("trixie", "arm64", *LIBCAMERA), site("trixie", "aarch64", *edge_requirements())
    with tempfile.TemporaryDirectory() as folder:
        kept, marks, labels = (Path(folder) / name for name in ("clips.npz", "marks", "labels.json"))
        np.savez(kept, **clips())  # type: ignore[arg-type]
        counter = f"{shared_library(HERE / 'icount.c')},out={marks}"
        command = emulated(base, BOARDS[processor], "trixie", [wheels], "-plugin", counter)
        program = [str(Path(__file__).with_name("stretches.py")), str(kept), str(labels)]
        done = subprocess.run([*command, *program, *map(str, models)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{processor}: {done.stderr[-2000:]}")
        names, totals = json.loads(labels.read_text()), [int(line) for line in marks.read_text().split()]
    found: dict[str, dict[str, int]] = {}
    stretches: dict[str, list[int]] = defaultdict(list)
    waiting = [model.stem.removesuffix("-int8") for model in models]
    for name, spent in zip(names, np.diff([0, *totals]), strict=True):
        if name == "end":
            found[waiting.pop(0)] = _averages(stretches)
            stretches.clear()
        elif name:
            stretches[name].append(int(spent))
    return found


def _averages(stretches: dict[str, list[int]]) -> dict[str, int]:
    frames = zip(*(stretches[f"moving {stage}"] for stage in STAGES), strict=False)
    return {name: round(np.mean(spent)) for name, spent in stretches.items()} | {"moving dearest": max(map(sum, frames))}


def with_card(model: Path) -> Path:
    """The model itself, or a copy with the default model's card where it has none."""
    try:
        split_card(model.read_bytes(), str(model))
    except ModelError:
        copy = BUILD / model.name
        copy.write_bytes(attach_card(model.read_bytes(), msgspec.structs.replace(read_card(find_model("small")), crop_margin=0.0)))
        return copy
    return model


def own_models() -> list[Path]:
    """Every int8 file in models/, the default one first."""
    return sorted((REPOSITORY / "models").glob("*/*-int8.tflite"), key=lambda path: (path != find_model("small"), path.name))


def tables(counts: Counts) -> str:
    """Both tables, in Markdown."""
    lines = [
        "| processor | model | invoke | moving face: gate, detect, classify, rest | a frame | its dearest | still face | naive loop |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    for processor, models in counts.items():
        for model, spent in models.items():
            stages = " + ".join(_millions(spent[f"moving {stage}"]) for stage in STAGES)
            cells = [
                _millions(spent["invoke"]),
                stages,
                *(_millions(_frame(spent, kind)) for kind in ("moving", "dearest", "still", "naive")),
            ]
            lines.append(f"| {processor.title()} | {model} | {' | '.join(cells)} |")
    lines += ["", f"| board | assumed | {' | '.join(f'{model}, {what}' for model in models for what in ('edgefer', 'naive'))} |"]
    lines.append(f"|---|---|{'---:|' * 2 * len(models)}")
    for board in ASSUMED:
        cells = [_range(board, _frame(spent, kind)) for spent in counts[board.processor].values() for kind in ("moving", "naive")]
        assumed = f"{board.processor.title()}, {board.ghz:g} GHz, {board.worst_ipc:g}-{board.best_ipc:g} instructions a cycle"
        lines.append(f"| {board.board} | {assumed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _frame(spent: dict[str, int], kind: str) -> int:
    if kind == "dearest":
        return spent["moving dearest"]
    return sum(each for name, each in spent.items() if name.startswith(f"{kind} ") and name != "moving dearest")


def _millions(instructions: int) -> str:
    return f"{instructions / 1e6:.{1 if instructions >= 1e6 else 2}f} M"


def _range(board: Assumed, instructions: int) -> str:
    slow, fast = (board.ghz * 1e9 * ipc / instructions for ipc in (board.worst_ipc, board.best_ipc))
    return f"{slow:.0f}-{fast:.0f}"


def main() -> None:
    """Count, keep the counts, and write the page's tables."""
    models = [with_card(Path(model)) for model in sys.argv[1:]] or own_models()
    counts: Counts = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.is_file() else {}
    for processor in BOARDS:
        print(f"counting on an emulated {processor.title()} …", file=sys.stderr, flush=True)
        counts[processor] = counts.get(processor, {}) | count(processor, models)
    COUNTS.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    begin, end = "<!-- counted: make bench-pi writes what follows -->", "<!-- counted: end -->"
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n\n{tables(counts)}\n\n{end}", page, flags=re.DOTALL), encoding="utf-8")
    print(tables(counts))


if __name__ == "__main__":
    main()
