"""The verb ``collect``: pictures of faces by class, from a camera into a folder for ``make own``."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from edgefer.cli.flags import add_settings_flags, settings_of
from edgefer.cli.terminal import on_stop_signal, say
from edgefer.errors import MissingLibrary

if TYPE_CHECKING:
    from edgefer.cli.collector import Collector
    from edgefer.types import Observation
    from edgefer.web.collect_page import CollectPage

EXAMPLES = """\
examples:
  edgefer collect faces --class wink --class neutral    100 pictures of each, one class after the other
  edgefer collect faces --class wink --class neutral --page http://127.0.0.1:8081
                                                        a web page with a button for each class
  edgefer collect faces --class wink --source file:wink.mp4
  make own DATA=faces                                   a model of these classes (in a checkout, on a desktop)

Move your head, change the light, ask other people: pictures that show nothing new are not kept.
"""
PRIVACY = "The pictures stay on this device, in {}; nothing is sent. Delete the folder to delete them."
_HINT_S = 5.0
"""Seconds without a new picture after which a line says what helps."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer collect``."""
    parser.epilog = EXAMPLES
    parser.add_argument("folder", metavar="DIR", help="the folder; each class is a folder in it")
    parser.add_argument(
        "--class", dest="classes", action="append", required=True, metavar="NAME", help="what the face shows; may be repeated"
    )
    parser.add_argument(
        "--count", type=int, default=100, metavar="N", help="pictures of each class, with those that are there (default: 100)"
    )
    parser.add_argument(
        "--countdown", type=float, default=3.0, metavar="S", help="seconds before the first picture of a class (default: 3)"
    )
    parser.add_argument("--page", metavar="ADDRESS", help="a web page with a button for each class, such as http://127.0.0.1:8081")
    add_settings_flags(parser)


def main(options: argparse.Namespace) -> int:
    """Keep pictures until every class has its number, the source ends, or Ctrl-C; 1 if a class got none."""
    settings = settings_of(options)
    from edgefer.cli.collector import Collector
    from edgefer.pipeline.loop import observe
    from edgefer.pipeline.stages import open_pipeline
    from edgefer.sources import open_source, pick_source

    folder, stop = Path(options.folder), threading.Event()
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(settings.source or pick_source(say))))
        collector = Collector(folder, options.classes, options.count, options.countdown if source.live else 0.0)
        say(PRIVACY.format(folder.resolve()))
        show: Callable[[Observation], None] = lambda _: None  # noqa: E731 - replaced by the page's
        if options.page:
            page = stack.enter_context(closing(_open_page(options.page, collector)))
            say(f"web page: {page.address}: a button for each class; Ctrl-C ends")
            show = page.add
        on_stop_signal(stop.set)
        observations = stack.enter_context(closing(observe(source, open_pipeline(settings, source.tracked), settings.source_timeout_s)))
        told = Progress(collector)
        for observation in observations:
            if stop.is_set():
                break
            if not options.page and not _next_class(collector):
                break
            told(collector.add(observation), observation.frame.time_s)
            show(observation)
    told.end()
    say(f"{folder}: {', '.join(f'{label} {count}' for label, count in collector.counts.items())}")
    say(f"next, in a checkout of edgefer on a desktop: make own DATA={shlex.quote(str(folder))}")
    return int(not all(collector.counts.values()))


def _open_page(address: str, collector: Collector) -> CollectPage:
    try:
        from edgefer.web.collect_page import open_page
    except ModuleNotFoundError as error:
        raise MissingLibrary(f"--page needs {error.name}: pip install 'edgefer[web]'") from None
    return open_page(address, collector)


def _next_class(collector: Collector) -> bool:
    """Choose the first class that lacks pictures; False where none does."""
    lacking = [label for label in collector.counts if not collector.full(label)]
    if lacking and collector.current != lacking[0]:
        collector.choose(lacking[0])
    return bool(lacking)


class Progress:
    """The countdown, the live count and hints, on standard error: one line that changes on a terminal, else every tenth picture."""

    def __init__(self, collector: Collector) -> None:
        self._collector, self._bar = collector, sys.stderr.isatty()
        self._line, self._new_s = "", 0.0
        self._hinted = ""

    def __call__(self, kept: Path | None, time_s: float) -> None:
        """After each frame: the file that was kept, if any."""
        collector = self._collector
        label = collector.current
        if not label:
            return
        if left_s := collector.countdown_s:
            self._write(f"{label} in {left_s + 0.99:.0f} …", always=False)
            self._new_s = time_s
            return
        if kept:
            self._new_s, number = time_s, collector.counts[label]
            self._write(f"{label}: {number} of {collector.count}", always=number % 10 == 0 or collector.full(label))
        elif time_s - self._new_s > _HINT_S and self._hinted != label:
            self._hinted = label
            self._write(f"{label}: nothing new for {_HINT_S:.0f} s: move your head, come closer, change the light", always=True)

    def _write(self, line: str, always: bool) -> None:
        if line == self._line or not (self._bar or always):
            return
        self._line = line
        print(f"\r\x1b[K{line}" if self._bar else line, end="" if self._bar else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._bar and self._line:
            print(file=sys.stderr)
