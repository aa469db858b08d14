"""Secrets are replaced by ``…`` in every text that leaves the program: users, passwords, tokens, queries of addresses."""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from edgefer.builtin import DETECTORS, SINKS, SOURCES

CUT = "…"
"""Replaces a secret."""
ESCAPES = "in a user or a password / ? # @ and blanks are written %2F %3F %23 %40 %20"

_ALL = *SOURCES, *DETECTORS, *SINKS
_NETWORK = {beginning.removesuffix("://") for beginning in _ALL if beginning.endswith("://")}
_LOCAL = {beginning.removesuffix(":") for beginning in _ALL if not beginning.endswith("://")}
"""Schemes of specs that are no addresses in the network: their paths are not redacted. An unknown scheme counts as an address."""
_SECRET_OPTIONS = set[str]()
_NAMED = re.compile(
    r"(?i)(?<![a-z])(pass(?:word|wd|phrase)?|pwd|token|secret|api[_-]?key|authorization|credentials?)(['\"]?[ \t]*[=:][ \t]*['\"]?)"
    r"(?:(?:bearer|basic|digest)[ \t]+)?[^\s'\"&;,]+"
)
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OPTIONS = re.compile(r"#(?:[a-z_]+=[\d.]+&?)+")
"""Options of a stream with numbers as values: no secret."""


def declare(local: Iterable[str], secret_options: Iterable[str]) -> None:
    """Add schemes that are no addresses in the network, and options whose values are secrets."""
    _LOCAL.update(set(local) - _NETWORK)
    _SECRET_OPTIONS.update(secret_options)


def _local() -> str:
    """A pattern for a local scheme and its colon; with two slashes it is an address nevertheless."""
    return rf"(?:{'|'.join(sorted(_LOCAL))}):(?!//)"


def _start() -> str:
    """A pattern for the beginning of an address in the network."""
    return rf"(?<![\w+.-])(?!{_local()})[A-Za-z][\w+.-]*:/+"


def redact_url(address: str) -> str:
    """The address of a source, a sink or a broker without user, password and query.

    A password with an unescaped / ? # or @ makes the address ambiguous: the host is kept only if it cannot be part of the password.

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
        # Either the password has a ?, or the query has an @: both are possible.
        return lead + CUT
    visible = re.split(r"[?#]|/[^/?#]*=", after, maxsplit=1)[0]
    # A port that is no number may be a password without its @.
    host = re.match(r"(?:\[[^]]*\]|[^:/]*)(?::\d{0,5}(?=/|$))?(?=/|$)", visible)
    if not host:
        visible = re.split("[:/]", visible, maxsplit=1)[0] + f":{CUT}"
    elif visible != after:
        options = _OPTIONS.search(after) if after.startswith("#", len(visible)) else None
        visible += options[0] if options and len(visible) + len(options[0]) == len(after) else after[len(visible)] + CUT
    if scheme not in _LOCAL:
        visible = _redact_path(visible)
    return _redact_options(lead + (CUT if before else "") + at + visible)


def _redact_path(visible: str) -> str:
    """Host and path without the parts that are tokens: some cameras take one instead of a password."""
    end = re.search(r"[?#]|$", visible)
    shown, rest = (visible[: end.start()], visible[end.start() :]) if end else (visible, "")
    host, *path = shown.split("/")
    return "/".join([host, *(CUT if is_token(part, before) else part for before, part in pairwise(["", *path]))]) + rest


def is_token(part: str, before: str = "") -> bool:
    """Whether a part of a path looks random, or follows a part that announces a token.

    >>> is_token("Bf3kTzAy2Dxq81Qm"), is_token("h264Preview_01_main")
    (True, False)
    """
    if re.fullmatch(r"(?i)(?:access[_-]?)?(?:token|key|secret|auth|password)", before) and part:
        return True
    return any(_is_random(run) for run in re.findall(r"[A-Za-z0-9]+", part)) or bool(_UUID.fullmatch(part))


def _is_random(run: str) -> bool:
    """Letters and digits that change too often for words and numbers."""
    letters_digits = len(re.findall(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", run))
    cases = len(re.findall(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[a-z])", run))
    return (letters_digits >= 3) or (len(run) >= 16 and letters_digits > 0) or cases >= 6 or (run.isdigit() and len(run) >= 10)


def redact_known(text: str, known: Collection[str]) -> str:
    """A text without the known secrets."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, CUT)
    return text


def redact(text: str) -> str:
    """A text, such as a line of a log, without anything that looks like a secret."""
    return _redact_options(_NAMED.sub(_redact_named, re.sub(".+", lambda line: _redact_line(line[0]), text)))


def _redact_named(found: re.Match[str]) -> str:
    """Redact what stands after ``password:``; after a path that ends so, such as ``/etc/passwd: no such file``, a message goes on."""
    path = re.split(r"[\s'\"]", found.string[: found.end(1)])[-1]
    message = found[2].startswith(":") and found[2] != ":" and "=" not in path
    if message and (path.startswith(("/", "./", "../", "~/")) or Path(path).is_file()):
        return found[0]
    return f"{found[1]}{found[2]}{CUT}"


def _redact_line(line: str) -> str:
    """Runs in linear time: brokers and servers, which may be hostile, choose parts of the text."""
    last = re.match(r".*@(?=\S)", line)
    start = re.compile(_start()).search(line, 0, last.end()) if last else None
    begin = end = start.start() if start else len(line)
    if last and start:
        # Up to the last @ of the line: an unescaped password may hold anything, also blanks.
        end = last.end() + len(re.split(r"[\s'\"]", line[last.end() :], maxsplit=1)[0])
    before, address, after = line[:begin], line[begin:end], line[end:]
    if last:
        before = re.sub(r"\S+", lambda word: _redact_login(word[0]), before)
    if not start:
        before = _redact_addresses(before)
    return before + _redact_in_text(address) + _redact_addresses(after)


def _redact_options(text: str) -> str:
    names = "|".join(map(re.escape, sorted(_SECRET_OPTIONS)))
    return re.sub(rf"([?&#](?:{names})=)[^\s'\"&]+", rf"\1{CUT}", text) if names else text


def _redact_addresses(text: str) -> str:
    return re.sub(rf"{_start()}[^\s'\"]*", lambda found: _redact_in_text(found[0]), text)


def _redact_login(word: str) -> str:
    """Redact ``user:password@host`` as a word, or after a local scheme."""
    login, at, host = word.rpartition("@")
    lead = re.match(rf"['\"(]*(?:{_local()})?", login)
    kept = lead[0] if lead else ""
    return f"{kept}{CUT}{at}{host}" if ":" in login[len(kept) :] else word


def _redact_in_text(found: str) -> str:
    address = found.rstrip(".,:;)")
    return redact_url(address) + found[len(address) :]


def secret_parts(address: str) -> list[str]:
    """The parts that `redact_url` removes from an address, for `redact_known`; parts of up to 3 characters would match ordinary words."""
    body = address.partition(":")[2].lstrip("/")
    user = body.rpartition("@")[0]
    parts = [user, user.partition(":")[2], *(option.partition("=")[2] or option for option in body.partition("?")[2].split("&"))]
    path = re.split(r"[?#]", body.rpartition("@")[2])[0].split("/")
    parts += [part for before, part in pairwise(path) if is_token(part, before)]
    return [part for part in {*parts, *map(unquote, parts)} if len(part) > 3]


def redact_file_name(name: str) -> str:
    """The name of a file that cannot be read; the current folder if the name may be a secret that belongs into the file."""
    return name if re.fullmatch(r"[\w~ -]*[./][\w./~ -]*", name) else f"{CUT} in {Path.cwd()}"


def reason(error: BaseException) -> str:
    """Why an address cannot be reached; Python's own message about a malformed address would repeat parts of it."""
    from http.client import InvalidURL

    inner = getattr(error, "reason", None) or error
    if isinstance(inner, InvalidURL | ValueError):
        return f"the address, or a proxy's, is malformed: {ESCAPES}"
    return getattr(inner, "strerror", None) or redact(str(inner)) or type(inner).__name__


class RedactingFormatter(logging.Formatter):
    """Log entries without secrets, in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        """The entry, redacted."""
        return redact(super().format(record))


def print_crash(error: BaseException) -> None:
    """Print a traceback on standard error, redacted: an error may quote an address."""
    print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr, flush=True)


def redact_crashes() -> None:
    """Print crashes of threads with `print_crash` from now on."""
    threading.excepthook = lambda crash: print_crash(crash.exc_value or crash.exc_type())
