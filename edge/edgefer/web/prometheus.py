"""The run in Prometheus' words: base units, counters that end in _total, no face ever a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from edgefer.history.aggregate import Tally
from edgefer.output import About, Sink
from edgefer.web.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """What `Health` and `Tally` hold, read at each scrape: nothing is counted twice. ``faces``: whether to tell how many are there now."""

    def __init__(self, health: Health, tally: Tally, faces: Callable[[], bool] = lambda: True) -> None:
        self._health, self._tally, self._faces = health, tally, faces
        self.about: About | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """The text a Prometheus server reads."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing is collected just to learn the names."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every metric as of now."""
        health, about = self._health, self.about
        sinks: Sequence[Sink] = about.sinks if about else ()
        vitals = health.look(sinks)
        yield InfoMetricFamily("edgefer_build", "What runs: version and model", _build(about))
        yield CounterMetricFamily("edgefer_frames", "Frames worked through", health.frames)
        yield CounterMetricFamily("edgefer_frames_with_face", "Frames in which a face was seen", health.with_face)
        yield CounterMetricFamily("edgefer_frames_dropped", "Frames of the camera that newer ones pushed out", health.dropped)
        yield GaugeMetricFamily("edgefer_last_frame_timestamp_seconds", "When the last frame came, since 1970", health.last_time_s)
        if self._faces():
            yield GaugeMetricFamily("edgefer_faces", "Faces in the last frame", health.faces)
        expressions = CounterMetricFamily("edgefer_expression_seconds", "Seconds of face with this expression", labels=["expression"])
        for expression, seconds in sorted(dict(self._tally.expressions_s).items()):
            expressions.add_metric([expression], seconds)
        yield expressions
        stages = SummaryMetricFamily("edgefer_stage_seconds", "Time spent in a stage, by frame", labels=["stage"])
        for stage, seconds in sorted(dict(health.stages_s).items()):
            stages.add_metric([stage], health.frames, seconds)
        yield stages
        dropped = CounterMetricFamily("edgefer_sink_dropped", "Observations an output was too slow for", labels=["sink"])
        failed = CounterMetricFamily("edgefer_sink_failed", "Observations an output could not write", labels=["sink"])
        for name, lost in vitals.sinks.items():
            dropped.add_metric([name], lost.dropped)
            failed.add_metric([name], lost.failed)
        yield dropped
        yield failed
        if vitals.temperature_c is not None:
            yield GaugeMetricFamily("edgefer_temperature_celsius", "The hottest thermal zone", vitals.temperature_c)
        yield GaugeMetricFamily(
            "edgefer_throttled", "1 while the firmware holds the board back for power or heat", float(bool(vitals.throttled))
        )


def _build(about: About | None) -> dict[str, str]:
    if about is None:
        return {}
    model = about.model()
    return {"version": about.version, "model": str(model["name"]), "model_sha256": str(model["sha256"])}
