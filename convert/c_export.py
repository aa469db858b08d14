"""``make convert RECIPE=c``: an int8 file as C99 for a microcontroller, one ``.c`` and one ``.h``, with the same scores to the byte.

The arithmetic is in `convert.c_layers`, the plan of the memory in `convert.c_arena`, and the rest in ``templates/micro.c``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from convert.c_arena import plan
from convert.c_layers import chain, padded
from edgefer.errors import ModelError
from edgefer.files import draft_folder, replace_durably
from edgefer.model.card import Card, read_model, split_card
from edgefer.model.golden import golden_pictures
from edgefer.model.runtime import open_interpreter
from edgefer.types import Pixels

TEMPLATES = Path(__file__).parent / "templates"

UNITS = 54
"""An exponential is kept in units of 2^-54: sums below 512 fit in 63 bits."""


def export(model: Path, out: Path) -> list[Path]:
    """Write the int8 file ``model`` as C to ``out``, a ``.c`` file, and the header beside it; returns both paths.

    Raises `ModelError` with the first layer that C cannot compute exactly.
    """
    if out.suffix != ".c" or out.is_dir():
        raise ModelError(f"{out}: RECIPE=c writes a .c file, and a header beside it; give its name, such as OUT=nano.c")
    content = read_model(model)
    graph, card = split_card(content, str(model))
    name = identifier(card)
    paths = [out, out.with_suffix(".h")]
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters |= {"numbers": _numbers, "quoted": _quoted}
    facts = {**_facts(graph, card, model), "name": name, "NAME": name.upper(), "header": paths[1].name, "file": model.name,
             "sha256": hashlib.sha256(content).hexdigest()}  # fmt: skip
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(out.parent) as folder:
            for path in paths:
                (folder / path.name).write_text(pages.get_template(f"micro{path.suffix}").render(facts), encoding="utf-8")
            for path in paths:
                replace_durably(folder / path.name, path)
    except OSError as error:
        raise ModelError(f"{out}: cannot write there: {error.strerror}; choose another OUT") from None
    return paths


def identifier(card: Card) -> str:
    """The model's name as C and its files have it."""
    return re.sub(r"\W", "_", card.name, flags=re.ASCII)


def _facts(graph: bytes, card: Card, where: Path) -> dict[str, Any]:
    """What the templates need of the model."""
    layers, step = chain(graph, str(where))
    patch_bytes = padded(max(layer.patch_bytes for layer in layers))
    golden = golden_pictures(card.input.height_px, card.input.width_px)
    return {
        "height": card.input.height_px,
        "width": card.input.width_px,
        "labels": card.labels,
        "prior": [round(1000 * card.prior.get(label, 0)) for label in card.labels],
        "uncertain_below": f"{256 * card.uncertain_below:.2f}",
        "uncertain_byte": math.ceil(256 * card.uncertain_below),
        "layers": layers,
        "taps": max([1, *(math.prod(layer.kernel) for layer in layers if layer.depthwise)]),
        "macs": sum(layer.macs for layer in layers),
        "arena_bytes": plan(layers, patch_bytes),
        "const_bytes": sum(layer.weights.size + 4 * layer.bias.size + layer.shift.size for layer in layers) + 8 * 256,
        "exponentials": exponentials(step),
        "golden": [picture.ravel() for picture in golden],
        "golden_scores": scores_of(graph, golden, where),
    }


def exponentials(step: float) -> list[int]:
    """e^(-k * step) for k = 0..255 as float32, in units of 2^-`UNITS`: the table of TensorFlow Lite's softmax."""
    powers = np.float32(-step) * np.arange(256, dtype=np.float32)
    return [int(np.float64(value) * 2.0**UNITS) for value in np.exp(powers.astype(np.float64)).astype(np.float32)]


def scores_of(graph: bytes, pictures: Pixels, where: Path) -> list[list[int]]:
    """Scores (n, K) 0..255 of the flatbuffer itself."""
    interpreter = open_interpreter(graph, 1, where)
    (pixels,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for picture in pictures:
        interpreter.set_tensor(pixels["index"], picture[None, :, :, None])
        interpreter.invoke()
        found.append([int(score) for score in interpreter.get_tensor(scores["index"])[0]])
    return found


def _quoted(text: str) -> str:
    """A string literal of C."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _numbers(values: Iterable[int], suffix: str = "") -> str:
    """Numbers in lines of some 130 characters."""
    line, lines = "    ", []
    for value in values:
        word = f"{int(value)}{suffix},"
        if len(line) + len(word) > 130:
            lines.append(line)
            line = "    "
        line += word
    return "\n".join([*lines, line]) + "\n"
