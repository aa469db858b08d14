"""Plugs: what a source, a detector or a sink declares, and where its class is found."""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Generic, TypeVar, cast
from urllib.parse import urlsplit

from edgefer.errors import EdgeferError, SettingsError
from edgefer.options import secrets_of
from edgefer.redact import ESCAPES, declare, redact
from edgefer.settings import Table
from edgefer.spec import Spec, parse_spec, split_options

__all__ = ["Form", "Plug", "Registry", "blame"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a spec: ``file:PATH``, ``history:[PATH]`` where the path may be left out, ``status:``, ``mqtt://HOST``."""

    text: str

    @property
    def scheme(self) -> str:
        """What stands before the colon."""
        return self.text.partition(":")[0]

    @property
    def network(self) -> bool:
        """Whether it is an address in the network."""
        return self.text.startswith(f"{self.scheme}://")

    @property
    def path(self) -> str:
        """What stands after the colon: empty, ``PATH``, ``[PATH]``, ``DIR`` …"""
        return self.text.partition(":")[2]


class Plug:
    """What every source, detector and sink declares; the first line of the docstring says what it is."""

    kind: ClassVar[str] = ""
    """``source``, ``detector`` or ``sink``; the base class of each sets it."""
    forms: ClassVar[tuple[str, ...]] = ()
    """How its specs are written, see `Form`. Users, passwords and queries in a form with ``//`` are never shown."""
    options: ClassVar[type[Table]] = Table
    """The options: a field each with its type, its default, and a docstring whose first line says the unit."""
    options_after: ClassVar[str] = "?"
    """The character between an address in the network and the options: ``#`` where a query belongs to the other side."""
    fault: ClassVar[type[EdgeferError]] = SettingsError
    """What `check` raises if the path is missing."""
    package: ClassVar[str] = ""
    """The package that publishes it, set by `Registry`; empty: edgefer."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """A spec in its parts, options included."""
        if cls.kind == "detector" and ":" not in text:
            text += ":"
        spec = parse_spec(text)
        if not spec.path.startswith(f"{spec.scheme}://"):
            return spec
        address, mark, tail = text.partition(cls.options_after)
        return Spec(text, spec.scheme, address, split_options(mark + tail, cls.options_after)[1])

    @classmethod
    def check(cls, spec: Spec) -> None:
        """Raises `EdgeferError` for a spec that cannot be opened; opens nothing."""
        forms = [form for form in map(Form, cls.forms) if form.scheme == spec.scheme]
        usage = " or ".join(form.text for form in forms)
        if all(form.network for form in forms):
            cls._check_address(spec, usage)
        elif spec.path and not any(form.path for form in forms):
            raise SettingsError(f"{spec}: {spec.scheme}: takes no path; options follow a question mark, {spec.scheme}:?key=value")
        elif not spec.path and all(form.path and not form.path.startswith("[") for form in forms):
            missing = {"DIR": "folder", "PATH": "file"}.get(forms[0].path, forms[0].path)
            raise cls.fault(f"{spec}: no {missing} given; write {usage}")
        spec.read(cls.options)

    @classmethod
    def _check_address(cls, spec: Spec, usage: str) -> None:
        """Raises `SettingsError` if it is no address. An @ among the options may mean a password with an unescaped mark in it."""
        try:
            url = urlsplit(spec.path)
            sound = bool(url.hostname) and url.port != 0 and "@" not in spec.text.partition(cls.options_after)[2]
        except ValueError:
            sound = False
        if not sound:
            owner = "a camera's" if cls.kind == "source" else "an"
            raise SettingsError(f"{spec}: not {owner} address; write {usage}; {ESCAPES}")


@contextmanager
def blame(plug: type[Plug]) -> Iterator[None]:
    """Whatever a plug of another package raises that is not meant for the user becomes one line that names the package."""
    try:
        yield
    except EdgeferError:
        raise
    except Exception as error:
        if not plug.package:
            raise
        raise SettingsError(f"the {plug.kind} {plug.forms[0]} of the package {plug.package} failed: {_line(error)}") from error


P = TypeVar("P", bound=Plug)


class Registry(Generic[P]):
    """The plugs of one kind: those that edgefer ships, and those that other packages publish.

    A package publishes a class as an entry point: group ``edgefer.sources``, ``edgefer.detectors`` or ``edgefer.sinks``, name = scheme.
    """

    def __init__(self, kind: str, shipped: Mapping[str, str]) -> None:
        self.kind, self._shipped = kind, shipped

    def __iter__(self) -> Iterator[str]:
        """Every scheme: first edgefer's own."""
        yield from dict.fromkeys([*self._own, *self._published])

    @property
    def _own(self) -> dict[str, str]:
        return {Form(beginning).scheme: path for beginning, path in self._shipped.items()}

    @cached_property
    def _published(self) -> dict[str, EntryPoint]:
        """What other packages publish: scheme -> entry point. Nobody takes a scheme from edgefer or from another package."""
        found: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=f"edgefer.{self.kind}s"), key=_package):
            owner = "edgefer" if point.name in self._own else _package(found[point.name]) if point.name in found else ""
            if not owner:
                found[point.name] = point
            elif owner != _package(point):
                _LOG.warning("%s %r of the package %s is ignored: %s has one of that name", self.kind, point.name, _package(point), owner)
        return found

    def find(self, scheme: str) -> type[P]:
        """The class for a scheme, imported now.

        Raises `SettingsError` that lists the schemes if there is none, or names the package whose class cannot be used.
        """
        if path := self._own.get(scheme):
            module, _, name = path.partition(":")
            return cast("type[P]", getattr(importlib.import_module(module), name))
        if point := self._published.get(scheme):
            return self._load(point)
        raise SettingsError(f"no {self.kind} {scheme!r}; there are {', '.join(self)}")

    def read(self, text: str) -> tuple[type[P], Spec]:
        """The class that a spec names and the spec in its parts, checked; nothing is opened. Raises `EdgeferError`."""
        plug = self.find(text if self.kind == "detector" and ":" not in text else parse_spec(text).scheme)
        spec = plug.parse(text)
        with blame(plug):
            plug.check(spec)
        return plug, spec

    def check(self, text: str) -> None:
        """Raises `EdgeferError` for a spec that cannot be opened; opens nothing."""
        self.read(text)

    def open(self, text: str, *settings: object) -> P:
        """What a spec names, opened; its class is called with the spec and the ``settings``. Raises `EdgeferError`."""
        plug, spec = self.read(text)
        with blame(plug):
            return cast("Callable[..., P]", plug)(spec, *settings)

    def _load(self, point: EntryPoint) -> type[P]:
        trouble = f"the package {_package(point)} cannot be used for {self.kind} {point.name!r}"
        try:
            plug = point.load()
        except Exception as error:  # whatever another package does when it is imported
            raise SettingsError(f"{trouble}: {_line(error)}; update it or remove it") from error
        if wrong := _wrong(plug, self.kind, point.name):
            raise SettingsError(f"{trouble}: {point.value} {wrong}")
        plug.package = _package(point)
        declare((form.scheme for form in map(Form, plug.forms) if not form.network), secrets_of(plug.options))
        return cast("type[P]", plug)


def _wrong(plug: object, kind: str, scheme: str) -> str:
    """Why a class cannot be used; empty if it can."""
    if not (isinstance(plug, type) and issubclass(plug, Plug) and plug.kind == kind):
        return f"is no subclass of edgefer's {kind.title()}"
    if inspect.isabstract(plug):
        missing = [name for name in dir(plug) if getattr(getattr(plug, name), "__isabstractmethod__", False)]
        return f"has no {', '.join(missing)}"
    if scheme not in [Form(form).scheme for form in plug.forms]:
        return f"has no form that begins with {scheme!r}"
    return ""


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.module


def _line(error: BaseException) -> str:
    """An error's type and text in one line."""
    return re.sub(r"\s+", " ", redact(f"{type(error).__name__}: {error}"))[:300]
