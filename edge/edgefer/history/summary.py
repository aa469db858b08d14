"""The figures of a time range, for the table in the terminal and for the report."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from edgefer.history.rows import Bucket
from edgefer.history.store import History
from edgefer.history.timespec import TimeRange
from edgefer.types import UNCERTAIN


@dataclass(frozen=True, slots=True)
class Summary:
    """Sums over a time range."""

    watched_s: float
    seconds: dict[str, float]
    """Seconds of face by expression, the largest first."""
    visits: int
    median_visit_s: float | None
    """None where there was no visit."""
    changes: int

    @property
    def faces_s(self) -> float:
        """Seconds of face of all expressions."""
        return sum(self.seconds.values())

    def share(self, expression: str) -> float:
        """Part of the seconds of face with this expression, 0..1."""
        return self.seconds[expression] / (self.faces_s or 1.0)


def summarise(history: History, span: TimeRange) -> Summary:
    """The figures of a time range."""
    buckets = history.buckets(span.from_s, span.to_s, span.bucket_s)
    visits = history.visits(span.from_s, span.to_s)
    lengths_s = sorted(visit.last_s - visit.first_s for visit in visits)
    return Summary(
        watched_s=sum(bucket.watched_s for bucket in buckets),
        seconds=total_by_expression(buckets),
        visits=len(visits),
        median_visit_s=lengths_s[len(lengths_s) // 2] if lengths_s else None,
        changes=sum(visit.changes for visit in visits),
    )


def total_by_expression(buckets: Iterable[Bucket]) -> dict[str, float]:
    """Seconds of face by expression, the largest first."""
    seconds: dict[str, float] = {}
    for bucket in buckets:
        for name, found in bucket.expressions_s.items():
            seconds[name] = seconds.get(name, 0.0) + found
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def ordered(history: History, expressions: Collection[str]) -> list[str]:
    """The model's classes in its order, then the other expressions, then "uncertain"."""
    labels = history.labels()
    return [*labels, *sorted({*expressions} - {*labels, UNCERTAIN}), UNCERTAIN]
