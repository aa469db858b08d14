"""Times and durations as people type them: ``2h``, ``yesterday``, ``2026-11-25T10:30``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from edgefer.errors import SettingsError

UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
LATEST_S = 4_102_444_800.0
"""The year 2100."""
FORMS = "write 90m, 24h, 7d (ago), now, today, yesterday, 2026-11-25, 2026-11-25T10:30, or seconds since 1970"


def duration_s(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``2h``, ``7d`` or ``2w``; raises `SettingsError` for anything else."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)", text.strip())
    if not match or match[2] not in UNITS_S:
        raise SettingsError(f"{text!r} is not a duration; write 90s, 30m, 2h, 7d or 2w")
    return float(match[1]) * UNITS_S[match[2]]


def moment_s(text: str, now_s: float) -> float:
    """Seconds since 1970, at most 2100; a duration is that long ago, a date without a zone is local time.

    Raises `SettingsError` for what is no time.
    """
    return min(max(0.0, _moment_s(text.strip(), now_s)), LATEST_S)


def _moment_s(text: str, now_s: float) -> float:
    if text == "now":
        return now_s
    if text in ("today", "yesterday"):
        midnight = datetime.fromtimestamp(now_s).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - timedelta(days=text == "yesterday")).timestamp()
    if re.fullmatch(r"\d{1,12}(\.\d+)?", text) and not re.fullmatch(r"\d{8}", text):
        return float(text)
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?\s*[a-z]+", text):
        return now_s - duration_s(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise SettingsError(f"{text!r} is not a time; {FORMS}") from None


def fitting_bucket_s(span_s: float, most: int = 100) -> int:
    """The shortest of the usual stretches, in seconds, of which at most ``most`` make up ``span_s``."""
    usual = (60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800)
    return next((bucket for bucket in usual if span_s / bucket <= most), usual[-1])


def words(seconds: float) -> str:
    """A duration for people: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
