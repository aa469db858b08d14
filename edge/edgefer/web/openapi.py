"""The OpenAPI document of the JSON API: a table of its operations, and schemas generated from the types of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import msgspec

from edgefer.web.answers import Answer, Error, History, Ignored, IgnoreRegions, Model, Privacy, PrivacyChange, State, Status

Schema = dict[str, object]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """One possible reply to an operation."""

    description: str
    content: type[Answer] | Schema | None = None
    """The type of a JSON answer, or a schema; None: no content."""
    media_type: str = JSON
    headers: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query."""

    name: str
    description: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Operation:
    """One path of the API with its method."""

    path: str
    summary: str
    replies: Mapping[int, Reply]
    description: str = ""
    method: str = "GET"
    parameters: tuple[Parameter, ...] = ()
    body: type[Answer] | None = None
    public: bool = False
    """Needs no token."""


_REFUSALS = {
    400: Reply("The request cannot be read", Error),
    401: Reply("A token is needed, or it is wrong", Error),
    403: Reply("The request comes from another site, or the configuration forbids it", Error),
    421: Reply("The Host is not a name of this machine", Error),
    429: Reply("Too many wrong tokens, or too many open streams", Error),
}
"""Any operation may reply so."""
_TEXT: Schema = {"type": "string"}
_TIME: Schema = {
    "anyOf": [
        {"type": "string", "pattern": r"^(now|today|yesterday|[0-9]{1,5}(s|m|min|h|d|w)|([0-9]{1,7}|[0-9]{9,10})(\.[0-9]{1,6})?)$"},
        {"type": "string", "format": "date-time"},
    ]
}
_TIME_FORMS = "Seconds since 1970, ISO 8601 (local time where it names no zone), 90m, 24h or 7d ago, now, today, yesterday"

OPERATIONS = (
    Operation("/api/state", "What is seen and how the run is doing, now", {200: Reply("The state", State)}),
    Operation(
        "/api/events",
        "The state and the faces as a stream",
        {200: Reply("Server-sent events", _TEXT, "text/event-stream")},
        "Event 'state' each second: a State without observation. Event 'faces' at most ten times a second: an Observation. "
        "At most 16 streams at a time.",
    ),
    Operation(
        "/api/history",
        "What was seen over time",
        {200: Reply("Buckets", History), 503: Reply("The history cannot be read now", Error)},
        parameters=(
            Parameter("from", _TIME_FORMS, {**_TIME, "default": "24h"}),
            Parameter("to", _TIME_FORMS, {**_TIME, "default": "now"}),
            Parameter(
                "bucket",
                "Seconds, rounded up to whole minutes; by default the usual length that gives at most 100 buckets",
                {"type": "integer", "minimum": 1, "maximum": 999_999_999},
            ),
        ),
    ),
    Operation("/api/model", "The model in use", {200: Reply("The model", Model)}),
    Operation(
        "/api/picture",
        "The last frame shown, as JPEG",
        {
            200: Reply(
                "The picture; encoded on request, once for all readers",
                {"type": "string", "format": "binary"},
                "image/jpeg",
                {"edgefer-frame": {"description": "Index of the frame", "schema": {"type": "integer"}}},
            ),
            204: Reply("No picture: none yet, or the privacy level allows none"),
        },
        parameters=(Parameter("boxes", "Draw each face's box, expression and probability", {"type": "boolean", "default": False}),),
    ),
    Operation(
        "/api/privacy",
        "Change the privacy level, up to what the configuration allows",
        {200: Reply("The level in use now", Privacy)},
        "For all readers, until the run ends.",
        method="PUT",
        body=PrivacyChange,
    ),
    Operation("/api/ignore", "The regions in which faces are ignored", {200: Reply("The regions", Ignored)}),
    Operation(
        "/api/ignore",
        "Ignore other regions instead",
        {200: Reply("The regions now", Ignored)},
        "Only while pictures are shown. Regions are cut at the frame's edge. "
        "The configuration file keeps them if it was given and can be written.",
        method="POST",
        body=IgnoreRegions,
    ),
    Operation("/healthz", "Whether the process answers", {200: Reply("It does", Status)}, public=True),
    Operation(
        "/readyz",
        "Whether frames come",
        {200: Reply("One came within the last five seconds", Status), 503: Reply("None did", Status)},
        public=True,
    ),
    Operation("/metrics", "Metrics for Prometheus", {200: Reply("Metrics", _TEXT, "text/plain")}),
)
"""The whole API."""


@cache
def document() -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    types = {reply.content for operation in OPERATIONS for reply in _replies(operation).values() if isinstance(reply.content, type)}
    types |= {operation.body for operation in OPERATIONS if operation.body}
    ordered = sorted(types, key=lambda answer: answer.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "edgefer",
            "version": "1",
            "summary": "Facial expressions seen by one device",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "An expression is not an emotion. A token is needed only where other machines can reach the device's address.",
        },
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": schemas},
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1)


def _replies(operation: Operation) -> dict[int, Reply]:
    return {**operation.replies, **_REFUSALS}


def _operation(operation: Operation) -> Schema:
    content: Schema = {"summary": operation.summary}
    if operation.description:
        content["description"] = operation.description
    if operation.public:
        content["security"] = []
    if operation.parameters:
        content["parameters"] = [
            {"name": parameter.name, "in": "query", "description": parameter.description, "schema": parameter.schema}
            for parameter in operation.parameters
        ]
    if operation.body:
        content["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(operation.body)}}}
    content["responses"] = {str(status): _reply(reply) for status, reply in sorted(_replies(operation).items())}
    return content


def _reply(reply: Reply) -> Schema:
    content: Schema = {"description": reply.description}
    if reply.headers:
        content["headers"] = reply.headers
    if reply.content is not None:
        content["content"] = {reply.media_type: {"schema": _schema(reply.content)}}
    return content


def _schema(content: type[Answer] | Schema) -> Schema:
    return {"$ref": f"#/components/schemas/{content.__name__}"} if isinstance(content, type) else content
