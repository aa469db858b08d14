"""Actions: a command or a webhook for each event of a rule, in threads of their own."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

from edgefer.errors import SettingsError
from edgefer.http_deadline import opener
from edgefer.log_once import LogOnce
from edgefer.observation_json import face_fields
from edgefer.output import Sink
from edgefer.queues import Mailbox
from edgefer.redact import reason, redact
from edgefer.settings import ActionSettings
from edgefer.sinks.trigger import Event, Rule, check_expression
from edgefer.types import NO_FACE, Observation

_LOG = logging.getLogger(__name__)


def check_actions(actions: Sequence[ActionSettings], labels: Sequence[str]) -> None:
    """Raises `SettingsError` for an expression that the model does not have, or a program that does not exist."""
    for name, action in named(actions):
        check_expression(f"action {name}", action.expression, labels)
        if action.command and shutil.which(action.command[0]) is None:
            # Arguments may be secrets, even in the same string.
            program, *more = action.command[0].split(maxsplit=1)
            advice = "write each argument as its own string" if more else "give its full path"
            raise SettingsError(f"action {name}: there is no program {program!r}; {advice}")


def named(actions: Sequence[ActionSettings]) -> list[tuple[str, ActionSettings]]:
    """Each action with its name in the log."""
    return [(action.name or f"number {number}", action) for number, action in enumerate(actions, 1)]


class Actions(Sink):
    """A sink with the rules of ``[[action]]``. Each action has a thread of its own, so that a slow one never delays another."""

    SLOTS = 16

    def __init__(self, actions: Sequence[ActionSettings]) -> None:
        log_once = LogOnce(_LOG)
        self._workers = [(Rule(action), _Worker(name, action, self.SLOTS, log_once)) for name, action in named(actions)]

    @property
    def done(self) -> int:
        """Actions that ended well."""
        return sum(worker.done for _, worker in self._workers)

    @property
    def failed(self) -> int:
        """Actions that failed."""
        return sum(worker.failed for _, worker in self._workers)

    @property
    def dropped(self) -> int:
        """Actions that were dropped because too many were due."""
        return sum(worker.dropped for _, worker in self._workers)

    def write(self, observation: Observation) -> None:
        """Queue the actions that are due; returns at once."""
        for rule, worker in self._workers:
            if event := rule.update(observation):
                worker.put(event)

    def close(self, within_s: float = 1.0) -> None:
        """Run due actions for at most ``within_s`` seconds; then end running commands, and drop the others."""
        end_s = time.monotonic() + within_s
        for _, worker in self._workers:
            worker.finish()
        for _, worker in self._workers:
            worker.close(max(0.0, end_s - time.monotonic()))
        if self.failed or self.dropped:
            _LOG.warning("actions: %d done, %d failed, %d dropped because too many were due", self.done, self.failed, self.dropped)


class _Worker:
    """Runs one action for each event, one after the other; when too many are due, the oldest is dropped."""

    def __init__(self, name: str, action: ActionSettings, slots: int, log_once: LogOnce) -> None:
        self._name, self._action, self._log_once = name, action, log_once
        self._due: Mailbox[bytes] = Mailbox(slots)
        self.done = self.failed = self._left = 0
        self._running: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name=f"action {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Events for which the action did not run."""
        return self._due.dropped + self._left

    def put(self, event: Event) -> None:
        """Queue an event."""
        self._due.put(event_json(self._name, self._action, event))

    def finish(self) -> None:
        """Accept no more events."""
        self._due.close()

    def close(self, within_s: float) -> None:
        """Wait for the queued events; after ``within_s`` seconds end a running command, and drop the others."""
        self._thread.join(within_s)
        self._left += sum(1 for _ in iter(self._due.get, None))
        if self._thread.is_alive() and (running := self._running):
            _end(running)

    def _work(self) -> None:
        while (event := self._due.get()) is not None:
            try:
                if self._action.command:
                    self._run(event)
                else:
                    call_webhook(self._action.webhook, event, self._action.timeout_s)
                self.done += 1
            except Exception as error:  # no command or server may stop the next action
                self.failed += 1
                self._log_once(logging.ERROR, f"action {self._name}: {str(error) or type(error).__name__}")

    def _run(self, event: bytes) -> None:
        """Run a command without a shell; its standard error is ours. Raises `TimeoutError` or `ChildProcessError`."""
        program, timeout_s = self._action.command[0], self._action.timeout_s
        # In its own session, so that it can be ended together with its children.
        command = subprocess.Popen(self._action.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        self._running = command
        try:
            command.communicate(event, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{program} was ended: it took longer than {timeout_s:g} s") from None
        finally:
            self._running = None
            _end(command)
        if command.returncode:
            raise ChildProcessError(f"{program} ended with {command.returncode}")


def event_json(name: str, action: ActionSettings, event: Event) -> bytes:
    """The JSON, on one line, for command and webhook."""
    face = event.face
    fields: dict[str, object] = {
        "action": name,
        "time": round(event.time_s, 3),
        "expression": face.expression if face else NO_FACE,
        "held_s": round(event.held_s, 3),
        "rule": {"expression": action.expression, "min_score": action.min_score, "for_s": action.for_s},
    }
    return msgspec.json.encode({**fields, "face": face_fields(face)} if face else fields) + b"\n"


def call_webhook(address: str, event: bytes, timeout_s: float) -> None:
    """POST the event; raises `OSError` unless the server answers 2xx in time. Errors name the host only, since the path may be a secret."""
    host = urlsplit(address).netloc
    request = urllib.request.Request(address, event, {"Content-Type": "application/json", "User-Agent": "edgefer"})
    try:
        with opener(timeout_s, _NoRedirects()).open(request, timeout=timeout_s):
            pass
    except urllib.error.HTTPError as error:
        raise OSError(f"the webhook at {host} answers {error.code} {redact(error.reason)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(f"the webhook at {host} cannot be reached: {reason(error)}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: a redirected request would lose its body."""

    def redirect_request(self, *_: object) -> None:
        """Without a request, urllib raises `HTTPError`."""


def _end(command: subprocess.Popen[bytes]) -> None:
    """End a running command and its children."""
    if command.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()
