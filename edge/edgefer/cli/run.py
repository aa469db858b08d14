"""The verb ``run``: source, pipeline and outputs as the settings name them, and the loop until it ends."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from edgefer.errors import MemoryLimit
from edgefer.files import state_dir
from edgefer.machine import resident_bytes, trim_memory, version
from edgefer.model.describe import facts_of
from edgefer.output import About, Background, Sink, begin, close_all
from edgefer.pipeline.loop import Pipeline, open_pipeline, run
from edgefer.pipeline.throttle import Pace
from edgefer.redact import shown
from edgefer.settings import Settings
from edgefer.sinks import open_sink
from edgefer.sinks.actions import Actions, check_actions
from edgefer.sinks.mqtt import Mqtt
from edgefer.sources import Source, open_source, pick_source
from edgefer.update.updater import Updater

_FRAMES_A_LOOK = 64
"""Frames between looks at the memory in use."""

NOTICE = "An expression is not an emotion. Inferring emotions at work or in education is forbidden in the EU (AI Act, Art. 5(1)(f))."


def look(settings: Settings, stop: threading.Event, say: Callable[[str], None]) -> int:
    """Run until the source ends or ``stop`` is set, telling people with ``say``; 1 where an output failed, else 0.

    Raises `EdgeferError` for what cannot be opened, with everything opened before it closed again.
    """
    specs = _specs(settings)
    sinks: list[Sink] = []
    with ExitStack() as stack:
        updater = stack.enter_context(Updater(settings, specs, state_dir())) if settings.update.enabled else None
        pipeline = updater.open_pipeline() if updater else open_pipeline(settings)
        source = open_source(settings.source or pick_source(say))
        stack.callback(source.close)
        stack.callback(close_all, sinks)
        opened: list[Sink] = []
        for spec in specs:
            opened.append(open_sink(spec))
            sinks.append(opened[-1] if opened[-1].main_thread else Background(opened[-1], shown(spec), stop, lossless=not source.live))
        if settings.action:
            check_actions(settings.action, pipeline.classifier.labels)
            sinks.append(Background(Actions(settings.action), "actions", stop, lossless=not source.live))
        for sink in opened:
            if updater and isinstance(sink, Mqtt):
                updater.listen(sink.connection, sink.topics)
        _announce(source, pipeline, opened, say)
        for line in begin(sinks, About(version(), source.description, lambda: facts_of(pipeline.classifier), sinks)):
            say(line)
        checks = [
            *([updater.between(pipeline)] if updater else []),
            *([_memory_guard(settings.max_memory_mb)] if settings.max_memory_mb else []),
        ]

        def between(faults: int) -> None:
            for check in checks:
                check(faults)

        trim_memory()
        summary = run(source, pipeline, sinks, stop, settings.source_timeout_s, Pace(settings.pace), between)
    say(str(summary))
    background = [sink for sink in sinks if isinstance(sink, Background)]
    for complaint in filter(None, (sink.complaint() for sink in background)):
        say(complaint)
    return int(any(sink.failed for sink in background))


def _memory_guard(most_mb: float) -> Callable[[int], None]:
    """Called before each frame; Raspberry Pi OS switches the kernel's own guard off. Raises `MemoryLimit`."""
    frames = itertools.count()

    def guard(_faults: int) -> None:
        if next(frames) % _FRAMES_A_LOOK == 0 and (found_mb := resident_bytes() / 1e6) > most_mb:
            raise MemoryLimit(f"{found_mb:.0f} MB of memory are in use, and max_memory_mb allows {most_mb:.0f}: ending, to be started anew")

    return guard


def _specs(settings: Settings) -> list[str]:
    """The outputs asked for, and those that a terminal or systemd asks for."""
    service = bool(os.environ.get("NOTIFY_SOCKET"))
    # A service that nobody asked to keep pictures keeps none.
    specs = list(settings.sinks) or (["status:"] if service else ["status:", "snapshots:snapshots"])
    if service and "systemd:" not in specs:
        specs.append("systemd:")
    if sys.stderr.isatty() and "status:" not in specs and not (sys.stdout.isatty() and "jsonl:-" in specs):
        specs.append("status:")
    return specs


def _announce(source: Source, pipeline: Pipeline, sinks: Sequence[Sink], say: Callable[[str], None]) -> None:
    """What people should know before the first frame."""
    images_leave = any(sink.images_leave for sink in sinks)
    say(f"{NOTICE} {'Who holds the token sees images.' if images_leave else 'No image leaves this machine.'}")
    say(f"source: {source.description}; model: {pipeline.classifier.path}")
    if not pipeline.classifier.accelerated:
        say("XNNPACK is not in use: every answer takes many times as long; 'edgefer doctor' says why")
