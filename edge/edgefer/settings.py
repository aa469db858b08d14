"""Typed settings: TOML into frozen structs, where an unknown key or a wrong value stops the start with one line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from edgefer.errors import SettingsError

CONFIG = Path("/etc/edgefer/config.toml")
"""Where ``edgefer setup`` writes, and the service reads."""

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TOML table: an unknown key is an error."""


class DetectorSettings(Table, frozen=True):
    """``[detector]``: how faces are found."""

    name: str = "blazeface"
    """The detector of `edgefer.detectors` that finds new faces in the frames of a camera or a clip."""
    follow_name: str = "haar"
    """The one that looks for a known face around where it was: a small part of the frame, many times a second."""
    photo_name: str = "blazeface"
    """The one that single photographs are shown: it may take its time."""
    max_side_px: Annotated[int, Meta(ge=0, le=8192)] = 480
    """Frames with a longer side are shrunk to this before Haar searches them; 0: the full size. BlazeFace has a size of its own."""
    photo_max_side_px: Annotated[int, Meta(ge=0, le=8192)] = 0
    """The same for single photographs, where there is time."""
    every_s: Seconds = 0.3
    """What moves apart from the known faces is searched for new ones after this many seconds; 0: in every frame."""
    scale_factor: Annotated[float, Meta(gt=1, le=2)] = 1.1
    """Ratio of one search size to the next: smaller finds more and takes longer."""
    min_neighbors: Annotated[int, Meta(ge=0, le=50)] = 5
    """Overlapping finds that make a face: more means fewer false faces and fewer faces."""
    min_size_px: Annotated[int, Meta(ge=20, le=4096)] = 24
    """Smallest face, in pixels of the picture searched (after shrinking)."""


class GateSettings(Table, frozen=True):
    """``[gate]``: which parts of a frame are not looked at because nothing moved there."""

    threshold: Annotated[float, Meta(ge=0, le=255)] = 6.0
    """Levels of 0..255 by which a part of the picture must change to be looked at again; 0 looks at all, always."""
    refresh_s: Seconds = 5.0
    """The whole frame is searched after this many seconds, whatever moved."""


class TrackSettings(Table, frozen=True):
    """``[track]``: how faces are followed."""

    min_iou: Share = 0.3
    """Overlap, 0..1, below which a box is another face."""
    lost_s: Seconds = 0.4
    """Seconds a face that is no longer found stays."""
    min_hits: Annotated[int, Meta(ge=1, le=30)] = 2
    """Searches in which a face must be found before it is shown; a find with evidence to spare counts twice."""
    steady: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    """0..1, how much of a face's last box stays in the next, against jitter."""


class ClassifySettings(Table, frozen=True):
    """``[classify]``: when a face is classified again."""

    change: Annotated[float, Meta(ge=0, le=255)] = 4.0
    """Mean change, in levels of 0..255, of the part of the face that changed most, from which it is classified again; 0: at every look."""
    every_s: Seconds = 0.5
    """A face that hardly changes is classified again after this many seconds."""
    calm_s: Seconds = 0.5
    """For so many seconds a face whose last two answers agree may change the more, the clearer they are, up to 2.5 times; 0: off."""
    prior: str | dict[str, Share] = ""
    """How often each expression is expected: "everyday", "even", "fer2013", or a share a label; empty: what the model's card states."""


class SmoothSettings(Table, frozen=True):
    """``[smooth]``: how answers are steadied over time."""

    window_s: Seconds = 0.4
    """Time constant, in seconds, of the average over a face's answers; 0 is off."""
    margin: Share = 0.1
    """0..1, how much likelier another expression must be before the label changes."""
    uncertain_below: Share | Literal["model"] = "model"
    """0..1, below this probability the answer is "uncertain"; "model" takes what the model's card says."""


class PaceSettings(Table, frozen=True):
    """``[pace]``: how much a camera's frames may cost; files and pictures go as fast as they can."""

    max_fps: Annotated[float, Meta(ge=0, le=240)] = 0.0
    """Frames a second at most; 0: as many as the camera gives."""
    max_cpu_percent: Annotated[float, Meta(ge=0, le=1600)] = 0.0
    """CPU of the whole process at most, in per cent of one core; 0: no limit."""
    hot_c: Annotated[float, Meta(ge=0, le=120)] = 80.0
    """From this temperature on, in degrees Celsius, or while the board is throttled, half the frames; 0: never."""


class ActionSettings(Table, frozen=True):
    """``[[action]]``: what is done when a face looks a certain way; there may be several."""

    name: str = ""
    """What the log calls it; empty: its place in the file."""
    expression: str = "any"
    """A label of the model, "uncertain", "no_face" or "any" (face)."""
    min_score: Share = 0.0
    """0..1, probability from which on it counts."""
    for_s: Seconds = 0.0
    """Seconds the same face must look so, without a break."""
    cooldown_s: Annotated[float, Meta(ge=0, le=604_800)] = 60.0
    """Seconds to the next time, at least."""
    command: list[str] = []
    """A program and its arguments, run without a shell; the event is JSON on its standard input."""
    webhook: str = ""
    """Or an http(s) address that the same JSON is sent to."""
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """Seconds after which command or webhook is given up."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.webhook):
            raise ValueError("give either a command or a webhook")
        if self.command and not self.command[0]:
            raise ValueError("the command has no program")
        if self.webhook and not re.fullmatch(r"https?://([^][\s/?#@:]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?([/?][!-?A-~]*)?", self.webhook):
            raise ValueError("a webhook is an address http://… or https://…, without user and password; an @ in its path is written %40")


class UpdateSettings(Table, frozen=True):
    """``[update]``: models over the air, by a retained message on ``<base>/<node>/update`` of the first mqtt sink."""

    enabled: bool = False
    """Whether such messages are followed at all."""
    schemes: list[Literal["https", "http", "file"]] = msgspec.field(default_factory=lambda: ["https"])
    """Where models may come from."""
    public_key: str = ""
    """PEM file with an Ed25519 public key: only models its owner signed are taken; empty: all are that the broker lets through."""
    max_mb: Annotated[float, Meta(gt=0, le=500)] = 20.0
    """Largest download, in megabytes."""
    timeout_s: Annotated[float, Meta(ge=1, le=3600)] = 120.0
    """Seconds a download may take."""
    max_ms: Annotated[float, Meta(gt=0, le=10_000)] = 200.0
    """Milliseconds an answer may take in the self-test on this device."""
    trial_s: Annotated[float, Meta(ge=0, le=86_400)] = 180.0
    """Seconds in which a failing frame or a crash brings the model before back."""


class Settings(Table, frozen=True):
    """The whole configuration; every key has a default, and ``deploy/config.toml`` shows them all."""

    model: str = "small"
    """One of edgefer's own models, or the path of a .tflite file."""
    source: str = ""
    """Where frames come from; empty takes a camera where there is one, else the synthetic demonstration."""
    sinks: list[str] = []
    """Where observations go; empty shows a status line and keeps annotated pictures in ./snapshots."""
    threads: Annotated[int, Meta(ge=1, le=16)] = 1
    """Threads of the TFLite runtime."""
    source_timeout_s: Annotated[float, Meta(ge=0.5, le=600)] = 20.0
    """Seconds without a frame from a live source after which the run ends with an error; a stream connects again meanwhile."""
    max_memory_mb: Annotated[float, Meta(ge=0, le=65_536)] = 400.0
    """Megabytes of resident memory beyond which the run ends with an error, for systemd to start it anew; 0: never."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """How much is logged to standard error."""
    detector: DetectorSettings = DetectorSettings()
    gate: GateSettings = GateSettings()
    track: TrackSettings = TrackSettings()
    classify: ClassifySettings = ClassifySettings()
    smooth: SmoothSettings = SmoothSettings()
    pace: PaceSettings = PaceSettings()
    update: UpdateSettings = UpdateSettings()
    action: list[ActionSettings] = []
    """What is done when a face looks a certain way."""


def load_settings(path: Path | None) -> Settings:
    """The settings of a TOML file, or the defaults; raises `SettingsError` naming file, line and key."""
    if path is None:
        return Settings()
    table = read_toml(path)
    try:
        return msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{place(path, _keys(str(error)))}: {_explain(str(error), Settings)}") from None


def place(path: Path, keys: list[str]) -> str:
    """A key's file and line for a message: ``config.toml, line 3``; the keys as in ``["action[1]", "webhook"]``."""
    line = _line_of(path.read_text(encoding="utf-8").splitlines(), keys)
    return f"{path}, line {line}" if line else str(path)


T = TypeVar("T", bound=msgspec.Struct)


def read_toml(path: Path) -> dict[str, object]:
    """The tables of a TOML file; raises `SettingsError` naming file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{path}: cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None


def checked(table: Mapping[str, object], kind: type[T], where: str, strict: bool = True) -> T:
    """``table`` as a ``kind``; raises `SettingsError` naming ``where``, the key and the nearest valid one.

    Not ``strict`` reads numbers out of strings, as the options of a spec are.
    """
    try:
        return msgspec.convert(table, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_explain(str(error), kind)}") from None


def _explain(message: str, kind: type[msgspec.Struct]) -> str:
    """Turn msgspec's words into ours: key path first, nearest valid key where there is one."""
    text, _, _ = message.partition(" - at ")
    keys = _keys(message)
    if unknown := _UNKNOWN.match(text):
        keys.pop()
        allowed = _fields(kind, keys)
        near = difflib.get_close_matches(unknown[1], allowed, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(allowed)}"
        return f"unknown key {'.'.join([*keys, unknown[1]])!r}; {advice}"
    return f"key {'.'.join(keys)!r}: {text[0].lower()}{text[1:]}" if keys else text


_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$")


def _keys(message: str) -> list[str]:
    """The key that msgspec complains of, table by table: ``["action[1]", "webhook"]``."""
    text, _, path = message.partition(" - at ")
    unknown = _UNKNOWN.match(text)
    return [*(key for key in path.strip("`$").split(".") if key), *([unknown[1]] if unknown else [])]


def _line_of(lines: list[str], keys: list[str]) -> int:
    """The line of a TOML file, from 1, that holds a key, or the value or table it lies in; 0 where it is written in no plain way."""
    found, table, counts = 0, list[str](), Counter[str]()
    for number, line in enumerate(lines, 1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.\-]+)\s*\]", line):
            table = header[2].split(".")
            if header[1] == "[[":
                table[-1] += f"[{counts[header[2]]}]"
                counts[header[2]] += 1
            here = table
        elif key := re.match(r"\s*([\w.\-]+)\s*=", line):
            here = [*table, *key[1].split(".")]
        else:
            continue
        wanted = [*keys[: len(here) - 1], *(key if key == here[-1] else key.partition("[")[0] for key in keys[len(here) - 1 : len(here)])]
        if here == wanted:
            found = number
    return found


def _fields(kind: type[msgspec.Struct], keys: list[str]) -> list[str]:
    for key in keys:
        kind = get_type_hints(kind)[key.partition("[")[0]]
        # A list of tables: [[action]].
        kind = next(iter(get_args(kind)), kind)
    return list(kind.__struct_fields__)
