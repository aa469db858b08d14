"""The answers of the JSON API: the handlers encode these types, and `edgefer.web.openapi` describes them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from edgefer.history.rows import Bucket
from edgefer.observation_json import Observation
from edgefer.settings import MAX_REGIONS, Share
from edgefer.web.health import Vitals

PrivacyLevel = Literal["totals", "faces", "pixelated", "pictures"]
LEVELS: tuple[PrivacyLevel, ...] = get_args(PrivacyLevel)
"""From the least to the most that is shown."""
Level = Annotated[
    PrivacyLevel,
    Meta(
        description="What is shown, from the least to the most: sums over time only; each face's box and scores; "
        "also pixelated pictures; also clear pictures"
    ),
]


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One JSON object of the API."""


class Error(Answer, frozen=True):
    """Why a request was refused."""

    error: str


class Status(Answer, frozen=True):
    """The result of a health check."""

    status: str


class State(Answer, frozen=True):
    """What is seen and how the run is doing."""

    time: Annotated[float, Meta(description="Seconds since 1970")]
    version: str
    source: Annotated[str, Meta(description="The source's description")]
    model: Annotated[str, Meta(description="The model's name")]
    labels: Annotated[tuple[str, ...], Meta(description="The model's classes in its order; an expression may also be uncertain")]
    show: Level
    allowed: Annotated[tuple[PrivacyLevel, ...], Meta(description="Levels that the configuration allows")]
    today: Annotated[dict[str, float], Meta(description="Seconds of face by expression since local midnight")]
    vitals: Vitals
    observation: Annotated[Observation | None, Meta(description="The last one shown; null where there is none, or only totals are shown")]


class Privacy(Answer, frozen=True):
    """The privacy level in use, and the levels that the configuration allows."""

    show: Level
    allowed: tuple[PrivacyLevel, ...]


class PrivacyChange(Answer, frozen=True):
    """The privacy level to use."""

    show: Level


# Not a tuple: JSON Schema has another word for its items than msgspec writes.
Shares = Annotated[list[Share], Meta(description="x, y, width and height, as shares 0..1 of the frame", min_length=4, max_length=4)]


class IgnoreRegions(Answer, frozen=True):
    """The regions of the frame to ignore."""

    regions: Annotated[list[Shares], Meta(max_length=MAX_REGIONS)]


class Ignored(Answer, frozen=True):
    """The regions of the frame in which faces are ignored."""

    regions: list[Shares]
    editable: Annotated[bool, Meta(description="Whether they can be changed now: only while pictures are shown")]
    why_not_kept: Annotated[str, Meta(description="Why a change holds until the run ends; empty: the configuration file keeps it")]


class History(Answer, frozen=True):
    """What was seen over time."""

    from_s: Annotated[float, Meta(description="Seconds since 1970")] = msgspec.field(name="from")
    to_s: Annotated[float, Meta(description="Seconds since 1970")] = msgspec.field(name="to")
    bucket_s: Annotated[
        int, Meta(description="Length of a bucket in seconds; longer than requested where there would be more than 1000 buckets")
    ]
    buckets: Annotated[list[Bucket], Meta(description="In order; empty ones are left out")]


class Quantization(Answer, frozen=True):
    """The real value of a quantized q is ``scale * (q - zero_point)``."""

    scale: float
    zero_point: int


class ModelInput(Answer, frozen=True):
    """The model's input tensor."""

    shape: list[int]
    dtype: str
    quantization: Quantization | None


class Model(Answer, frozen=True, kw_only=True):
    """The facts of 'edgefer show --json', without the path."""

    name: str
    sha256: str
    size: Annotated[int, Meta(description="Bytes")] | UnsetType = UNSET
    labels: list[str]
    input: ModelInput | UnsetType = UNSET
    crop_margin: Annotated[float, Meta(description="Margin around a face's box, as a share of the box")] | UnsetType = UNSET
    quantization: Annotated[str, Meta(description="The convert recipe")] | UnsetType = UNSET
    uncertain_below: Annotated[float, Meta(description="Below this probability the answer is uncertain")] | UnsetType = UNSET
    prior: Annotated[dict[str, float], Meta(description="Assumed share of each label; empty: not stated")] | UnsetType = UNSET
    metrics: dict[str, float] | UnsetType = UNSET
    provenance: dict[str, str] | UnsetType = UNSET


class Json(Response):
    """A response that encodes one answer."""

    media_type = "application/json"

    def __init__(self, content: Answer, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(content, status, headers)

    def render(self, content: Answer) -> bytes:
        """The answer as JSON."""
        return msgspec.json.encode(content)


def refuse(status: int, why: str, headers: dict[str, str] | None = None) -> Json:
    """An error as JSON: ``{"error": …}``."""
    return Json(Error(error=why), status, headers)
