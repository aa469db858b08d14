"""What ``edgefer run`` runs: source, pipeline and sinks opened as the settings say, then the loop until it ends."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgefer.cli.check_config import refuse_overlap
from edgefer.errors import MemoryLimit, SettingsError, SinkError, SourceError
from edgefer.files import state_dir
from edgefer.machine import resident_bytes, trim_memory, version
from edgefer.model.describe import facts_of
from edgefer.output import About, Background, Retried, Sink, begin, close_all, split_required
from edgefer.pipeline import loop
from edgefer.pipeline.ignored import Ignored
from edgefer.pipeline.stages import Pipeline, open_pipeline
from edgefer.pipeline.throttle import Throttle
from edgefer.redact import redact_url
from edgefer.regions import Regions
from edgefer.settings import Region, Settings
from edgefer.sinks import SINKS, open_sink
from edgefer.sources import SOURCES, Source, open_source, pick_source
from edgefer.spec import parse_spec
from edgefer.types import CameraState

if TYPE_CHECKING:
    from edgefer.update.updater import Updater

_IDLE_S, _RETRY_S = 0.25, 5.0
"""Seconds between two signs of life without frames, and between two attempts to open a missing camera."""
_TRIM_S = 5.0
"""Seconds between two times that free memory is returned to the system: some 10 MB, in a few milliseconds."""

NOTICE = "An expression is not an emotion. Inferring emotions at work or in education is forbidden in the EU (AI Act, Art. 5(1)(f))."


def run(settings: Settings, stop: threading.Event, say: Callable[[str], None], config: Path | None = None) -> int:
    """Run until the source ends or ``stop`` is set, with messages to ``say``; returns 1 if a sink failed, else 0.

    ``config`` is the file that keeps the ignored regions drawn on the web page.
    Raises `EdgeferError` if something cannot be opened; everything opened before is closed again.
    """
    sinks: list[Sink] = []
    """Sinks as the loop calls them: most in a thread of their own."""
    with ExitStack() as stack:
        specs = _sink_specs(settings)
        refuse_overlap(settings.source, specs)
        updater = stack.enter_context(_updater(settings, specs)) if settings.update.enabled else None
        pipeline = updater.open_pipeline() if updater else open_pipeline(settings)
        spec = settings.source or pick_source(say)
        source, why = _open_or_why(spec, specs)
        description = source.description if source else f"waiting for {redact_url(spec)}"
        stack.callback(lambda: source and source.close())
        stack.callback(close_all, sinks)
        opened = _open_sinks(specs, settings, pipeline, sinks, stop, bool(source and not source.live), say)
        if updater:
            _listen(updater, opened)
        _announce(description, pipeline, opened, say)
        regions = Regions(settings.detector.ignore, partial(_ignore, pipeline), config, state_dir())
        about = About(version(), description, lambda: facts_of(pipeline.classifier), sinks, regions, updates=bool(updater))
        for message in begin(sinks, about):
            say(message)
        source = source or _await_source(spec, why, sinks, stop, say)
        if source is None:
            return 0
        checks = [
            _pause(about.paused, sinks, stop),
            *([updater.between(pipeline)] if updater else []),
            *([_memory_guard(settings.max_memory_mb)] if settings.max_memory_mb else []),
            _trimmer(),
        ]

        def between(faults: int) -> None:
            for check in checks:
                check(faults)

        summary = loop.run(source, pipeline, sinks, stop, settings.source_timeout_s, Throttle(settings.pace), between)
    say(str(summary))
    background = [sink for sink in sinks if isinstance(sink, Background)]
    for complaint in filter(None, (sink.complaint() for sink in background)):
        say(complaint)
    return int(any(sink.failed for sink in background))


def _updater(settings: Settings, specs: list[str]) -> Updater:
    from edgefer.update.updater import Updater  # what it needs is 3 MB of memory

    return Updater(settings, specs, state_dir())


def _open_or_why(spec: str, sinks: Sequence[str]) -> tuple[Source | None, str]:
    """The opened source; None and why where it is a camera that may come later: with an MQTT sink, which reports it."""
    plug, _ = SOURCES.read(spec)
    try:
        return open_source(spec), ""
    except SourceError as error:
        if plug.live and any(parse_spec(sink).scheme in ("mqtt", "mqtts") for sink in sinks):
            return None, str(error)
        raise


def _await_source(spec: str, why: str, sinks: Sequence[Sink], stop: threading.Event, say: Callable[[str], None]) -> Source | None:
    """The source once it can be opened, with reports to the sinks; None after a stop."""
    say(f"{why}; waiting for it")
    begun_s = tried_s = time.monotonic()
    for sink in sinks:
        sink.camera(CameraState("missing", 0.0))
    while not stop.wait(_IDLE_S):
        for sink in sinks:
            sink.idle()
        if time.monotonic() - tried_s < _RETRY_S:
            continue
        with suppress(SourceError):
            source = open_source(spec)
            say(f"source: {source.description}")
            for sink in sinks:
                sink.camera(CameraState("live", time.monotonic() - begun_s))
            return source
        tried_s = time.monotonic()
    return None


def _pause(paused: threading.Event, sinks: Sequence[Sink], stop: threading.Event) -> Callable[[int], None]:
    """A check to call before each frame; it waits while the run is paused."""

    def wait(_faults: int) -> None:
        while paused.is_set() and not stop.wait(_IDLE_S):
            for sink in sinks:
                sink.idle()

    return wait


def _listen(updater: Updater, sinks: Sequence[Sink]) -> None:
    from edgefer.sinks.mqtt import Mqtt

    for sink in sinks:
        if isinstance(sink, Mqtt):
            updater.listen(sink.connection, sink.topics)


def _ignore(pipeline: Pipeline, regions: Sequence[Region]) -> None:
    pipeline.ignored = Ignored(regions)


def _sink_specs(settings: Settings) -> list[str]:
    """The sinks of the settings, and those that a terminal or systemd adds."""
    service = bool(os.environ.get("NOTIFY_SOCKET"))
    # A service stores pictures only if its configuration asks for them.
    specs = list(settings.sinks) or (["status:"] if service else ["status:", "snapshots:snapshots"])
    if service and "systemd:" not in specs:
        specs.append("systemd:")
    if sys.stderr.isatty() and "status:" not in specs and not (sys.stdout.isatty() and "jsonl:-" in specs):
        specs.append("status:")
    return specs


def _open_sinks(
    specs: list[str], settings: Settings, pipeline: Pipeline, sinks: list[Sink], stop: threading.Event, lossless: bool,
    say: Callable[[str], None],
) -> list[Sink]:  # fmt: skip
    """Open the sinks and return them; also append each to ``sinks``, in its thread, so that the caller closes it after an error.

    One that cannot be opened now is retried, and does not end the others. Only for a clip or pictures, which do not wait, it is an error.
    """
    opened: list[Sink] = []
    for spec in specs:
        sink = open_sink(spec) if lossless else _open_or_retry(spec, say)
        opened.append(sink)
        sinks.append(sink if sink.main_thread else Background(sink, redact_url(spec), stop, lossless))
    if settings.action:
        from edgefer.sinks.actions import Actions, check_actions  # HTTP and TLS are 2 MB of memory

        check_actions(settings.action, pipeline.classifier.labels)
        sinks.append(Background(Actions(settings.action), "actions", stop, lossless))
    return opened


def _open_or_retry(text: str, say: Callable[[str], None]) -> Sink:
    """The sink of a spec, or one that is opened later; raises `EdgeferError` for a wrong spec, and where the sink is required."""
    plug, _ = SINKS.read(text)
    try:
        return open_sink(text)
    except SinkError as error:
        # A setting that is wrong does not become right, and a window or systemd is there from the beginning.
        if isinstance(error, SettingsError) or plug.main_thread or split_required(text)[1]:
            raise
        say(f"{error}; the others go on, and this is tried again")
        return Retried(redact_url(text), partial(open_sink, text), error)


def _memory_guard(limit_mb: float) -> Callable[[int], None]:
    """A check to call before each frame; raises `MemoryLimit`. Raspberry Pi OS switches the kernel's memory cgroup off."""

    def guard(_faults: int) -> None:
        # Before every frame, for 20 us: a few large pictures fill a small board.
        if (found_mb := resident_bytes() / 1e6) > limit_mb:
            raise MemoryLimit(f"{found_mb:.0f} MB of memory are in use, and max_memory_mb allows {limit_mb:.0f}: ending, for a restart")

    return guard


def _trimmer() -> Callable[[int], None]:
    """A check to call before each frame that returns free memory to the system, first before the first frame."""
    due_s = 0.0

    def trim(_faults: int) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            trim_memory()
            due_s = time.monotonic() + _TRIM_S

    return trim


def _announce(source: str, pipeline: Pipeline, sinks: Sequence[Sink], say: Callable[[str], None]) -> None:
    """What people should know before the first frame."""
    images_leave = any(sink.images_leave for sink in sinks)
    say(
        f"{NOTICE} {'Everybody with the token, or who reads the broker, sees images.' if images_leave else 'No image leaves this machine.'}"
    )
    say(f"source: {source}; model: {pipeline.classifier.path}")
    if not pipeline.classifier.accelerated:
        say("XNNPACK is not in use: every answer takes many times as long; 'edgefer doctor' explains why")
