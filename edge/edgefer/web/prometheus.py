"""The metrics for Prometheus: base units, counters that end in _total, and no face as a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from edgefer.history.aggregate import Aggregator
from edgefer.output import About, Sink
from edgefer.web.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """The values of `Health` and `Aggregator`, read at each scrape. ``with_faces``: whether the number of faces may be shown now."""

    def __init__(self, health: Health, aggregator: Aggregator, with_faces: Callable[[], bool] = lambda: True) -> None:
        self._health, self._aggregator, self._with_faces = health, aggregator, with_faces
        self.about: About | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """The text that a Prometheus server reads."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """No descriptions, so that registering collects nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The current value of every metric."""
        health, about = self._health, self.about
        sinks: Sequence[Sink] = about.sinks if about else ()
        vitals = health.vitals(sinks)
        yield InfoMetricFamily("edgefer_build", "Version and model in use", _build(about))
        yield CounterMetricFamily("edgefer_frames", "Frames processed", health.frames)
        yield CounterMetricFamily("edgefer_frames_with_face", "Frames in which a face was seen", health.with_face)
        yield CounterMetricFamily("edgefer_frames_dropped", "Frames of the camera skipped because newer ones came", health.dropped)
        yield GaugeMetricFamily("edgefer_last_frame_timestamp_seconds", "When the last frame came, since 1970", health.last_time_s)
        if self._with_faces():
            yield GaugeMetricFamily("edgefer_faces", "Faces in the last frame", health.faces)
        expressions = CounterMetricFamily("edgefer_expression_seconds", "Seconds of face with this expression", labels=["expression"])
        for expression, seconds in sorted(dict(self._aggregator.expressions_s).items()):
            expressions.add_metric([expression], seconds)
        yield expressions
        stages = SummaryMetricFamily("edgefer_stage_seconds", "Time spent in a stage", labels=["stage"])
        for stage, seconds in sorted(dict(health.stages_s).items()):
            stages.add_metric([stage], health.frames, seconds)
        yield stages
        dropped = CounterMetricFamily("edgefer_sink_dropped", "Observations that a sink was too slow for", labels=["sink"])
        failed = CounterMetricFamily("edgefer_sink_failed", "Observations that a sink could not write", labels=["sink"])
        opened = GaugeMetricFamily("edgefer_sink_open", "0 while a sink cannot be opened", labels=["sink"])
        for name, losses in vitals.sinks.items():
            opened.add_metric([name], float(losses.open))
            dropped.add_metric([name], losses.dropped)
            failed.add_metric([name], losses.failed)
        yield dropped
        yield failed
        yield opened
        if vitals.temperature_c is not None:
            yield GaugeMetricFamily("edgefer_temperature_celsius", "The hottest thermal zone", vitals.temperature_c)
        yield GaugeMetricFamily(
            "edgefer_throttled", "1 while the firmware throttles the board for power or heat", float(bool(vitals.throttled))
        )


def _build(about: About | None) -> dict[str, str]:
    if about is None:
        return {}
    model = about.model()
    return {"version": about.version, "model": str(model["name"]), "model_sha256": str(model["sha256"])}
