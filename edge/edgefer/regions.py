"""The ignored regions of a run, changed while it runs and kept in its configuration file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edgefer.errors import SettingsError
from edgefer.files import write_atomic
from edgefer.redact import shown_file
from edgefer.settings import DetectorSettings, Region, checked, line_of, load_settings


class Regions:
    """``[detector] ignore`` of a run; ``apply`` gives new regions to the pipeline, ``config`` is the file of --config."""

    def __init__(self, regions: Sequence[Region], apply: Callable[[Sequence[Region]], None], config: Path | None) -> None:
        self.regions, self._apply, self._config = tuple(regions), apply, config
        self.why_not_kept = ""
        """Why a change is for this run only; empty where the file has it."""
        if config is None:
            self.why_not_kept = "edgefer was started without --config"

    def change(self, regions: Sequence[Region]) -> None:
        """Ignore these regions from the next frame on, and write them into the file. Raises `SettingsError` for a wrong region."""
        rounded = [[round(share, 4) for share in region] for region in regions]
        wanted = tuple(checked({"ignore": rounded}, DetectorSettings, "regions").ignore)
        if self._config:
            try:
                write_ignore(self._config, wanted)
                self.why_not_kept = ""
            except SettingsError as error:
                self.why_not_kept = str(error)
        self.regions = wanted
        self._apply(wanted)


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
        raise SettingsError(f"{shown_file(str(path))}: write it there by hand, under [detector]: ignore = {_toml(regions)}")
    write_atomic(path, text)


def _with_ignore(text: str, regions: Sequence[Region]) -> str:
    lines = text.splitlines()
    if first := line_of(lines, ["detector", "ignore"]):
        key, _, _ = lines[first - 1].partition("=")
        last = next((last for last in range(first, len(lines) + 1) if _complete(lines[first - 1 : last])), first)
        comment = re.search(r"\s*(#[^\]]*)?$", lines[last - 1])
        lines[first - 1 : last] = [f"{key}= {_toml(regions)}{comment[0] if comment else ''}"]
    elif header := line_of(lines, ["detector"]):
        lines.insert(header, f"ignore = {_toml(regions)}")
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
