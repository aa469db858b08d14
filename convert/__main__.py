"""``python -m convert``: a trained ``.keras`` file to a TFLite file with its card, or an int8 file to C.

Writes nothing if the file loses accuracy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import msgspec

from convert.adopt import adopt, is_foreign
from convert.material import SMALL, enlarged, read
from convert.quantize import quantize
from convert.recipes import RECIPES
from convert.validate import Comparison, check_all_integer, check_gate, compare, kernels_apart
from edgefer.errors import DataError, EdgeferError, ModelError
from edgefer.files import atomic_path
from edgefer.model.card import Card, attach_card, read_card, read_model
from edgefer.model.store import find_model
from edgefer.types import Pixels
from train.data import WHERE_TO_GET, Dataset, Split, audit
from train.recipe import Gate
from train.versions import installed

USUAL = Gate(max_loss_points=1.0, min_agreement=0.9, reason="")
"""For a model whose run wrote no gate."""

KERNEL_PICTURES = 200
"""Validation pictures to classify with XNNPACK and without it."""


def main(arguments: list[str] | None = None) -> None:
    """Convert a trained model to TFLite, compare both on the validation images, and write the file if it passes."""
    parser = argparse.ArgumentParser(prog="python -m convert", description=main.__doc__)
    parser.add_argument(
        "model",
        nargs="?",
        default="",
        help="the .keras file 'make train' wrote, or any .keras, .h5, SavedModel or .tflite; for recipe c also a name",
    )
    parser.add_argument(
        "--recipe", default="int8", choices=[*RECIPES, "c"], help="quantization, or c: C for a microcontroller (default: int8)"
    )
    parser.add_argument("--data", help="FER2013, to calibrate and compare with (default: what the model was trained on)")
    parser.add_argument(
        "--out", help="the file to write (default: <name>-<recipe>.tflite beside the model; for recipe c see docs/micro.md)"
    )
    parser.add_argument("--max-loss", type=float, metavar="POINTS", help="accuracy it may lose (default: its recipe's, else 1.0)")
    parser.add_argument(
        "--min-agreement",
        type=float,
        metavar="SHARE",
        help="share of answers that must stay the same (default: its recipe's, else 0.9)",
    )
    parser.add_argument("--labels", help="of a model without a card: its classes in the order of its outputs, a,b,c or a text file")
    parser.add_argument(
        "--scale", metavar="RANGE", help="of such a model: what it reads for black and white: 0..1, --scale=-1..1 or 0..255"
    )
    parser.add_argument(
        "--crop", type=float, metavar="MARGIN", help="of such a model: margin around the face's box, as a share of it (default: 0)"
    )
    options = parser.parse_args(arguments)
    try:
        if options.recipe == "c":
            _export(options.model, options.out)
        else:
            _convert(options)
    except EdgeferError as error:
        raise SystemExit(f"convert: {error}") from None


def _convert(options: argparse.Namespace) -> None:
    if not options.model:
        raise ModelError("which model? make convert MODEL=runs/small/small.keras")
    source = Path(options.model)
    if is_foreign(source):
        adopt(source, options)
        return
    card = read_card(source)
    if source.suffix != ".keras":
        raise ModelError(
            f"{source}: is converted already: 'edgefer run --model {source}'; make convert takes the .keras file that 'make train' wrote"
        )
    if options.labels or options.scale or options.crop is not None:
        raise ModelError(f"{source}: its card says how it reads pictures; LABELS, SCALE and CROP are for models without one")
    out = Path(options.out) if options.out else source.with_name(f"{source.stem}-{options.recipe}.tflite")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{out}: cannot write there: {error.strerror}; choose another OUT") from None
    if out.is_dir():
        raise ModelError(f"{out}: is a folder; give the name of the .tflite file")
    data = read(data_path(options.data, source), card.labels)
    found = audit(data)
    print(f"converting {source} with recipe {options.recipe} …", flush=True)
    model = quantize(source, options.recipe, data.splits["train"].keep(found.train_keep).images)
    if options.recipe == "int8":
        check_all_integer(model)
    versions = installed("tensorflow-cpu", "tensorflow", "ai-edge-litert")
    provenance = {
        **card.provenance,
        "keras_sha256": hashlib.sha256(read_model(source)).hexdigest(),
        **{f"convert {package}": number for package, number in versions.items()},
    }
    draft = msgspec.structs.replace(card, quantization=options.recipe, provenance=provenance)
    # The comparison uses the finished file, in a hidden folder; it is renamed only if it passes.
    with atomic_path(out) as part:
        part.write_bytes(attach_card(model, draft))
        split = data.splits["validation"].keep(found.validation_unique)
        judged = compare(source, part, split, card.labels)
        print(
            f"{judged.images:,} validation images: Keras {100 * judged.source_accuracy:.2f} %, {options.recipe} "
            f"{100 * judged.accuracy:.2f} % ({-judged.loss_points:+.2f} points), same answer on {100 * judged.agreement:.1f} %; "
            f"ECE {judged.ece:.3f}, uncertain below {judged.uncertain_below:.2f}"
        )
        if options.recipe == "int8":
            print(_on_other_runtimes(model, split.images[:KERNEL_PICTURES]))
        check_gate(_on_many(judged, source, part, split, data), _gate(source, options.max_loss, options.min_agreement))
        final: Card = msgspec.structs.replace(
            draft,
            uncertain_below=judged.uncertain_below,
            metrics={
                **card.metrics,
                f"{options.recipe}_accuracy": round(judged.accuracy, 4),
                f"{options.recipe}_macro_f1": round(judged.macro_f1, 4),
                f"{options.recipe}_agreement": round(judged.agreement, 4),
                f"{options.recipe}_ece": round(judged.ece, 4),
            },
        )
        part.write_bytes(attach_card(model, final))
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB\nnext: edgefer run --model {shlex.quote(str(out))}")


def _export(asked: str, out: str | None) -> None:
    """An int8 file as C; a published model's goes into ``build``, since ``models`` holds what was published."""
    from convert.c_export import export

    if not asked:
        raise ModelError("which model? make convert MODEL=nano RECIPE=c")
    source = find_model(asked)
    published = source != Path(asked)
    if source.suffix == ".keras":
        source = source.with_name(f"{source.stem}-int8.tflite")
        if not source.is_file():
            raise ModelError(f"{source}: missing; RECIPE=c exports the int8 file: first make convert MODEL={asked}")
    folder = Path("build") if published else source.parent
    code, header = export(source, Path(out) if out else folder / f"{read_card(source).name}.c")
    print(f"{code}, {header.name}: {source.name} in C, to build as docs/micro.md says")
    print(f"next: cc -O2 -DEDGEFER_MAIN {code} -o check && ./check")


def _on_many(judged: Comparison, source: Path, converted: Path, split: Split, data: Dataset) -> Comparison:
    """The comparison itself, or where it has few pictures one on many: a single picture of 50 must not decide."""
    if len(split) >= SMALL:
        return judged
    many = compare(source, converted, enlarged(split, data.splits["train"]), data.labels)
    print(
        f"these are few: over {many.images:,} pictures (those of training too, and varied ones) Keras {100 * many.source_accuracy:.2f} %, "
        f"converted {100 * many.accuracy:.2f} % ({-many.loss_points:+.2f} points), same answer on {100 * many.agreement:.1f} %"
    )
    return many


def _on_other_runtimes(model: bytes, images: Pixels) -> str:
    apart = kernels_apart(model, images)
    if not apart:
        return f"with XNNPACK and without (such as tflite-runtime): the same probabilities to the bit on {len(images)} of them"
    return (
        f"without XNNPACK (such as tflite-runtime) probabilities differ by up to {apart}/256 on {len(images)} of them: "
        "only plain chains of convolutions and dense layers that amplify little can be made exact"
    )


def _gate(source: Path, max_loss_points: float | None, min_agreement: float | None) -> Gate:
    """What the conversion of ``source`` may lose: as asked, else as its recipe says, with its reason printed, else the usual."""
    try:
        gate = msgspec.convert(_run(source)["gate"], Gate)
    except (OSError, ValueError, KeyError):
        gate = USUAL
    if gate.reason and max_loss_points is None and min_agreement is None:
        print(f"its recipe allows a loss of {gate.max_loss_points:g} points and {100 * gate.min_agreement:g} % agreement: {gate.reason}")
    return msgspec.structs.replace(
        gate,
        max_loss_points=gate.max_loss_points if max_loss_points is None else max_loss_points,
        min_agreement=gate.min_agreement if min_agreement is None else min_agreement,
    )


def _run(source: Path) -> dict[str, Any]:
    """What the training wrote beside the model."""
    found: dict[str, Any] = json.loads(source.with_name("run.json").read_text(encoding="utf-8"))
    return found


def data_path(asked: str | None, source: Path) -> Path:
    """The dataset asked for, else the one in the ``run.json`` beside the model."""
    if asked:
        return Path(asked)
    try:
        return Path(_run(source)["data"])
    except (OSError, ValueError, KeyError):
        raise DataError(f"{source}: which dataset? Pass DATA=… to calibrate and compare with. {WHERE_TO_GET}") from None


if __name__ == "__main__":
    main()
