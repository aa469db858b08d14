from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edgefer.options import FilePath, Option, Secret, SecretFile, options_of, secrets_of
from edgefer.settings import Table


class Base(Table, frozen=True):
    every_s: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    """Seconds between two.

    More about it.
    """


class Everything(Base, frozen=True):
    count: Annotated[int, Meta(ge=1)] = 1
    """Number of them."""
    width: Annotated[int, Meta(gt=0, lt=10)] = 4
    share: float = 0.5
    "Share of it."
    flip: bool = True
    kind: Literal["a", "b"] | None = None
    light: Annotated[float, Meta(extra={"unit": "lx"})] = 3.0
    login: SecretFile = ""
    ca: FilePath = "/etc/ca"
    pin: Secret = ""


def test_an_option_says_its_type_its_range_its_unit_its_default_and_its_help() -> None:
    assert options_of(Everything) == [
        Option("every_s", "number 0..3600", "s", "2", "Seconds between two."),
        Option("count", "whole number from 1", "", "1", "Number of them."),
        Option("width", "whole number above 0 to below 10", "pixels", "4", ""),
        Option("share", "number", "", "0.5", "Share of it."),
        Option("flip", "true, false", "", "true", ""),
        Option("kind", "a, b", "", "", ""),
        Option("light", "number", "lx", "3", ""),
        Option("login", "file with a secret", "", "", ""),
        Option("ca", "file", "", "/etc/ca", ""),
        Option("pin", "secret", "", "", ""),
    ]


def test_secrets_are_known_by_their_type() -> None:
    assert secrets_of(Everything) == ["pin"]
