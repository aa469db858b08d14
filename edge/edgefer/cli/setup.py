"""``edgefer setup``: a configuration written by asking, or from flags, after one look through the camera."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edgefer.cli.check_config import check_config
from edgefer.errors import EdgeferError, SettingsError, SourceError
from edgefer.files import shipped, write_whole
from edgefer.output import QuitRun, Sink
from edgefer.redact import shown
from edgefer.settings import CONFIG, Settings
from edgefer.types import Observation

Ask = Callable[[str, str], str]
"""Question and default -> answer."""
Say = Callable[[str], None]

TEMPLATE = shipped("deploy") / "config.toml"
LOOK_S = 3.0
"""Seconds of frames in which a face is looked for."""


def configuration(**values: str | list[str]) -> str:
    """The commented ``deploy/config.toml`` with top-level ``values`` in place of its defaults."""
    text = TEMPLATE.read_text(encoding="utf-8").replace(", every key with its default", ", written by 'edgefer setup'", 1)
    for key, value in values.items():
        # JSON's strings and lists of strings are TOML's too.
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        before, match, after = re.split(rf"^({key} = [^#\n]*)", text, maxsplit=1, flags=re.MULTILINE)
        text = f"{before}{line:{len(match)}}{'' if len(line) < len(match) else '  '}{after}"
    return text


def set_up(path: Path, source: str | None, sinks: list[str] | None, replace: bool, ask: Ask | None, say: Say) -> None:
    """Choose a camera and outputs, look once, and write ``path``; without ``ask`` flags and what is found decide.

    A file that is there is replaced only by ``replace`` or a yes, and kept beside it as ``.old``. Raises
    `SettingsError` or `SourceError` with nothing written.
    """
    kept = path.with_name(f"{path.name}.old")
    wanted = replace or not path.exists()
    if not wanted and not (ask and ask(f"{path} is there already: replace it (yes/no)?", "no").lower() in ("y", "yes")):
        raise SettingsError(f"{path}: is there already, and was left as it is; --replace writes a new one and keeps it as {kept.name}")
    draft = path.with_name(f".draft-{path.name}")
    try:
        # Before anything is asked: whether it can be written at all.
        write_whole(draft, configuration())
        source = _choose_source(source, ask, say)
        outputs = "outputs, with spaces between them (status: is a line in the log, jsonl:faces.jsonl a file)?"
        sinks = sinks or (ask(outputs, "status:") if ask else "status:").split()
        write_whole(draft, configuration(source=source, sinks=sinks))
        check_config(draft)
        if path.exists():
            # A copy, so that there is no moment without a configuration.
            shutil.copy2(path, kept)
        draft.replace(path)
    except SettingsError as error:
        raise SettingsError(str(error).replace(str(draft), str(path))) from None
    finally:
        draft.unlink(missing_ok=True)
    say(f"{path}: written; every other setting stands in it with its default")
    say(f"next: edgefer run --config {path}, or sudo edgefer service install{'' if path == CONFIG else f' --config {path}'}")


def _choose_source(source: str | None, ask: Ask | None, say: Say) -> str:
    """A source that gave a frame: the one asked for, else the first camera found, else whatever is answered."""
    from edgefer.sources import DEMONSTRATION, pick_source

    if source or not ask:
        chosen = source or pick_source(lambda _: None)
        if not source and chosen == DEMONSTRATION:
            raise SourceError("no camera found; 'edgefer doctor' says why, or name one: --source opencv:0, --source rtsp://…")
        say(look(chosen))
        return chosen
    found = pick_source(lambda _: None)
    if found == DEMONSTRATION:
        say("no camera found; 'edgefer doctor' says why")
        found = "synthetic:"
    while True:
        chosen = ask("source (picamera: opencv:0 rtsp://… synthetic:)?", found)
        try:
            say(look(chosen))
            return chosen
        except EdgeferError as error:
            say(str(error))


def look(source: str) -> str:
    """One frame's result in words: the first with a face within some seconds, else the last."""
    from edgefer.pipeline.loop import open_pipeline, run
    from edgefer.sources import open_source

    settings = Settings()
    glance = _Glance()
    with closing(open_source(source)) as opened:
        if opened.pauses:
            return f"{opened.description}: a source that may pause; nobody waits for its first frame"
        run(opened, open_pipeline(settings), [glance], threading.Event(), settings.source_timeout_s)
        described = opened.description
    if glance.seen is None:
        raise SourceError(f"{shown(source)}: not one frame came")
    faces = ", ".join(f"{face.expression} {100 * face.score:.0f} % at {face.box.x},{face.box.y}" for face in glance.seen.faces)
    return f"{described}: " + (f"frame {glance.seen.frame.index} shows {faces}" if faces else f"{glance.frames} frames, no face in them")


class _Glance(Sink):
    """A sink that ends the run at the first face, or when it has looked long enough."""

    main_thread = True

    def __init__(self) -> None:
        self.seen: Observation | None = None
        self.frames = 0
        self._since_s: float | None = None
        """When the first frame came: a camera and a model may take seconds to open."""

    def write(self, observation: Observation) -> None:
        self.seen, self.frames = observation, self.frames + 1
        now_s = time.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        if observation.faces or now_s - self._since_s > LOOK_S:
            raise QuitRun

    def close(self) -> None: ...
