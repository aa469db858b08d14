"""The history as text for a terminal: a table, or a line of bars for each expression."""

from __future__ import annotations

from edgefer.history.rows import Bucket
from edgefer.history.store import History
from edgefer.history.summary import summarise, total_by_expression
from edgefer.history.timespec import TimeRange, fitting_bucket_s, format_duration, format_time

_BARS = " ▁▂▃▄▅▆▇█"
_MARGIN = 34
"""Characters of a line of bars that are not bars."""


def as_table(history: History, span: TimeRange) -> str:
    """How long the camera watched, and how long each expression was seen."""
    figures = summarise(history, span)
    head = f"{_limits(span)}: watched {format_duration(figures.watched_s)}"
    if not figures.seconds:
        return f"{head}, no face seen{_available(history)}"
    median = "" if figures.median_visit_s is None else f", median {format_duration(figures.median_visit_s)}"
    lines = [f"{head}, {figures.visits} visits{median}"]
    for name, seconds in figures.seconds.items():
        share = figures.share(name)
        lines.append(f"{name:12} {100 * share:5.1f} %  {'█' * round(30 * share):30}  {format_duration(seconds)}")
    return "\n".join(lines)


def as_plot(history: History, span: TimeRange, width: int) -> str:
    """One line of bars for each expression: the average number of faces with it, in each bucket.

    Buckets are lengthened until they fit into ``width`` characters; where they are few, each takes several.
    """
    bucket_s = max(span.bucket_s, fitting_bucket_s(span.to_s - span.from_s, max(10, width - _MARGIN)))
    buckets = history.buckets(span.from_s, span.to_s, bucket_s)
    totals = total_by_expression(buckets)
    if not totals:
        return f"{_limits(span)}: no face seen{_available(history)}"
    grid = _grid(buckets, span, bucket_s)
    highest = max(map(max, grid.values())) or 1.0
    whole = sum(totals.values()) or 1.0
    begin, end = format_time(span.from_s), format_time(span.to_s)
    count = len(next(iter(grid.values())))
    each = max(1, max(10, width - _MARGIN) // count)
    lines = [f"{'':13}{begin}{end:>{max(len(end) + 2, each * count - len(begin))}}"]
    for name, seconds in totals.items():
        # Rounded up: any value above 0 has a bar.
        bars = "".join(each * _BARS[-int(-8 * value // highest)] for value in grid[name])
        lines.append(f"{name:12} {bars} {100 * seconds / whole:4.0f} %  {format_duration(seconds)}")
    return "\n".join(lines)


def _grid(buckets: list[Bucket], span: TimeRange, bucket_s: int) -> dict[str, list[float]]:
    """Seconds of each expression in every bucket of the range, those without rows too."""
    # The first bucket may begin before the range does.
    begin_s = buckets[0].time_s - -(-int(buckets[0].time_s - span.from_s) // bucket_s) * bucket_s
    columns = int(-(-(span.to_s - begin_s) // bucket_s))
    grid: dict[str, list[float]] = {}
    for bucket in buckets:
        # Rounded: a change of clocks moves buckets by an hour.
        at = min(columns - 1, round((bucket.time_s - begin_s) / bucket_s))
        for name, seconds in bucket.expressions_s.items():
            grid.setdefault(name, [0.0] * columns)[at] += seconds
    return grid


def _limits(span: TimeRange) -> str:
    return f"{format_time(span.from_s)} to {format_time(span.to_s)}"


def _available(history: History) -> str:
    """What a history holds, where nothing was found in the range."""
    recorded = history.recorded()
    return f"; the history holds {format_time(recorded[0])} to {format_time(recorded[1])}" if recorded else "; the history is empty"
