"""The verb ``setup``: write a configuration, from questions or flags, after a test of the camera."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edgefer.cli import terminal
from edgefer.cli.check_config import check_config
from edgefer.errors import EdgeferError, SettingsError, SourceError
from edgefer.files import shipped, write_atomic
from edgefer.output import QuitRun, Sink
from edgefer.redact import redact_url
from edgefer.settings import CONFIG, Settings
from edgefer.types import Observation

Ask = Callable[[str, str], str]
"""Question and default -> answer."""
Say = Callable[[str], None]

TEMPLATE = shipped("deploy") / "config.toml"
PROBE_S = 3.0
"""Seconds of frames in which the test of a camera waits for a face."""
EXAMPLES = """\
examples:
  sudo edgefer setup                                                  with questions
  sudo edgefer setup --source picamera: --sink status: --yes          without
  edgefer setup --config edgefer.toml --source rtsp://camera/stream   write another file than /etc/edgefer/config.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer setup``."""
    parser.epilog = EXAMPLES
    parser.add_argument("--config", metavar="FILE", default=str(CONFIG), help=f"the file to write (default: {CONFIG})")
    parser.add_argument("--source", metavar="SPEC", help="the camera (default: the first one found)")
    parser.add_argument("--sink", action="append", metavar="SPEC", help="where observations go; may be repeated (default: status:)")
    parser.add_argument("--replace", action="store_true", help="replace an existing file; the old one is kept as FILE.old")
    parser.add_argument("--yes", action="store_true", help="ask nothing; take the defaults")


def main(options: argparse.Namespace) -> int:
    """Ask on a terminal, else take the flags; write the file."""
    ask = terminal.ask if sys.stdin and sys.stdin.isatty() and not options.yes else None
    set_up(Path(options.config), options.source, options.sink, options.replace, ask, terminal.say)
    return 0


def configuration(**values: str | list[str]) -> str:
    """The commented ``deploy/config.toml`` with ``values`` instead of the defaults of its top-level keys."""
    text = TEMPLATE.read_text(encoding="utf-8").replace(", every key with its default", ", written by 'edgefer setup'", 1)
    for key, value in values.items():
        # JSON's strings and lists of strings are TOML's too.
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        before, match, after = re.split(rf"^({key} = [^#\n]*)", text, maxsplit=1, flags=re.MULTILINE)
        text = f"{before}{line:{len(match)}}{'' if len(line) < len(match) else '  '}{after}"
    return text


def set_up(path: Path, source: str | None, sinks: list[str] | None, replace: bool, ask: Ask | None, say: Say) -> None:
    """Choose and test a camera, choose sinks, and write ``path``; without ``ask`` the flags and the first camera found decide.

    An existing file is replaced only with ``replace`` or the answer yes, and kept as ``.old``. Raises `SettingsError` or
    `SourceError` and writes nothing if something does not work.
    """
    kept = path.with_name(f"{path.name}.old")
    wanted = replace or not path.exists()
    if not wanted and not (ask and ask(f"{path} exists: replace it (yes/no)?", "no").lower() in ("y", "yes")):
        raise SettingsError(f"{path}: exists and was not changed; --replace writes a new one and keeps the old one as {kept.name}")
    draft = path.with_name(f".draft-{path.name}")
    try:
        # Before any question: can the file be written at all?
        write_atomic(draft, configuration())
        source = _choose_source(source, ask, say)
        question = "sinks, separated by spaces (status: is a line in the log, jsonl:faces.jsonl a file)?"
        sinks = sinks or (ask(question, "status:") if ask else "status:").split()
        write_atomic(draft, configuration(source=source, sinks=sinks))
        check_config(draft)
        if path.exists():
            # A copy, not a rename: at no time is there no configuration.
            shutil.copy2(path, kept)
        draft.replace(path)
    except SettingsError as error:
        raise SettingsError(str(error).replace(str(draft), str(path))) from None
    finally:
        draft.unlink(missing_ok=True)
    say(f"{path}: written; it lists every other setting with its default")
    say(f"next: edgefer run --config {path}, or sudo edgefer service install{'' if path == CONFIG else f' --config {path}'}")


def _choose_source(source: str | None, ask: Ask | None, say: Say) -> str:
    """A source that passed the test: the one of the flags, else the first camera found, else the answer to a question."""
    from edgefer.sources import DEMONSTRATION, pick_source
    from edgefer.sources.camera import lasting_name

    if source or not ask:
        chosen = source or lasting_name(pick_source(lambda _: None))
        if not source and chosen == DEMONSTRATION:
            raise SourceError("no camera found; 'edgefer doctor' explains why, or give one: --source opencv:0, --source rtsp://…")
        say(probe(chosen))
        return chosen
    found = lasting_name(pick_source(lambda _: None))
    if found == DEMONSTRATION:
        say("no camera found; 'edgefer doctor' explains why")
        found = "synthetic:"
    while True:
        chosen = ask("source (picamera: opencv:0 rtsp://… synthetic:)?", found)
        try:
            say(probe(chosen))
            return chosen
        except EdgeferError as error:
            say(str(error))


def probe(source: str) -> str:
    """The result of a test in words: the first frame with a face within `PROBE_S`, else the number of frames.

    Raises `SourceError` if the source cannot be opened or gives no frame.
    """
    from edgefer.pipeline.loop import run
    from edgefer.pipeline.stages import open_pipeline
    from edgefer.sources import open_source

    settings = Settings()
    first = _FirstFace()
    with closing(open_source(source)) as opened:
        if opened.pauses:
            return f"{opened.description}: a source that may pause; its first frame is not tested"
        run(opened, open_pipeline(settings), [first], threading.Event(), settings.source_timeout_s)
        described = opened.description
    if first.last is None:
        raise SourceError(f"{redact_url(source)}: the source gave no frame")
    faces = ", ".join(f"{face.expression} {100 * face.score:.0f} % at {face.box.x},{face.box.y}" for face in first.last.faces)
    return f"{described}: " + (f"frame {first.last.frame.index} shows {faces}" if faces else f"{first.frames} frames, no face in them")


class _FirstFace(Sink):
    """A sink that ends the run at the first face, or after `PROBE_S`."""

    main_thread = True

    def __init__(self) -> None:
        self.last: Observation | None = None
        self.frames = 0
        self._since_s: float | None = None
        """Time of the first frame: a camera and a model may take seconds to open."""

    def write(self, observation: Observation) -> None:
        self.last, self.frames = observation, self.frames + 1
        now_s = time.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        if observation.faces or now_s - self._since_s > PROBE_S:
            raise QuitRun

    def close(self) -> None: ...
