"""What is done when a rule comes true: a command is run, or a webhook called, one after the other in a thread of its own."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

from edgefer.errors import SettingsError
from edgefer.observation_json import face_fields
from edgefer.output import Sink
from edgefer.queues import Mailbox
from edgefer.redact import reason, scrub
from edgefer.settings import ActionSettings
from edgefer.sinks.trigger import Occasion, Rule, check_expression
from edgefer.types import NO_FACE, Observation

_LOG = logging.getLogger(__name__)


def check_actions(actions: Sequence[ActionSettings], labels: Sequence[str]) -> None:
    """Raises `SettingsError` for an expression the model never gives, or a program that is not there."""
    for name, action in named(actions):
        check_expression(f"action {name}", action.expression, labels)
        if action.command and shutil.which(action.command[0]) is None:
            # Arguments may be secrets, also where they stand in the same string.
            program, *more = action.command[0].split(maxsplit=1)
            advice = "each argument is a string of its own" if more else "give its whole path"
            raise SettingsError(f"action {name}: no program {program!r} that can be run; {advice}")


def named(actions: Sequence[ActionSettings]) -> list[tuple[str, ActionSettings]]:
    """Each with what the log calls it."""
    return [(action.name or f"number {number}", action) for number, action in enumerate(actions, 1)]


class Actions(Sink):
    """A sink that watches the rules of ``[[action]]``; what is due is done in its own thread, the oldest is dropped when too much is."""

    SLOTS = 16

    def __init__(self, actions: Sequence[ActionSettings]) -> None:
        self._actions = [(name, action, Rule(action)) for name, action in named(actions)]
        self._due: Mailbox[tuple[str, ActionSettings, bytes]] = Mailbox(self.SLOTS)
        self.done = self.failed = 0
        self._faults: set[tuple[str, str]] = set()
        self._running: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="actions", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Actions that were due while too many others were."""
        return self._due.dropped

    def write(self, observation: Observation) -> None:
        """Let every rule see it; returns at once."""
        for name, action, rule in self._actions:
            if occasion := rule.update(observation):
                self._due.put((name, action, event_json(name, action, occasion)))

    def close(self, within_s: float = 1.0) -> None:
        """Do what is due, for at most ``within_s`` seconds; a command that still runs then is ended, what waits behind it is not done."""
        self._due.close()
        self._thread.join(within_s)
        left = sum(1 for _ in iter(self._due.get, None))
        if self._thread.is_alive() and (running := self._running):
            _end(running)
        if self.failed or self.dropped or left:
            _LOG.warning("actions: %d done, %d failed, %d dropped because too many were due", self.done, self.failed, self.dropped + left)

    def _work(self) -> None:
        while (due := self._due.get()) is not None:
            name, action, event = due
            try:
                if action.command:
                    self._run(action, event)
                else:
                    call_webhook(action.webhook, event, action.timeout_s)
                self.done += 1
            except Exception as error:  # whatever a command or a server does, the next action is done
                self.failed += 1
                said = str(error) or type(error).__name__
                if (name, said) not in self._faults and len(self._faults) < 50:
                    self._faults.add((name, said))
                    _LOG.error("action %s: %s (said once; counted from here on)", name, said)

    def _run(self, action: ActionSettings, event: bytes) -> None:
        """An argument list, never a shell's string: nothing that was seen can become part of a command. Its complaints join ours."""
        program = action.command[0]
        # In a session of its own, so that it can be ended with all it started.
        command = subprocess.Popen(action.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        self._running = command
        try:
            command.communicate(event, timeout=action.timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{program} was ended: it took longer than {action.timeout_s:g} s") from None
        finally:
            self._running = None
            _end(command)
        if command.returncode:
            raise ChildProcessError(f"{program} ended with {command.returncode}")


def event_json(name: str, action: ActionSettings, occasion: Occasion) -> bytes:
    """What command and webhook are told: JSON on one line."""
    face = occasion.face
    event: dict[str, object] = {
        "action": name,
        "time": round(occasion.time_s, 3),
        "expression": face.expression if face else NO_FACE,
        "held_s": round(occasion.held_s, 3),
        "rule": {"expression": action.expression, "min_score": action.min_score, "for_s": action.for_s},
    }
    return msgspec.json.encode({**event, "face": face_fields(face)} if face else event) + b"\n"


def call_webhook(address: str, event: bytes, timeout_s: float) -> None:
    """POST the event; raises `OSError` unless the server says 2xx in time. The address may hold a secret: only its host is ever said."""
    host = urlsplit(address).netloc
    request = urllib.request.Request(address, event, {"Content-Type": "application/json", "User-Agent": "edgefer"})
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s):
            pass
    except urllib.error.HTTPError as error:
        raise OSError(f"the webhook at {host} answers {error.code} {scrub(error.reason)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(f"the webhook at {host} cannot be reached: {reason(error)}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Who is sent on arrives without the event: better to hear of it."""

    def redirect_request(self, *_: object) -> None:
        """None is an `HTTPError`."""


def _end(command: subprocess.Popen[bytes]) -> None:
    """End a command that runs, with all it started."""
    if command.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()
