"""Times and durations as people type them: ``2h``, ``yesterday``, ``2026-11-25T10:30``."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgefer.errors import SettingsError
from edgefer.history.aggregate import MINUTE_S

UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
BUCKETS_S = (60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800)
"""The usual lengths of a bucket, in seconds."""
LATEST_S = 4_102_444_800.0
"""The year 2100."""
FORMS = "write 90m, 24h, 7d (ago), now, today, yesterday, 2026-11-25, 2026-11-25T10:30, or seconds since 1970"


DEFAULT_BEGIN = "24h"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From one time until before another, in buckets; seconds since 1970, seconds."""

    from_s: float
    to_s: float
    bucket_s: int


def parse_range(
    begin: str | None, end: str, bucket: str | None, max_buckets: int, recorded: tuple[float, float] | None = None
) -> TimeRange:
    """The range between two typed times; without ``bucket`` the shortest usual length that gives at most ``max_buckets``.

    Without ``begin`` it is the last 24 hours, or the part of them that was ``recorded``: a short run fills a chart.
    Raises `SettingsError` where a time cannot be read, or the end is not after the beginning.
    """
    now_s = time.time()
    from_s, to_s = parse_time_s(begin or DEFAULT_BEGIN, now_s), parse_time_s(end, now_s)
    if begin is None and recorded and max(from_s, recorded[0]) < min(to_s, recorded[1]):
        from_s, to_s = max(from_s, recorded[0]), min(to_s, recorded[1])
    begin = begin or DEFAULT_BEGIN
    if from_s >= to_s:
        raise SettingsError(f"--from {begin} ({format_time(from_s)}) is not before --to {end} ({format_time(to_s)})")
    if bucket is None:
        return TimeRange(from_s, to_s, fitting_bucket_s(to_s - from_s, max_buckets))
    bucket_s = parse_duration_s(bucket)
    if bucket_s < MINUTE_S:
        raise SettingsError(f"--bucket {bucket}: the history is kept by the minute; 1m is the shortest")
    return TimeRange(from_s, to_s, round(bucket_s / MINUTE_S) * MINUTE_S)


def parse_duration_s(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``2h``, ``7d`` or ``2w``; raises `SettingsError` for anything else."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)", text.strip())
    if not match or match[2] not in UNITS_S:
        raise SettingsError(f"{text!r} is not a duration; write 90s, 30m, 2h, 7d or 2w")
    return float(match[1]) * UNITS_S[match[2]]


def parse_time_s(text: str, now_s: float) -> float:
    """Seconds since 1970, from 0 to `LATEST_S`; a duration means that long ago, a date without a zone is local time.

    Raises `SettingsError` where the text is not a time.
    """
    return min(max(0.0, _parse_time_s(text.strip(), now_s)), LATEST_S)


def _parse_time_s(text: str, now_s: float) -> float:
    if text == "now":
        return now_s
    if text in ("today", "yesterday"):
        return (midnight(now_s) - timedelta(days=text == "yesterday")).timestamp()
    if re.fullmatch(r"\d{1,12}(\.\d+)?", text) and not re.fullmatch(r"\d{8}", text):
        return float(text)
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?\s*[a-z]+", text):
        return now_s - parse_duration_s(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise SettingsError(f"{text!r} is not a time; {FORMS}") from None


def midnight(now_s: float) -> datetime:
    """The last local midnight."""
    return datetime.fromtimestamp(now_s).replace(hour=0, minute=0, second=0, microsecond=0)


def fitting_bucket_s(span_s: float, max_buckets: int = 100) -> int:
    """The shortest usual bucket, in seconds, of which at most ``max_buckets`` cover ``span_s``; else the longest."""
    return next((bucket for bucket in BUCKETS_S if span_s / bucket <= max_buckets), BUCKETS_S[-1])


def format_duration(seconds: float) -> str:
    """A duration for people: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_time(time_s: float) -> str:
    """A time for people, local: ``2026-11-25 10:30``."""
    return datetime.fromtimestamp(time_s).strftime("%Y-%m-%d %H:%M")
