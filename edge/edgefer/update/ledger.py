"""The update ledger: which models were installed, and why others failed. It outlives a restart."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from edgefer.files import atomic_path

_LOG = logging.getLogger(__name__)

MAX_REFUSED = 20
"""Failed models that are remembered."""
MAX_ENDS = 2
"""Ends of a trial by an error, such as too much memory or a camera that is gone, after which the next start rolls back."""


class Ledger(msgspec.Struct, frozen=True):
    """Models are named by their sha256; the configured model is the empty string. Each method returns the next ledger."""

    configured: str = ""
    """The setting ``model`` that the ledger belongs to; another setting starts a new ledger."""
    current: str = ""
    previous: str = ""
    """The last model that passed its trial: the target of a rollback."""
    trial: Literal["", "running", "paused"] = ""
    """Whether ``current`` is on trial; paused after an orderly stop."""
    refused: dict[str, str] = {}
    """Why models failed, by model: a retained message does not install one of them again."""
    ends: int = 0
    """How often the trial was ended by an error."""
    version: int = 0
    """The highest version of a signed order, and its model: a lower one is a replay."""
    version_sha256: str = ""

    def start_trial(self, sha256: str) -> Ledger:
        """Another model is in use; a current model that is still on trial is no target of a rollback."""
        refused = {model: why for model, why in self.refused.items() if model != sha256}
        previous = self.previous if self.trial else self.current
        return msgspec.structs.replace(self, current=sha256, previous=previous, trial="running", refused=refused, ends=0)

    def accept(self, version: int, sha256: str) -> Ledger:
        """A signed order with this version is followed."""
        return msgspec.structs.replace(self, version=version, version_sha256=sha256)

    def end(self, failed: bool) -> Ledger:
        """edgefer ends: a person's stop pauses the trial, an error counts against it."""
        ends = self.ends + failed
        return msgspec.structs.replace(self, trial="running" if ends >= MAX_ENDS else "paused", ends=ends) if self.trial else self

    def pass_trial(self) -> Ledger:
        """The current model stays."""
        return msgspec.structs.replace(self, previous="", trial="")

    def roll_back(self, why: str) -> Ledger:
        """The current model failed; the previous one is in use again."""
        return msgspec.structs.replace(self, current=self.previous, previous="", trial="").refuse(self.current, why)

    def refuse(self, sha256: str, why: str) -> Ledger:
        """A model failed."""
        reasons = {**{model: reason for model, reason in self.refused.items() if model != sha256}, sha256: why}
        return msgspec.structs.replace(self, refused=dict(list(reasons.items())[-MAX_REFUSED:]))

    def restart(self, configured: str) -> Ledger:
        """edgefer starts: a trial that ended in a crash, a kill or a power cut has failed; a paused one continues."""
        if self.configured != configured:
            return Ledger(configured).accept(self.version, self.version_sha256)
        if self.trial == "running":
            ended = f"ended {self.ends} times by an error" if self.ends >= MAX_ENDS else "ended unexpectedly"
            return self.roll_back(f"edgefer {ended} during its trial")
        return msgspec.structs.replace(self, trial="running") if self.trial else self


def read_ledger(path: Path) -> Ledger:
    """The ledger of a file; a missing or damaged file gives an empty ledger, that is the configured model."""
    try:
        ledger = msgspec.json.decode(path.read_bytes(), type=Ledger)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return Ledger()
    return ledger if all(re.fullmatch("([0-9a-f]{64})?", sha256) for sha256 in (ledger.current, ledger.previous)) else Ledger()


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write the ledger atomically; creates the folder. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        draft.write_bytes(msgspec.json.encode(ledger))


class LedgerFile:
    """A ledger in memory and on disk; several threads may change it."""

    def __init__(self, path: Path) -> None:
        self.path, self.ledger = path, read_ledger(path)
        self._lock = threading.Lock()

    def write(self, change: Callable[[Ledger], Ledger]) -> None:
        """Change the ledger on disk, then in memory; raises `OSError` where the disk refuses, and changes nothing."""
        with self._lock:
            ledger = change(self.ledger)
            write_ledger(self.path, ledger)
            self.ledger = ledger

    def note(self, change: Callable[[Ledger], Ledger]) -> None:
        """Change the ledger in memory, and on disk where that is possible: on a full disk the change holds until the next start."""
        with self._lock:
            self.ledger = change(self.ledger)
            try:
                write_ledger(self.path, self.ledger)
            except OSError as error:
                _LOG.error("update: %s: cannot be written: %s", self.path, error.strerror)
