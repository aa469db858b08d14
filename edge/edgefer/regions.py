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


class Regions:
    """``[detector] ignore`` of a run; ``apply`` gives new regions to the pipeline, ``config`` is the file of --config."""

    def __init__(self, regions: Sequence[Region], apply: Callable[[Sequence[Region]], None], config: Path | None) -> None:
        self.regions, self._apply, self._config = tuple(regions), apply, config
        self._lock = threading.Lock()
        self.why_not_kept = "edgefer was started without --config" if not config else "" if _writable(config) else _NOT_WRITTEN
        """Why a change holds for this run only; empty where the file has it."""

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
            self.why_not_kept = ""
        except SettingsError as error:
            # Readers of the page need not know the folders of this machine.
            self.why_not_kept = _NOT_WRITTEN
            _LOG.warning("%s; to keep the regions add under [detector]: ignore = %s", error, _toml(regions))


def _writable(config: Path) -> bool:
    """Whether the file may be replaced: its folder counts."""
    return os.access(config.parent, os.W_OK)


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
