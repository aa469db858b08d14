"""Model updates over the air: downloaded in a thread, tested in a process, swapped between two frames, rolled back where they fail."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self, TextIO

import msgspec

from edgefer.errors import EdgeferError, ModelError, SettingsError
from edgefer.files import open_private
from edgefer.model.classifier import Classifier
from edgefer.mqtt.connection import Connection
from edgefer.mqtt.device import Topics
from edgefer.pipeline.stages import Pipeline, open_pipeline
from edgefer.settings import Settings
from edgefer.spec import parse_spec
from edgefer.update.download import is_complete, model_file
from edgefer.update.ledger import Ledger, LedgerFile
from edgefer.update.order import load_key
from edgefer.update.preparer import Candidate, Preparer
from edgefer.update.status import UpdateStatus

RETRY_S = (5.0, 30.0)
"""Pauses before a failed download is retried."""


def check_updates(settings: Settings, sinks: Sequence[str]) -> None:
    """Raises `SettingsError` where updates are enabled without an MQTT sink, or with a public key that cannot be read."""
    if not any(parse_spec(sink).scheme in ("mqtt", "mqtts") for sink in sinks):
        raise SettingsError("update.enabled needs a sink mqtt://host/base/node, which receives the orders")
    if settings.update.public_key:
        load_key(Path(settings.update.public_key))


@dataclass(frozen=True, slots=True)
class _Trial:
    """The current model is on trial."""

    until_s: float
    faults: int
    """Frames that had failed when the trial began."""
    fallback: Classifier | None
    """The last model that passed its trial; None where it is not open, after a restart."""


class Updater:
    """Installs the models that messages on ``<base>/<node>/update`` name, and publishes an `UpdateStatus`.

    A context manager. `open_pipeline` gives the pipeline to start with; `step` is called between two frames of the main thread. A
    message never stops inference: every failure is published, and the model in use stays.

    Raises `SettingsError` as `check_updates` does, and where ``folder`` cannot be written or another process uses it.
    """

    def __init__(
        self,
        settings: Settings,
        sinks: Sequence[str],
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        retry_s: Sequence[float] = RETRY_S,
    ) -> None:
        check_updates(settings, sinks)
        self._settings, self._clock = settings, clock
        self._folder_lock = _lock(folder)
        self._models = folder / "models"
        self._file = LedgerFile(folder / "update.json")
        self._status = UpdateStatus()
        self._attached = False
        self._trial: _Trial | None = None
        self._restart()
        self._preparer = Preparer(settings, self._models, self._file, self._status, retry_s)

    @property
    def ready(self) -> bool:
        """Whether a tested model waits for the next `step`."""
        return self._preparer.candidate is not None

    def open_pipeline(self) -> Pipeline:
        """The pipeline with the installed model, or with the configured one where that cannot be opened."""
        while True:
            current = self._file.ledger.current
            try:
                return open_pipeline(msgspec.structs.replace(self._settings, model=self._path(current)))
            except ModelError as error:
                if not current:
                    raise
                why = f"it cannot be opened: {error}"
                self._file.note(partial(Ledger.roll_back, why=why))
                self._status.set("rolled_back", current, why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def listen(self, connection: Connection, topics: Topics) -> None:
        """Follow the orders of a broker; with several, those of the first."""
        if self._attached:
            return
        self._attached = True
        # First the orders, then "ready".
        connection.subscribe(topics / "update", lambda _topic, payload, retained: self._preparer.order(payload, retained))
        self._status.attach(connection, topics)

    def between(self, pipeline: Pipeline) -> Callable[[int], None]:
        """`step` for `edgefer.pipeline.loop.run`."""
        return partial(self.step, pipeline)

    def step(self, pipeline: Pipeline, faults: int) -> None:
        """Swap in a tested model, or judge the one on trial; ``faults`` counts the frames that failed so far."""
        ledger, candidate = self._file.ledger, self._preparer.candidate
        if not (candidate or ledger.trial):
            return
        try:
            if candidate:
                self._preparer.candidate = None
                self._swap(pipeline, candidate, faults)
            elif self._trial is None:
                # A paused trial continues after a restart.
                self._trial = _Trial(self._trial_end_s(), faults, None)
            elif faults > self._trial.faults:
                self._roll_back(pipeline, "a frame failed during its trial")
            elif self._clock() >= self._trial.until_s:
                self._pass_trial()
        except (EdgeferError, OSError) as error:
            sha256 = candidate.sha256 if candidate else ledger.current
            self._trial = self._trial and replace(self._trial, faults=faults)
            self._status.set("refused", sha256, f"cannot be installed: {error}")

    def close(self, failed: bool = False) -> None:
        """Stop; a trial continues after the next start, unless errors have ended it too often: ``failed`` counts one."""
        self._preparer.close()
        if self._file.ledger.trial:
            self._file.note(lambda ledger: ledger.end(failed))
        self._folder_lock.close()

    def _restart(self) -> None:
        """Bring ledger and model files up to date, and set the first status."""
        found = self._file.ledger
        ledger = found.restart(self._settings.model)
        while ledger.current and not is_complete(model_file(self._models, ledger.current), ledger.current):
            ledger = ledger.roll_back("its file is damaged or missing")
        self._file.note(lambda _: ledger)
        for folder in self._models.glob("*"):
            if folder.name not in (ledger.current, ledger.previous):
                shutil.rmtree(folder, ignore_errors=True)
        if found.configured == ledger.configured and found.current != ledger.current:
            self._status.set("rolled_back", found.current, ledger.refused[found.current])
        else:
            self._status.set("trial" if ledger.trial else "installed" if ledger.current else "ready", ledger.current)

    def _swap(self, pipeline: Pipeline, candidate: Candidate, faults: int) -> None:
        if not self._file.ledger.trial:
            fallback: Classifier | None = pipeline.classifier
        else:
            fallback = self._trial.fallback if self._trial else None
        # On disk first: if the first frame crashes the process, the next start rolls back.
        self._file.write(lambda ledger: ledger.start_trial(candidate.sha256))
        pipeline.swap(candidate.classifier)
        self._trial = _Trial(self._trial_end_s(), faults, fallback)
        self._status.set("trial", candidate.sha256)

    def _roll_back(self, pipeline: Pipeline, why: str) -> None:
        ledger, fallback = self._file.ledger, self._trial and self._trial.fallback
        pipeline.swap(fallback or Classifier(self._path(ledger.previous), self._settings.threads, self._settings.classify.prior))
        self._trial = None
        self._file.note(lambda ledger: ledger.roll_back(why))
        self._status.set("rolled_back", ledger.current, why)

    def _pass_trial(self) -> None:
        self._trial = None
        previous = self._file.ledger.previous
        self._file.note(Ledger.pass_trial)
        current = self._file.ledger.current
        self._status.set("installed", current)
        # Other folders stay, since a download may be in progress; the next start removes the rest.
        if previous and previous not in (current, self._preparer.ordered):
            shutil.rmtree(self._models / previous, ignore_errors=True)

    def _trial_end_s(self) -> float:
        return self._clock() + self._settings.update.trial_s

    def _path(self, sha256: str) -> str:
        """Path of a downloaded model, or the setting ``model``."""
        return str(model_file(self._models, sha256)) if sha256 else self._file.ledger.configured


def _lock(folder: Path) -> TextIO:
    """Lock the folder as long as the process lives; raises `SettingsError` where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_private(folder / "update.lock")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(f"update: another edgefer keeps its models in {folder}; give each its own STATE_DIRECTORY") from None
    except OSError as error:
        raise SettingsError(f"update: cannot write into {folder}: {error.strerror}; set STATE_DIRECTORY") from None
    return lock
