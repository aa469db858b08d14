"""Model updates over the air: fetched in a thread, tested in a process, swapped between two frames, taken back if they fail."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self, TextIO

import msgspec

from edgefer.errors import EdgeferError, ModelError, SettingsError
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.mqtt.connection import Connection, Message
from edgefer.mqtt.device import Topics
from edgefer.pipeline.loop import Pipeline, open_pipeline
from edgefer.queues import Mailbox
from edgefer.redact import scrub
from edgefer.settings import Settings
from edgefer.sinks.actions import check_actions
from edgefer.spec import parse_spec
from edgefer.update import order

_LOG = logging.getLogger(__name__)

PAUSES_S = (5.0, 30.0)
"""After a download that failed on the way: so long until it is tried again."""
TEST_TIMEOUT_S = 120.0


def check_updates(settings: Settings, sinks: Sequence[str]) -> None:
    """Raises `SettingsError` where updates are wanted without a broker among the sinks, or with a public key that cannot be read."""
    if not any(parse_spec(sink).scheme in ("mqtt", "mqtts") for sink in sinks):
        raise SettingsError("update.enabled needs a sink mqtt://host/base/node to be told by")
    if settings.update.public_key:
        order.load_key(Path(settings.update.public_key))


class Updater:
    """Follows the retained message on ``<base>/<node>/update`` and says on ``…/update/status`` how it went.

    A context manager; `open_pipeline` is what to start with. `step` belongs between two frames of the main thread. A bad message
    never stops inference: whatever goes wrong is said, and the model in use stays.

    Raises `SettingsError` without a broker among the sinks, for a public key that cannot be read, or a ``folder`` that cannot be
    written to.
    """

    def __init__(self, settings: Settings, sinks: Sequence[str], folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        check_updates(settings, sinks)
        self._alone = _alone(folder)
        self._settings, self._how, self._clock = settings, settings.update, clock
        self._models, self._file = folder / "models", folder / "update.json"
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._orders: Mailbox[tuple[bytes, bool]] = Mailbox(1)
        self._closing = threading.Event()
        self._ready: tuple[str, Classifier] | None = None
        self._proven: Classifier | None = None
        self._until_s: float | None = None
        self._faults = 0
        self._wanted = ""
        self._status = b""
        self._status_topic = ""
        found = order.read_ledger(self._file)
        ledger = order.at_start(found, settings.model)
        while ledger.current and not self._whole(ledger.current):
            ledger = order.rolled_back(ledger, "its file is damaged or gone")
        self._ledger = ledger
        self._note(lambda _: ledger)
        for left in self._models.glob("*"):
            if left.name not in (ledger.current, ledger.previous):
                shutil.rmtree(left, ignore_errors=True)
        if found.configured == settings.model and found.current != ledger.current:
            self._say("rolled_back", found.current, ledger.refused[found.current])
        else:
            self._say("trial" if ledger.trial else "installed" if ledger.current else "ready", ledger.current)
        self._thread = threading.Thread(target=self._work, name="updates", daemon=True)
        self._thread.start()

    def open_pipeline(self) -> Pipeline:
        """The pipeline to start with: with the model that was installed, as long as it can be opened, else the configured one."""
        while True:
            try:
                return open_pipeline(msgspec.structs.replace(self._settings, model=self._path(self._ledger.current)))
            except ModelError as error:
                if not self._ledger.current:
                    raise
                failed, why = self._ledger.current, f"it cannot be opened: {error}"
                self._note(partial(order.rolled_back, why=why))
                self._say("rolled_back", failed, why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def listen(self, connection: Connection, topics: Topics) -> None:
        """Follow the messages of a broker from now on; of several, the first."""
        if self._connection:
            return
        self._connection, self._status_topic = connection, topics / "update/status"
        self._publish()
        connection.subscribe(topics / "update", lambda _topic, payload, retained: self._orders.put((payload, retained)))

    def between(self, pipeline: Pipeline) -> Callable[[int], None]:
        """`step` for `edgefer.pipeline.loop.run`."""
        return partial(self.step, pipeline)

    def step(self, pipeline: Pipeline, faults: int) -> None:
        """Between two frames: swap in what is ready, and judge what is on trial by the frames that failed so far."""
        if not (self._ready or self._ledger.trial):
            return
        try:
            if self._ready:
                self._swap(pipeline, *self._ready, faults)
            elif self._until_s is None:
                # Resumed after a restart.
                self._until_s, self._faults = self._clock() + self._how.trial_s, faults
            elif faults > self._faults:
                self._roll_back(pipeline, "a frame failed during its trial")
            elif self._clock() >= self._until_s:
                self._settle()
        except (EdgeferError, OSError) as error:
            sha256 = self._ready[0] if self._ready else self._ledger.current
            self._ready, self._faults = None, faults
            self._say("refused", sha256, f"cannot be installed: {error}")

    def close(self) -> None:
        """A trial goes on after the next start."""
        self._closing.set()
        self._orders.close()
        if self._ledger.trial:
            self._note(partial(msgspec.structs.replace, trial="paused"))
        self._alone.close()

    def _swap(self, pipeline: Pipeline, sha256: str, classifier: Classifier, faults: int) -> None:
        if not self._ledger.trial:
            self._proven = pipeline.classifier
        with self._lock:
            # Written first, or not begun: should the very first frame take the process with it, the next start knows why.
            ledger = order.on_trial(self._ledger, sha256)
            order.write_ledger(self._file, ledger)
            self._ledger = ledger
        pipeline.swap(classifier)
        self._ready, self._until_s, self._faults = None, self._clock() + self._how.trial_s, faults
        self._say("trial", sha256)

    def _roll_back(self, pipeline: Pipeline, why: str) -> None:
        failed = self._ledger.current
        back = self._proven or self._open(find_model(self._path(self._ledger.previous)))
        pipeline.swap(back)
        self._until_s = None
        self._note(partial(order.rolled_back, why=why))
        self._say("rolled_back", failed, why)

    def _settle(self) -> None:
        self._proven = self._until_s = None
        previous = self._ledger.previous
        self._note(order.proven)
        self._say("installed", self._ledger.current)
        # Only this one: another may be on its way. What else is left over goes at the next start.
        if previous and previous not in (self._ledger.current, self._wanted):
            shutil.rmtree(self._models / previous, ignore_errors=True)

    def _open(self, path: Path) -> Classifier:
        return Classifier(path, self._settings.threads, self._settings.classify.prior)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._follow(*order)
            except Exception as error:  # whatever a message leads to, the next is followed
                self._say("refused", "", f"{type(error).__name__}: {error}")

    def _follow(self, payload: bytes, retained: bool) -> None:
        if not payload.strip():
            return
        sha256 = ""
        try:
            wanted = order.read_order(payload, self._how)
            self._wanted = sha256 = wanted.sha256
            if sha256 == self._ledger.current:
                return self._say("trial" if self._ledger.trial else "installed", sha256)
            # Sent anew by somebody, it is tried again; only found again, it is not.
            if retained and sha256 in self._ledger.refused:
                return self._say("refused", sha256, self._ledger.refused[sha256])
            self._say("downloading", sha256)
            path = self._fetch(wanted)
            self._say("testing", sha256)
            try:
                found = self._test(path)
                _LOG.info("update %s: %s", sha256[:12], found)
                try:
                    classifier = self._open(path)
                    # The next start would refuse it, and go on refusing.
                    check_actions(self._settings.action, classifier.labels)
                except SettingsError as error:
                    raise ModelError(f"it does not fit the configuration: {error}") from None
                self._ready = sha256, classifier
            except ModelError as error:
                self._note(partial(order.refused, sha256=sha256, why=str(error)))
                if sha256 != self._ledger.previous:
                    shutil.rmtree(path.parent, ignore_errors=True)
                raise
        except (EdgeferError, OSError) as error:
            self._say("refused", sha256, str(error))
        return None

    def _fetch(self, wanted: order.Order) -> Path:
        for pause_s in (*PAUSES_S, None):
            try:
                return order.fetch(wanted, self._models, self._how)
            except ModelError:
                raise
            except OSError as error:
                if pause_s is None or self._closing.wait(pause_s):
                    raise
                self._say("downloading", wanted.sha256, f"{error}; tried again in {pause_s:g} s")
        raise AssertionError("the last try returns or raises")

    def _test(self, path: Path) -> str:
        """The self-test, in a process of its own: not every broken file only gives wrong answers."""
        command = [sys.executable, "-P", "-m", "edgefer.update.selftest", str(path), str(self._how.max_ms)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_TIMEOUT_S, env=environment, check=False)
        except subprocess.TimeoutExpired:
            raise ModelError(f"the self-test took longer than {TEST_TIMEOUT_S:g} s") from None
        said = (done.stdout.strip() or done.stderr.strip() or f"killed by signal {-done.returncode}").splitlines()[-1][:300]
        if done.returncode:
            raise ModelError(f"the self-test failed: {said}")
        return said

    def _path(self, sha256: str) -> str:
        return str(self._models / sha256 / order.FILE) if sha256 else self._ledger.configured

    def _whole(self, sha256: str) -> bool:
        try:
            return hashlib.sha256((self._models / sha256 / order.FILE).read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def _note(self, change: Callable[[order.Ledger], order.Ledger]) -> None:
        """Remember a change. On a full disk it counts all the same, until the next start."""
        with self._lock:
            self._ledger = change(self._ledger)
            try:
                order.write_ledger(self._file, self._ledger)
            except OSError as error:
                _LOG.error("update: %s: cannot be written: %s", self._file, error.strerror)

    def _say(self, state: str, sha256: str, why: str = "") -> None:
        why = scrub(why)
        status = {"state": state, "sha256": sha256, "why": why, "time": round(time.time(), 3)}
        if state in ("refused", "rolled_back"):
            _LOG.warning("update %s: %s: %s", sha256[:12] or "message", state.replace("_", " "), why)
        self._status = msgspec.json.encode(status)
        self._publish()

    def _publish(self) -> None:
        if self._connection:
            self._connection.publish(Message(self._status_topic, self._status, retain=True))


def _alone(folder: Path) -> TextIO:
    """A lock that is held as long as the process lives, however it ends; raises `SettingsError` where it cannot be had."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "update.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(f"update: another edgefer keeps its models in {folder}; give each its own STATE_DIRECTORY") from None
    except OSError as error:
        raise SettingsError(f"update: cannot write into {folder}: {error.strerror}; set STATE_DIRECTORY") from None
    return lock
