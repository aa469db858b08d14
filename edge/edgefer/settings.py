"""Typed settings: TOML becomes frozen structs; an unknown key or a wrong value is an error of one line."""

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
"""The file that ``edgefer setup`` writes and the service reads."""

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
Region = tuple[Share, Share, Share, Share]
"""A part of the frame: x, y, width and height as shares, 0..1, of its width and height."""
MAX_REGIONS = 32


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TOML table: an unknown key is an error."""


class DetectorSettings(Table, frozen=True):
    """``[detector]``: how faces are found."""

    name: str = "yunet"
    """Detector of new faces in the frames of a camera or a clip, see `edgefer.detectors`."""
    follow_name: str = "haar"
    """Detector of known faces: it searches around their last position, many times a second."""
    photo_name: str = "yunet"
    """Detector of faces in single photographs; it may be slow."""
    max_side_px: Annotated[int, Meta(ge=0, le=8192)] = 480
    """Longest side of the frames that Haar searches, larger frames are shrunk; 0: full size. YuNet searches up to 640 pixels at once."""
    photo_max_side_px: Annotated[int, Meta(ge=0, le=8192)] = 0
    """The same for single photographs."""
    every_s: Seconds = 0.3
    """Seconds between two searches of moving parts for new faces; 0: in every frame."""
    scale_factor: Annotated[float, Meta(gt=1, le=2)] = 1.1
    """Ratio of one search size to the next; a smaller ratio finds more and is slower."""
    min_neighbors: Annotated[int, Meta(ge=0, le=50)] = 5
    """Overlapping detections that make a face; a higher number gives fewer false faces and fewer faces."""
    min_size_px: Annotated[int, Meta(ge=20, le=4096)] = 20
    """Smallest face, in pixels of the searched image (after shrinking)."""
    ignore: Annotated[list[Region], Meta(max_length=MAX_REGIONS)] = []
    """Regions in which faces are ignored, such as a poster or a television: x, y, width, height as shares, 0..1, of the frame."""

    def __post_init__(self) -> None:
        for x, y, width, height in self.ignore:
            if not (width > 0 and height > 0 and x + width < 1.001 and y + height < 1.001):
                found = f"[{x:g}, {y:g}, {width:g}, {height:g}]"
                raise ValueError(f"ignore: {found} is not a region [x, y, width, height] inside the frame, in shares 0..1")


class GateSettings(Table, frozen=True):
    """``[gate]``: parts of a frame in which nothing moves are not searched."""

    threshold: Annotated[float, Meta(ge=0, le=255)] = 6.0
    """Change, in levels of 0..255, from which a part of the frame is searched again; 0: always."""
    refresh_s: Seconds = 5.0
    """Seconds between two searches of the whole frame."""


class TrackSettings(Table, frozen=True):
    """``[track]``: how faces are tracked."""

    min_iou: Share = 0.3
    """Overlap, 0..1, below which a box is another face."""
    lost_s: Seconds = 0.4
    """Seconds until a face that is no longer found is dropped."""
    min_hits: Annotated[int, Meta(ge=1, le=30)] = 2
    """Searches that must find a face before it is reported; a clear detection counts twice."""
    steady: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    """0..1, weight of a face's last box in the next one, against jitter."""


class ClassifySettings(Table, frozen=True):
    """``[classify]``: when a face is classified again."""

    change: Annotated[float, Meta(ge=0, le=255)] = 4.0
    """A face is classified again when the mean change of one of its parts exceeds this, in levels of 0..255; 0: in every frame."""
    every_s: Seconds = 0.5
    """Longest time, in seconds, until a face is classified again."""
    calm_s: Seconds = 0.5
    """While the last two answers agree, and for at most this many seconds, the change threshold is multiplied by up to 2.5; 0: off."""
    prior: str | dict[str, Share] = ""
    """How often each expression is expected: "everyday", "even", "fer2013", or a share a label; empty: as the model's card states."""


class SmoothSettings(Table, frozen=True):
    """``[smooth]``: how answers are smoothed over time."""

    window_s: Seconds = 0.4
    """Time constant, in seconds, of the average over a face's answers; 0: off."""
    margin: Share = 0.1
    """0..1, lead in probability that another expression needs to become the label."""
    uncertain_below: Share | Literal["model"] = "model"
    """0..1, below this probability the answer is "uncertain"; "model": the threshold of the model's card."""


class ThrottleSettings(Table, frozen=True):
    """``[pace]``: limits for a camera's frames; files and pictures are processed without a limit."""

    max_fps: Annotated[float, Meta(ge=0, le=240)] = 0.0
    """Maximum frames per second; 0: all that the camera gives."""
    max_cpu_percent: Annotated[float, Meta(ge=0, le=1600)] = 0.0
    """Maximum CPU time of the process, in per cent of one core; 0: no limit."""
    hot_c: Annotated[float, Meta(ge=0, le=120)] = 80.0
    """Temperature in degrees Celsius from which half of the frames are processed, as while the board is throttled; 0: never."""


class ActionSettings(Table, frozen=True):
    """``[[action]]``: a command or webhook for an expression; there may be several."""

    name: str = ""
    """Name in the log; empty: its number in the file."""
    expression: str = "any"
    """A label of the model, "uncertain", "no_face" or "any" (face)."""
    min_score: Share = 0.0
    """0..1, lowest probability that counts."""
    for_s: Seconds = 0.0
    """Seconds for which the same face must show the expression, without a break."""
    cooldown_s: Annotated[float, Meta(ge=0, le=604_800)] = 60.0
    """Shortest time, in seconds, between two runs of this action."""
    command: list[str] = []
    """A program and its arguments, run without a shell; the event is JSON on its standard input."""
    webhook: str = ""
    """Or an http(s) address that the JSON is posted to."""
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """Seconds after which the command is ended, or the webhook given up."""

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
    """Whether these messages are followed."""
    schemes: list[Literal["https", "http", "file"]] = msgspec.field(default_factory=lambda: ["https"])
    """Allowed schemes of a model's url."""
    allow_local: bool = False
    """Whether a model's url may lead to this machine itself or to a link-local address; else such orders are refused."""
    public_key: str = ""
    """PEM file with an Ed25519 public key: only models that it signed are installed; empty: every model that the broker lets through."""
    max_mb: Annotated[float, Meta(gt=0, le=500)] = 20.0
    """Largest download, in megabytes."""
    timeout_s: Annotated[float, Meta(ge=1, le=3600)] = 120.0
    """Seconds a download may take."""
    max_ms: Annotated[float, Meta(gt=0, le=10_000)] = 200.0
    """Longest time of an answer in the self-test on this device, in milliseconds."""
    trial_s: Annotated[float, Meta(ge=0, le=86_400)] = 180.0
    """Seconds of the trial, in which a failing frame, a crash or two other errors bring the previous model back."""


class Settings(Table, frozen=True):
    """The whole configuration; ``deploy/config.toml`` shows every key with its default."""

    model: str = "small"
    """One of edgefer's own models, or the path of a .tflite file."""
    source: str = ""
    """Where frames come from; empty: the first camera, or without one the synthetic demonstration."""
    sinks: list[str] = []
    """Where observations go; empty: a status line, and annotated pictures in ./snapshots. One that cannot be opened is retried, or ends the
    run where its spec has ?required=true."""
    threads: Annotated[int, Meta(ge=1, le=16)] = 1
    """Threads of the TFLite runtime."""
    source_timeout_s: Annotated[float, Meta(ge=0.5, le=600)] = 20.0
    """Seconds without a frame of a live source after which the run ends with an error; a stream reconnects meanwhile."""
    max_memory_mb: Annotated[float, Meta(ge=0, le=65_536)] = 400.0
    """Megabytes of resident memory beyond which the run ends with an error, so that systemd restarts it; 0: never."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """Lowest level that is logged to standard error."""
    detector: DetectorSettings = DetectorSettings()
    gate: GateSettings = GateSettings()
    track: TrackSettings = TrackSettings()
    classify: ClassifySettings = ClassifySettings()
    smooth: SmoothSettings = SmoothSettings()
    pace: ThrottleSettings = ThrottleSettings()
    update: UpdateSettings = UpdateSettings()
    action: list[ActionSettings] = []
    """Commands and webhooks for expressions."""


def load_settings(path: Path | None) -> Settings:
    """The settings of a TOML file, or the defaults; raises `SettingsError` naming file, line and key."""
    if path is None:
        return Settings()
    table = read_toml(path)
    try:
        return msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{location(path, _keys(str(error)))}: {_explain(str(error), Settings)}") from None


def location(path: Path, keys: list[str]) -> str:
    """File and line of a key, for messages: ``config.toml, line 3``; the keys as in ``["action[1]", "webhook"]``."""
    line = line_of(path.read_text(encoding="utf-8").splitlines(), keys)
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

    Without ``strict``, numbers may be strings, as the options of a spec are.
    """
    try:
        return msgspec.convert(table, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_explain(str(error), kind)}") from None


def _explain(message: str, kind: type[msgspec.Struct]) -> str:
    """A message of msgspec in our form: the key first, and the nearest valid key."""
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
    """The key of a message of msgspec, table by table: ``["action[1]", "webhook"]``."""
    text, _, path = message.partition(" - at ")
    unknown = _UNKNOWN.match(text)
    return [*(key for key in path.strip("`$").split(".") if key), *([unknown[1]] if unknown else [])]


def line_of(lines: list[str], keys: list[str]) -> int:
    """The line, from 1, of a key in a TOML file, or of the value or table that holds it; 0 where none is found."""
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
