"""What a history answers: buckets of time, visits and changes; times are seconds since 1970."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Bucket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sums of one bucket of time."""

    time_s: Annotated[int, Meta(description="When it begins, seconds since 1970")]
    frames: int
    watched_s: Annotated[float, Meta(description="Seconds of it that were watched")]
    expressions_s: Annotated[dict[str, float], Meta(description="Seconds of face by expression: two faces for a second are two seconds")]


class FaceVisit(msgspec.Struct, frozen=True):
    """One face's visit: seconds of each expression, and how often it changed. ``run`` and ``track`` say which face, not who."""

    run: int
    track: int
    first_s: float
    last_s: float
    changes: int
    expressions_s: dict[str, float]


class FaceChange(msgspec.Struct, frozen=True):
    """From ``time_s`` on a face shows ``expression``, with the probability ``score``."""

    time_s: float
    run: int
    track: int
    expression: str
    score: float
