"""Local time and its changes: offsets from UTC, and times that no clock can mean."""

from __future__ import annotations

import time
from datetime import UTC, datetime

EARLIEST_S = 1_735_689_600
"""The year 2025. A time before it was recorded by a clock that was not set yet."""
_DAY_S = 86_400


def local_shift_sql(column: str, from_s: float, to_s: float) -> str:
    """An SQL expression: the offset from UTC in seconds of the local time of ``column``, between two times."""
    shift, cases = _offset_s(from_s), []
    for at_s, after in _changes(int(from_s), int(to_s)):
        cases.append(f"WHEN {column} < {at_s} THEN {shift}")
        shift = after
    return f"CASE {' '.join(cases)} ELSE {shift} END" if cases else str(shift)


def utc_of_local(local_s: int) -> int:
    """Seconds since 1970 of a local time, which is given as if it were UTC."""
    return int(datetime.fromtimestamp(local_s, UTC).replace(tzinfo=None).timestamp())


def _offset_s(time_s: float) -> int:
    return time.localtime(time_s).tm_gmtoff or 0


def _changes(from_s: int, to_s: int) -> list[tuple[int, int]]:
    """When the offset changes, and to what."""
    found = []
    for day_s in range(from_s, to_s, _DAY_S):
        end_s = min(day_s + _DAY_S, to_s)
        if _offset_s(day_s) == _offset_s(end_s):
            continue
        before_s = day_s
        while end_s - before_s > 1:
            middle_s = (before_s + end_s) // 2
            before_s, end_s = (middle_s, end_s) if _offset_s(middle_s) == _offset_s(day_s) else (before_s, middle_s)
        found.append((end_s, _offset_s(end_s)))
    return found
