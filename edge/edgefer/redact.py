"""What is never shown: users, passwords, tokens and queries, cut out of addresses and of any text that may hold some."""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import unquote

from edgefer.builtin import DETECTORS, SINKS, SOURCES

CUT = "…"
"""Stands for what was cut out."""
ESCAPES = "in a user or a password / ? # @ and blanks are written %2F %3F %23 %40 %20"

_ALL = *SOURCES, *DETECTORS, *SINKS
_NETWORK = {beginning.removesuffix("://") for beginning in _ALL if beginning.endswith("://")}
_LOCAL = {beginning.removesuffix(":") for beginning in _ALL if not beginning.endswith("://")}
"""Kinds of spec that do not lead into the network: what follows the colon is not cut out. A kind that is unknown may lead anywhere."""
_SECRET_OPTIONS = set[str]()
_NAMED = re.compile(
    r"(?i)(?<![a-z])(pass(?:word|wd|phrase)?|pwd|token|secret|api[_-]?key|authorization|credentials?)(['\"]?[ \t]*[=:][ \t]*['\"]?)"
    r"(?:(?:bearer|basic|digest)[ \t]+)?[^\s'\"&;,]+"
)
_OPTIONS = re.compile(r"#(?:[a-z_]+=[\d.]+&?)+")
"""Options of a stream, which are edgefer's own and no secret."""


def declare(local: Iterable[str], secret_options: Iterable[str]) -> None:
    """Further kinds of spec that do not lead into the network, and further options whose values are cut out."""
    _LOCAL.update(set(local) - _NETWORK)
    _SECRET_OPTIONS.update(secret_options)


def _local() -> str:
    """A pattern: a local kind with its colon. With two slashes after it, it is an address all the same."""
    return rf"(?:{'|'.join(sorted(_LOCAL))}):(?!//)"


def _start() -> str:
    """A pattern: how an address in the network begins."""
    return rf"(?<![\w+.-])(?!{_local()})[A-Za-z][\w+.-]*:/+"


def redact_url(address: str) -> str:
    """The address of a source, a sink or a broker as anybody may read it: without user, password and query.

    Where a password holds / ? # or @ as they are, which no address may, the host is shown only where it cannot be a part of it.

    >>> redact_url("rtsp://me:secret@camera/live?token=1")
    'rtsp://…@camera/live?…'
    """
    scheme, colon, rest = address.partition(":")
    if not colon:
        return address
    if re.match(_local(), address):
        return scheme + colon + redact(rest)
    body = rest.lstrip("/")
    slashes = rest[: len(rest) - len(body)]
    lead = f"{scheme}:{slashes}" if slashes or "@" not in body else ""
    before, at, after = body.rpartition("@")
    if "?" in before:
        # Either the password holds a ?, or the query an @: nothing tells.
        return lead + CUT
    place = re.split(r"[?#]|/[^/?#]*=", after, maxsplit=1)[0]
    # What stands for a port and is no number may be a password that lacks its @.
    host = re.match(r"(?:\[[^]]*\]|[^:/]*)(?::\d{0,5}(?=/|$))?(?=/|$)", place)
    if not host:
        place = re.split("[:/]", place, maxsplit=1)[0] + f":{CUT}"
    elif place != after:
        options = _OPTIONS.search(after) if after.startswith("#", len(place)) else None
        place += options[0] if options and len(place) + len(options[0]) == len(after) else after[len(place)] + CUT
    return _cut_options(lead + (CUT + at if at else "") + place)


def redact_known(text: str, known: Collection[str]) -> str:
    """Any text without the secrets that are known."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, CUT)
    return text


def redact(text: str) -> str:
    """Any text, such as a line of a log, without what looks like a secret in it."""
    return _cut_options(_NAMED.sub(rf"\1\2{CUT}", re.sub(".+", lambda line: _scrub_line(line[0]), text)))


def _scrub_line(line: str) -> str:
    """Takes time that grows with the length alone: whoever writes to the broker or answers as a server has a say in it."""
    last = re.match(r".*@(?=\S)", line)
    start = re.compile(_start()).search(line, 0, last.end()) if last else None
    begin = end = start.start() if start else len(line)
    if last and start:
        # Up to the last @ of the line: a password that is not written as it should be may hold anything, blanks too.
        end = last.end() + len(re.split(r"[\s'\"]", line[last.end() :], maxsplit=1)[0])
    before, address, after = line[:begin], line[begin:end], line[end:]
    if last:
        before = re.sub(r"\S+", lambda word: _without_login(word[0]), before)
    if not start:
        before = _cut_addresses(before)
    return before + _shown_in_text(address) + _cut_addresses(after)


def _cut_options(text: str) -> str:
    names = "|".join(map(re.escape, sorted(_SECRET_OPTIONS)))
    return re.sub(rf"([?&#](?:{names})=)[^\s'\"&]+", rf"\1{CUT}", text) if names else text


def _cut_addresses(text: str) -> str:
    return re.sub(rf"{_start()}[^\s'\"]*", lambda found: _shown_in_text(found[0]), text)


def _without_login(word: str) -> str:
    """``user:password@host`` alone, or after a kind of spec that no address belongs after."""
    login, at, host = word.rpartition("@")
    lead = re.match(rf"['\"(]*(?:{_local()})?", login)
    kept = lead[0] if lead else ""
    return f"{kept}{CUT}{at}{host}" if ":" in login[len(kept) :] else word


def _shown_in_text(found: str) -> str:
    address = found.rstrip(".,:;)")
    return redact_url(address) + found[len(address) :]


def secret_parts(address: str) -> list[str]:
    """The parts of an address that `redact_url` leaves out, as they may turn up elsewhere; short ones would hit innocent words."""
    body = address.partition(":")[2].lstrip("/")
    user = body.rpartition("@")[0]
    parts = [user, user.partition(":")[2], *(option.partition("=")[2] or option for option in body.partition("?")[2].split("&"))]
    return [part for part in {*parts, *map(unquote, parts)} if len(part) > 3]


def redact_file_name(name: str) -> str:
    """The name of a file that cannot be read; in its stead the folder looked in, where the name may be the secret that belongs inside."""
    return name if re.fullmatch(r"[\w~ -]*[./][\w./~ -]*", name) else f"{CUT} in {Path.cwd()}"


def reason(error: BaseException) -> str:
    """Why an address could not be reached, in words; what Python says of a malformed one repeats parts of it."""
    from http.client import InvalidURL

    inner = getattr(error, "reason", None) or error
    if isinstance(inner, InvalidURL | ValueError):
        return f"the address, or a proxy's, is malformed: {ESCAPES}"
    return getattr(inner, "strerror", None) or redact(str(inner)) or type(inner).__name__


class RedactingFormatter(logging.Formatter):
    """A log without secrets, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole entry, scrubbed."""
        return redact(super().format(record))


def print_crash(error: BaseException) -> None:
    """A traceback on standard error, scrubbed: an error's text may quote an address."""
    print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr, flush=True)


def redact_crashes() -> None:
    """From here on the crash of a thread is printed by `print_crash`."""
    threading.excepthook = lambda crash: print_crash(crash.exc_value or crash.exc_type())
