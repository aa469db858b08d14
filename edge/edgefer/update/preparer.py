"""Prepares an ordered model in a thread: download, self-test, and a classifier that is ready to be swapped in."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefer.errors import EdgeferError, ModelError, SettingsError
from edgefer.model.classifier import Classifier
from edgefer.queues import Mailbox
from edgefer.settings import Settings
from edgefer.sinks.actions import check_actions
from edgefer.update.download import AddressNotAllowed, download
from edgefer.update.ledger import LedgerFile
from edgefer.update.order import Order, check_fresh, read_order
from edgefer.update.selftest import self_test_process
from edgefer.update.status import UpdateStatus

_LOG = logging.getLogger(__name__)


NOT_DOWNLOADED = "it cannot be downloaded; the device's log has the reason"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that passed the self-test."""

    sha256: str
    classifier: Classifier


class Preparer:
    """Follows the newest order; ``retry_s`` are the pauses before a failed download is retried."""

    def __init__(self, settings: Settings, models: Path, ledger: LedgerFile, status: UpdateStatus, retry_s: Sequence[float]) -> None:
        self._settings, self._models, self._ledger, self._status, self._retry_s = settings, models, ledger, status, retry_s
        self._orders: Mailbox[tuple[bytes, bool]] = Mailbox(1)
        self._closing = threading.Event()
        self.candidate: Candidate | None = None
        """The model to swap in next; the main thread takes it."""
        self.ordered = ""
        """sha256 of the newest order."""
        threading.Thread(target=self._work, name="updates", daemon=True).start()

    def order(self, payload: bytes, retained: bool) -> None:
        """A message; a newer one replaces an order that waits. Returns at once."""
        self._orders.put((payload, retained))

    def close(self) -> None:
        """Follow no more orders; a download that waits for its retry ends."""
        self._closing.set()
        self._orders.close()

    def _work(self) -> None:
        while (message := self._orders.get()) is not None:
            try:
                self._follow(*message)
            except Exception as error:  # whatever a message causes, the next one is followed
                self._status.set("refused", "", f"{type(error).__name__}: {error}")

    def _follow(self, payload: bytes, retained: bool) -> None:
        """Prepare the model of an order; an empty message clears a retained one."""
        if not payload.strip():
            return
        sha256 = ""
        try:
            order = read_order(payload, self._settings.update)
            self.ordered = sha256 = order.sha256
            if not self._decided(sha256, retained):
                self._accept(order)
                self.candidate = Candidate(sha256, self._prepare(order))
        except (EdgeferError, OSError) as error:
            self._status.set("refused", sha256, str(error))

    def _decided(self, sha256: str, retained: bool) -> bool:
        """Whether the ledger answers an order; then its status is published."""
        ledger = self._ledger.ledger
        if sha256 == ledger.current:
            self._status.set("trial" if ledger.trial else "installed", sha256)
        # A new order is retried; a retained replay is not.
        elif retained and sha256 in ledger.refused:
            self._status.set("refused", sha256, ledger.refused[sha256])
        else:
            return False
        return True

    def _accept(self, order: Order) -> None:
        """With signed orders, remember the version: on disk first, since a replay may come after a restart."""
        if self._settings.update.public_key:
            check_fresh(order, self._ledger.ledger, time.time())
            self._ledger.write(lambda ledger: ledger.accept(order.version, order.sha256))

    def _prepare(self, order: Order) -> Classifier:
        """Download, test and open a model; raises `ModelError`, or `OSError` where the download fails."""
        sha256 = order.sha256
        self._status.set("downloading", sha256)
        path = self._download(order)
        self._status.set("testing", sha256)
        try:
            _LOG.info("update %s: %s", sha256[:12], self_test_process(path, self._settings.update.max_ms))
            classifier = self._open(path)
            if order.name not in ("", classifier.card.name):
                raise ModelError(f"it is the model {classifier.card.name!r}, and the order is for {order.name!r}")
        except ModelError as error:
            why = str(error)
            self._ledger.note(lambda ledger: ledger.refuse(sha256, why))
            if sha256 != self._ledger.ledger.previous:
                shutil.rmtree(path.parent, ignore_errors=True)
            raise
        return classifier

    def _download(self, order: Order) -> Path:
        for pause_s in (*self._retry_s, None):
            try:
                return download(order, self._models, self._settings.update)
            except AddressNotAllowed:
                raise
            except (ModelError, OSError) as error:
                _LOG.warning("update %s: %s", order.sha256[:12], error)
                # Published, a server's answer would tell everybody at the broker what is in this device's network.
                why = str(error) if order.url.startswith("file:") else NOT_DOWNLOADED
                if isinstance(error, ModelError) or pause_s is None or self._closing.is_set():
                    raise ModelError(why) from None
                self._status.set("downloading", order.sha256, f"{why}; retry in {pause_s:g} s")
                self._closing.wait(pause_s)
        raise ModelError(NOT_DOWNLOADED)

    def _open(self, path: Path) -> Classifier:
        """Raises `ModelError` also where the prior or an action does not fit the labels: the next start would refuse the settings."""
        try:
            classifier = Classifier(path, self._settings.threads, self._settings.classify.prior)
            check_actions(self._settings.action, classifier.labels)
        except SettingsError as error:
            raise ModelError(f"it does not fit the configuration: {error}") from None
        return classifier
