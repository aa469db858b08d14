"""What a struct of options says of each: type, range, unit, default and help, for ``--help`` and for documents."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import NODEFAULT, Meta
from msgspec import inspect as types

FilePath = Annotated[str, Meta(extra={"holds": "file"})]
"""The path of a file."""
SecretFile = Annotated[str, Meta(extra={"holds": "file with a secret"})]
"""The path of a file that holds a secret: its content is cut out of a support bundle."""
Secret = Annotated[str, Meta(extra={"holds": "secret"})]
"""A secret itself: it is cut out of every message. A `SecretFile` is better: every process reads the arguments of all others."""

_UNITS = {"s": "s", "seconds": "s", "ms": "ms", "px": "pixels", "mb": "MB", "days": "days", "fps": "frames/s"}
_UNITS |= {"width": "pixels", "height": "pixels", "rotation": "degrees"}
"""The last word of an option's name -> its unit."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option."""

    name: str
    type: str
    """With its range, such as ``number 0..3600``; what a text holds, such as ``file``."""
    unit: str
    default: str
    """As it is written; empty if there is none."""
    help: str
    """The first line of the docstring below the field."""


def options_of(struct: type[msgspec.Struct]) -> list[Option]:
    """The options that a struct declares, in their order."""
    said = field_docstrings(struct)
    found = []
    for field in msgspec.structs.fields(struct):
        info = types.type_info(field.type)
        name, extra = field.encode_name, _extra(info)
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        unit = extra.get("unit", _UNITS.get(name.rpartition("_")[2], ""))
        found.append(Option(name, extra.get("holds", _type(info)), unit, _written(default), said.get(field.name, "")))
    return found


def secrets_of(struct: type[msgspec.Struct]) -> list[str]:
    """The names of the options that are secrets."""
    return [option.name for option in options_of(struct) if option.type == "secret"]


def field_docstrings(struct: type) -> dict[str, str]:
    """Field -> first line of the docstring below it, also of inherited fields."""
    said: dict[str, str] = {}
    for kind in reversed([kind for kind in struct.__mro__ if kind not in (object, msgspec.Struct)]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        except (OSError, TypeError, SyntaxError):  # defined without a file
            continue
        fields = body.body if isinstance(body, ast.ClassDef) else []
        for field, text in pairwise(fields):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    said[name] = words.strip().splitlines()[0]
    return said


def _extra(info: types.Type) -> dict[str, str]:
    return dict(info.extra or {}) if isinstance(info, types.Metadata) else {}


def _type(info: types.Type) -> str:
    info = info.type if isinstance(info, types.Metadata) else info
    match info:
        case types.IntType() | types.FloatType():
            name = "whole number" if isinstance(info, types.IntType) else "number"
            return f"{name} {_range(info)}".strip()
        case types.BoolType():
            return "true, false"
        case types.LiteralType():
            return ", ".join(map(str, info.values))
        case types.UnionType():
            return ", ".join(_type(one) for one in info.types if not isinstance(one, types.NoneType))
        case types.ListType(item_type=each) | types.DictType(value_type=each):
            return f"{'list' if isinstance(info, types.ListType) else 'table'} of {_type(each)}"
    return "text"


def _range(info: types.IntType | types.FloatType) -> str:
    low = f"{info.ge:g}" if info.ge is not None else f"above {info.gt:g}" if info.gt is not None else ""
    high = f"{info.le:g}" if info.le is not None else f"below {info.lt:g}" if info.lt is not None else ""
    if low and high:
        return f"{low} to {high}" if info.ge is None or info.le is None else f"{low}..{high}"
    return f"from {low}" if low and info.ge is not None else low or (f"up to {high}" if high else "")


def _written(value: object) -> str:
    """A default as one writes it in a spec."""
    if value in (None, NODEFAULT):
        return ""
    if isinstance(value, list):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
