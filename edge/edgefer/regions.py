"""The ignored regions of a run, changed while it runs and kept in its configuration file."""

from __future__ import annotations

import logging
import os
import re
import threading
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from edgefer.errors import SettingsError
from edgefer.files import write_atomic
from edgefer.settings import Region, line_of, load_settings

_LOG = logging.getLogger(__name__)
_NOT_WRITTEN = "the configuration file cannot be written; the log has the line to add"
_NOT_KEPT = "to keep the regions"
STATE_NAME = "ignore.json"
"""File, in the folder of the state, of regions that could not be written into the configuration file."""


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Regions that the configuration file could not take; they hold while that file says the same."""

    configured: tuple[Region, ...]
    """What ``[detector] ignore`` of the file was."""
    regions: tuple[Region, ...]


class Regions:
    """``[detector] ignore`` of a run; ``apply`` gives new regions to the pipeline, ``config`` is the file of --config.

    Where that file cannot be written, a change is kept in `STATE_NAME` in the folder ``state``, until somebody edits the key.
    """

    def __init__(
        self, regions: Sequence[Region], apply: Callable[[Sequence[Region]], None], config: Path | None, state: Path | None = None
    ) -> None:
        self.regions, self._apply, self._config = tuple(regions), apply, config
        self._configured, self._state = self.regions, state / STATE_NAME if state and config else None
        self._lock = threading.Lock()
        kept_somewhere = self._state or (config and _writable(config))
        self.why_not_kept = "edgefer was started without --config" if not config else "" if kept_somewhere else _NOT_WRITTEN
        """Why a change holds for this run only; empty where a file has it."""
        if self._state and (kept := _read_kept(self._state)) and kept.configured == self._configured:
            self.regions = kept.regions
            apply(self.regions)

    def change(self, regions: Iterable[Sequence[float]]) -> None:
        """Ignore these regions from the next frame on, and write them into the file.

        They are cut at the edge of the frame; those without an area are left out.
        """
        clipped = [(x, y, min(w, 1 - x), min(h, 1 - y)) for x, y, w, h in regions]
        rounded = [(round(x, 4), round(y, 4), round(w, 4), round(h, 4)) for x, y, w, h in clipped]
        wanted = tuple(region for region in rounded if region[2] > 0 and region[3] > 0)
        with self._lock:
            if self._config:
                self._write(self._config, wanted)
            self.regions = wanted
            self._apply(wanted)

    def _write(self, config: Path, regions: Sequence[Region]) -> None:
        try:
            write_ignore(config, regions)
            self._configured, self.why_not_kept = tuple(regions), ""
            if self._state:
                self._state.unlink(missing_ok=True)
        except SettingsError as error:
            # Readers of the page need not know the folders of this machine.
            self.why_not_kept = "" if self._keep_beside(regions) else _NOT_WRITTEN
            where = _NOT_KEPT if self.why_not_kept else f"they are kept in {self._state}; to have them in the configuration"
            _LOG.warning("%s; %s add under [detector]: ignore = %s", error, where, _toml(regions))

    def _keep_beside(self, regions: Sequence[Region]) -> bool:
        """Write the state file; False where that is impossible."""
        if not self._state:
            return False
        try:
            write_atomic(self._state, msgspec.json.encode(_Kept(self._configured, tuple(regions))))
        except SettingsError:
            return False
        return True


def _read_kept(path: Path) -> _Kept | None:
    """What a state file holds; None where there is none, or it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None


def _writable(path: Path) -> bool:
    """Whether the file may be replaced: its folder counts."""
    return os.access(path.parent, os.W_OK)


def write_ignore(path: Path, regions: Sequence[Region]) -> None:
    """Write ``[detector] ignore`` into a configuration file, whose other lines and comments stay as they are.

    Raises `SettingsError` if the file cannot be written, or has a form in which the key cannot be set line by line.
    """
    before = load_settings(path)
    text = _with_ignore(path.read_text(encoding="utf-8"), regions)
    wanted = msgspec.structs.replace(before, detector=msgspec.structs.replace(before.detector, ignore=list(regions)))
    try:
        same = msgspec.convert(tomllib.loads(text), type(before)) == wanted
    except (tomllib.TOMLDecodeError, msgspec.ValidationError):
        same = False
    if not same:
        raise SettingsError(f"{path}: detector.ignore cannot be set in a file of this form")
    write_atomic(path, text)


def _with_ignore(text: str, regions: Sequence[Region]) -> str:
    lines = text.splitlines()
    # Where the key is missing, this is the line of its table.
    first = line_of(lines, ["detector", "ignore"])
    if first and "ignore" in lines[first - 1].partition("=")[0]:
        key, _, _ = lines[first - 1].partition("=")
        last = next((last for last in range(first, len(lines) + 1) if _complete(lines[first - 1 : last])), first)
        comment = re.search(r"\s*(#[^\]]*)?$", lines[last - 1])
        lines[first - 1 : last] = [f"{key}= {_toml(regions)}{comment[0] if comment else ''}"]
    elif first:
        lines.insert(first, f"ignore = {_toml(regions)}")
    else:
        lines += ["", "[detector]", f"ignore = {_toml(regions)}"]
    return "\n".join(lines) + "\n"


def _complete(lines: list[str]) -> bool:
    """Whether lines hold a key with its whole value."""
    try:
        tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _toml(regions: Sequence[Region]) -> str:
    return "[" + ", ".join(f"[{', '.join(f'{share:g}' for share in region)}]" for region in regions) + "]"
