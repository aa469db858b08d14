"""The verb ``micro``: does a microcontroller give the same scores as this machine, and how fast?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from edgefer.cli.progress import Progress
    from edgefer.cli.serial_board import SerialBoard
    from edgefer.model.classifier import Classifier
    from edgefer.types import Pixels

EXAMPLES = """\
The board needs the firmware of examples/micro, see docs/micro.md.

examples:
  edgefer micro --port /dev/ttyACM0                   the golden pictures
  edgefer micro --port /dev/ttyACM0 --images faces    and face crops of your own
  edgefer micro --port /dev/ttyACM0 --markdown        a row to share
"""


class Report(msgspec.Struct, frozen=True):
    """What a board answered; times are medians in milliseconds."""

    version: str
    board: str
    model: str
    sha256: str
    faces: int
    same: int
    """Faces with the same scores, to the byte, as the model's file on this machine."""
    score_ms: float | None
    """A face's scores by the board's own clock; None where it has none."""
    request_ms: float
    """The same with the transfer of the face."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer micro``."""
    parser.epilog = EXAMPLES
    parser.add_argument("--port", required=True, metavar="DEVICE", help="the board's serial line, such as /dev/ttyACM0")
    parser.add_argument("--images", metavar="DIR", help="face crops to send as well; other sizes than the model's are resized")
    parser.add_argument("--model", metavar="NAME|FILE", help="the file to compare with (default: the published model that the board names)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--markdown", action="store_true", help="print one row of a Markdown table, to share")


def main(options: argparse.Namespace) -> int:
    """Send the crops and compare; returns 1 if a score differs."""
    from edgefer.cli.progress import Progress
    from edgefer.cli.serial_board import SerialBoard

    with SerialBoard(options.port) as board:
        report = _measure(board, options.model, options.images, Progress(sys.stderr))
    if options.json:
        print(json.dumps(msgspec.to_builtins(report), indent=1))
    else:
        print(_markdown_row(report) if options.markdown else _table(report))
    return int(report.same < report.faces)


def _measure(board: SerialBoard, asked: str | None, images: str | None, progress: Progress) -> Report:
    import numpy as np

    from edgefer.machine import version

    firmware = board.firmware
    classifier = _classifier(board, asked)
    crops = list(_crops(firmware.height_px, firmware.width_px, images))
    same, score_ms, request_ms = 0, [], []
    with progress.step(f"{len(crops)} faces", len(crops)) as advance:
        for done, crop in enumerate(crops, 1):
            begun = time.perf_counter()
            scores, took_us = board.scores(crop)
            request_ms.append(1e3 * (time.perf_counter() - begun))
            score_ms.append(1e-3 * took_us)
            same += scores == np.rint(256 * classifier(crop[None])[0]).astype(np.uint8).tobytes()
            advance(done)
    median_ms = float(np.median(score_ms))
    return Report(
        version(), firmware.board, firmware.model, firmware.sha256, len(crops), same, median_ms or None, float(np.median(request_ms))
    )  # fmt: skip


def _classifier(board: SerialBoard, asked: str | None) -> Classifier:
    """The file whose scores the board should give; raises `ModelError` where the board has another model."""
    from edgefer.errors import ModelError
    from edgefer.model.classifier import Classifier

    firmware = board.firmware
    classifier = Classifier(asked or firmware.model)
    if classifier.sha256 != firmware.sha256:
        raise ModelError(
            f"{classifier.path}: the board's {firmware.model} was exported from another file (sha256 {firmware.sha256[:12]}…, here "
            f"{classifier.sha256[:12]}…); export it again with 'make convert RECIPE=c', or give the right file: --model FILE.tflite"
        )
    return classifier


def _crops(height_px: int, width_px: int, images: str | None) -> Iterator[Pixels]:
    """The golden pictures, then those of a folder in the order of their names, each as (height, width) uint8."""
    from edgefer.model.golden import golden_pictures
    from edgefer.pipeline.crop import crop_face
    from edgefer.sources import open_source
    from edgefer.types import Box

    yield from golden_pictures(height_px, width_px)
    if images is not None:
        with closing(open_source(f"images:{images}")) as source:
            for frame in source:
                height, width = frame.luma.shape
                yield crop_face(frame.luma, Box(0, 0, width, height), 0.0, height_px, width_px)


def _table(report: Report) -> str:
    rate = f"{report.score_ms:.1f} ms a face on the board, {1e3 / report.score_ms:.1f} faces/s; " if report.score_ms else ""
    return (
        f"{report.model} on {report.board} (sha256 {report.sha256[:12]}…)\n"
        f"{report.same} of {report.faces} faces have the same scores as here, to the byte\n"
        f"{rate}{report.request_ms:.1f} ms with the transfer"
    )


def _markdown_row(report: Report) -> str:
    """One row of a Markdown table, with its header, to share."""
    cells = {
        "board": report.board,
        "model": report.model,
        "same scores": f"{report.same} of {report.faces}",
        "ms per face": f"{report.score_ms:.1f}" if report.score_ms else "–",
        "faces/s": f"{1e3 / report.score_ms:.1f}" if report.score_ms else "–",
        "with transfer, ms": f"{report.request_ms:.1f}",
        "edgefer": report.version,
    }
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}\n| {' | '.join(cells.values())} |"
