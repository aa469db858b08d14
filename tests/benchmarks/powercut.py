"""Whether a power cut can hurt: edgefer is killed (SIGKILL, all its processes) at random moments, and what it left behind is opened.

    python tests/benchmarks/powercut.py [--count 200] [--kinds history update …] [--seed N]      or: make power-cut [COUNT=200]

    history    ``edgefer run`` with a batch every 0.2 s: the file is whole for reader and writer, and misses at most the last batch
    update     ``edgefer run`` while a model comes over the air, is tested, swapped in and tried: the ledger reads, every model it names is
               whole, and the next start has the one the ledger says (needs Mosquitto)
    setup      ``edgefer setup --replace``: there is a configuration, and it is sound
    train      ``python -m train``: checkpoint, best weights, model, figures and pictures are whole or not there; the next start goes on at
               the last epoch that was said
    convert    ``python -m convert`` over an older file: a whole ``.tflite`` file with its card, or none where there was none
    publish    ``python -m convert.publish --replace``: the old model or the new one, whole, with its own figures

A moment is drawn evenly from the time between the first sign of work and the end of it, one in eight from the start of the program to
that sign. What is resumed, replaced or rolled back is so in the next round, which must succeed; each kind ends with a run left alone. The
last three need TensorFlow, and faces are drawn for them. A kill is not quite a power cut: what the kernel has not written yet is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
from mosquitto import Listener, Mosquitto
from toy import draw_pictures, write_folder, write_votes

from edgefer.cli.check_config import check_config
from edgefer.history.store import History
from edgefer.model.card import attach_card, read_card, split_card
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.mqtt.device import ONLINE
from edgefer.settings import Settings, UpdateSettings
from edgefer.update.ledger import Ledger
from edgefer.update.updater import Updater

ROOT = Path(__file__).parents[2]
EARLY = 1 / 8
"""The share of the kills before the first sign of work."""
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


@dataclass
class Told:
    """What a run said, line by line with the moment it came, and how it ended: None where it was killed."""

    lines: list[tuple[float, str]] = field(default_factory=list)
    status: int | None = None
    begun_s: float = 0.0
    working_s: float = 0.0
    """When the first sign of work was heard; 0 where it was not."""
    ended_s: float = 0.0

    @property
    def tail(self) -> str:
        return " | ".join(line.rstrip() for _, line in self.lines[-5:])


class Kind(Protocol):
    """Something that writes."""

    sign: str
    """A pattern of the line that is the first sign of work."""
    span_s: float | None
    """Seconds after it from which a moment is drawn; None: those a run left alone takes to its end."""

    def command(self) -> list[str]:
        """What is run next."""

    def provoke(self) -> None:
        """Called at the first sign of work."""

    def check(self, told: Told) -> int:
        """Open what was left behind; returns how much of it is half-written and to be ignored. Raises where anything is not as promised."""


class HistoryKind:
    """A new file every second time, else the one of the run before."""

    sign, span_s, every_s, slack_s = "^history: ", 3.0, 0.2, 1.0

    def __init__(self, place: Path) -> None:
        self._paths, self._frames, self.lost_s = (place / f"{number // 2}.db" for number in itertools.count()), 0, 0.0
        self._path = place

    def command(self) -> list[str]:
        before, self._path = self._path, next(self._paths)
        self._frames = self._frames if self._path == before else 0
        sinks = ("--sink", "jsonl:-", "--sink", f"history:{self._path}?every_s={self.every_s}")
        return ["edgefer", "run", "--source", "synthetic:?size=160x120&paced=false", *sinks]

    def provoke(self) -> None: ...

    def check(self, told: Told) -> int:
        came_s = [at_s for at_s, line in told.lines if line.startswith("{")]
        if not self._path.exists():
            assert not came_s, "frames were worked through, and there is no history"
            return 0
        half = self._path.with_name(self._path.name + "-wal").exists()
        read = self._frames_in("read") if came_s else None  # before there is a table there is nothing to read
        kept = self._frames_in("write")
        assert read in (None, kept), f"a reader saw {read} frames, the next run {kept}"
        assert not list(self._path.parent.glob("*.corrupt-*")), "it was set aside as corrupt"
        new, self._frames = kept - self._frames, kept
        assert 0 <= new <= len(came_s) + 130, f"{new} frames more in the history, {len(came_s)} came"  # two mailboxes and a pipe
        if new < len(came_s):
            lost_s = told.ended_s - came_s[new]
            self.lost_s = max(self.lost_s, lost_s)
            assert lost_s < self.every_s + self.slack_s, f"the history misses {lost_s:.2f} s"
        return int(half)

    def _frames_in(self, mode: str) -> int:
        with closing(History(self._path, mode)) as history:  # type: ignore[arg-type]
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return sum(bucket.frames for bucket in history.buckets(0, 4e9, 86_400))


class UpdateKind:
    """Two models in turn, sent to a daemon by a broker of our own."""

    sign, span_s = "^source: ", 5.0

    def __init__(self, place: Path) -> None:
        self._place, self._state = place, place / "state"
        self._broker = Mosquitto(place)
        self._listener = Listener(self._broker.port)
        self._spec = f"mqtt://127.0.0.1:{self._broker.port}/home/desk?discovery="
        self._settings = Settings(update=UpdateSettings(enabled=True, schemes=["file"], trial_s=2))
        (place / "config.toml").write_text(
            f'source = "synthetic:?size=160x120"\nsinks = ["{self._spec}"]\n[update]\nenabled = true\nschemes = ["file"]\ntrial_s = 2\n'
        )
        self._orders = itertools.cycle([self._order(name) for name in ("first", "second")])
        self._heard = self.tried = self.installed = 0

    def _order(self, name: str) -> str:
        model, card = split_card(find_model("small").read_bytes(), "small")
        content = attach_card(model, msgspec.structs.replace(card, name=name, model_sha256=""))
        path = self._place / f"{name}.tflite"
        path.write_bytes(content)
        return json.dumps({"url": f"file://{path}", "sha256": hashlib.sha256(content).hexdigest()})

    def command(self) -> list[str]:
        self._heard = len(self._listener.heard)
        return ["edgefer", "run", "--config", str(self._place / "config.toml")]

    def provoke(self) -> None:
        self._listener.wait("home/desk/status", lambda said: said.payload == ONLINE, 60, self._heard)
        self._listener.publish("home/desk/update", next(self._orders))

    def check(self, told: Told) -> int:
        file, models = self._state / "update.json", self._state / "models"
        halves = [*self._state.glob(".part-*"), *models.glob("*/.part-*")]
        ledger = msgspec.json.decode(file.read_bytes(), type=Ledger) if file.exists() else Ledger()
        for path in models.glob("*/*.tflite"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name, f"{path} is not whole"
        self.tried += ledger.trial == "running"
        self.installed += bool(ledger.current and not ledger.trial)
        wanted = ledger.previous if ledger.trial == "running" else ledger.current
        with Updater(self._settings, [self._spec], self._state) as updater:
            found = updater.open_pipeline().classifier.sha256
            assert found == (wanted or hashlib.sha256(find_model("small").read_bytes()).hexdigest()), f"{ledger}, but {found} was opened"
        left = {path.name for path in models.glob("*")}
        assert left <= {wanted}, f"{left} are left over"
        return len(halves)


class SetupKind:
    """The same file again and again, with another output each time."""

    sign, span_s = "drawn faces", None

    def __init__(self, place: Path) -> None:
        self._path, self._number = place / "config.toml", 0

    def command(self) -> list[str]:
        self._number += 1
        how = ("--source", "synthetic:?size=160x120&seconds=1", "--sink", f"jsonl:{self._number}.jsonl", "--yes", "--replace")
        return ["edgefer", "setup", "--config", str(self._path), *how]

    def provoke(self) -> None: ...

    def check(self, told: Told) -> int:
        sinks = check_config(self._path).sinks
        assert sinks in ([f"jsonl:{number}.jsonl"] for number in (self._number, self._number - 1)) or told.status is None, sinks
        return len([*self._path.parent.glob(".*")])


def whole_pictures(folder: Path) -> None:
    for path in folder.glob("[!.]*.png"):
        assert path.read_bytes().endswith(PNG_END), f"{path} is not whole"


def whole_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, f"{path} is not whole"


class Toy:
    """Drawn faces, and two finished runs of the same name on them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        pictures = draw_pictures(12, 4)
        self.data = write_folder(pictures, place / "data")
        write_votes(pictures, self.data / "fer2013new.csv")

    def recipe(self, seed: int) -> Path:
        path = self.place / str(seed) / "toy.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"epochs = 12\nbatch_size = 16\nseed = {seed}\n[model]\nchannels = [8, 8, 8, 8]\nblocks = [1, 1, 1]\n")
        return path

    def training(self, seed: int, out: Path) -> list[str]:
        return ["train", "--data", str(self.data), "--recipe", str(self.recipe(seed)), "--out", str(out)]

    def run(self, seed: int) -> Path:
        """A finished one, trained where it is not there yet."""
        out = self.place / str(seed) / "toy"
        if not (out / "toy-int8.tflite").exists():
            for command in (self.training(seed, out), self.converting(out)):
                left_alone(command, self.place, "^")
        return out

    def converting(self, run: Path, *how: str) -> list[str]:
        return ["convert", str(run / "toy.keras"), "--max-loss", "100", "--min-agreement", "0", *how]


class TrainKind:
    """One training until it ends, however often it is killed; then another."""

    sign, span_s = "epoch 1/|^resuming", None

    def __init__(self, toy: Toy, place: Path) -> None:
        self._toy, self._place, self._runs, self._epochs = toy, place, 0, 0

    @property
    def _out(self) -> Path:
        return self._place / str(self._runs) / "toy"

    def command(self) -> list[str]:
        return self._toy.training(1, self._out)

    def provoke(self) -> None: ...

    def check(self, told: Told) -> int:
        out, text = self._out, "".join(line for _, line in told.lines)
        if resumed := re.search(r"after epoch (\d+)", text):
            assert int(resumed[1]) >= self._epochs, f"{self._epochs} epochs were there, it went on after {resumed[1]}"
        else:
            assert not self._epochs or told.status is None, "it did not go on where it was"
        said = max((int(epoch) for epoch in re.findall(r"epoch (\d+)/12", text)), default=0)
        if (checkpoint := out / "checkpoint.keras").exists():
            whole_zip(checkpoint)
            with zipfile.ZipFile(checkpoint) as archive:
                self._epochs = len(json.loads(archive.read("history.json"))["history"])
            import h5py

            with h5py.File(out / "best.weights.h5") as weights:
                weights.visititems(lambda _, item: item[()].shape if isinstance(item, h5py.Dataset) else None)
        assert self._epochs >= said, f"epoch {said} was said to be there, {self._epochs} are"
        whole_pictures(out)
        model, figures = out / "toy.keras", out / "metrics.json"
        if figures.exists():
            json.loads(figures.read_text())
        if model.exists():
            whole_zip(model)
            assert read_card(model).name == "toy"
            assert figures.exists(), "a model without its figures"
            assert (out / "mistakes.png").exists(), "a model without its pictures"
        halves = len(list(out.glob(".part-*")))
        if told.status == 0:
            assert model.exists()
            assert not halves, "a finished run left parts behind"
            shutil.rmtree(out)
            self._runs, self._epochs = self._runs + 1, 0
        return halves


class ConvertKind:
    """The file is there before, every second time."""

    sign, span_s = "^converting", None

    def __init__(self, toy: Toy, place: Path) -> None:
        self._command = toy.converting(toy.run(1), "--out", str(place / "toy-int8.tflite"))
        self._out, self._number, self._before = place / "toy-int8.tflite", 0, b""

    def command(self) -> list[str]:
        self._number += 1
        if self._number % 2:
            self._out.unlink(missing_ok=True)
        self._before = self._out.read_bytes() if self._out.exists() else b""
        return self._command

    def provoke(self) -> None: ...

    def check(self, told: Told) -> int:
        if self._before or told.status == 0:
            assert self._out.exists(), "the file is gone"
        if self._out.exists():
            assert Classifier(self._out).card.name == "toy"
        halves = list(self._out.parent.glob(".part-*"))
        for folder in halves:
            shutil.rmtree(folder)
        return len(halves)


class PublishKind:
    """Two runs of the same name in turn."""

    sign, span_s = "^measuring", None

    def __init__(self, toy: Toy, place: Path) -> None:
        self._toy, self._models, self._seeds = toy, place, itertools.cycle((1, 2))
        self.stale = 0
        """How often the digests were still those of the model before."""

    def command(self) -> list[str]:
        run = str(self._toy.run(next(self._seeds)))
        return ["convert.publish", run, "--data", str(self._toy.data), "--models", str(self._models), "--replace"]

    def provoke(self) -> None: ...

    def check(self, told: Told) -> int:
        place = self._models / "toy"
        if not place.exists():
            assert told.status is None
            assert not (self._models / "SHA256SUMS").exists(), "the published model is gone"
            return 0
        described = json.loads((place / "metrics.json").read_text())["files"]
        assert set(described) == {path.name for path in place.iterdir() if path.suffix in (".keras", ".tflite")}
        for name, of in described.items():
            assert hashlib.sha256((place / name).read_bytes()).hexdigest() == of["sha256"], f"{name} is not the one that was measured"
            assert read_card(place / name).name == "toy"
        whole_pictures(place)
        for name in ("README.md", "coverage.png", "curves.png"):
            assert (place / name).stat().st_size > 1000, f"{name} is missing or not whole"
        if (sums := self._models / "SHA256SUMS").exists():
            lines = dict(reversed(line.split("  ")) for line in sums.read_text().splitlines())
            assert set(lines) == {f"toy/{name}" for name in described}
            current = all(lines[f"toy/{name}"] == of["sha256"] for name, of in described.items())
            assert current or told.status is None
            self.stale += not current
        if (golden := self._models / "golden.json").exists():
            json.loads(golden.read_text())
        halves = [*self._models.glob(".part-*"), *self._models.glob(".old-*")]
        assert not halves or told.status is None
        for path in self._models.glob(".part-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return len(halves)


def listen(process: subprocess.Popen[str], sign: str, told: Told, working: threading.Event) -> None:
    """Keep every line with its moment; sets ``working`` at the sign, or at the end."""
    assert process.stdout
    for line in process.stdout:
        told.lines.append((time.monotonic(), line))
        if not told.working_s and re.search(sign, line):
            told.working_s = time.monotonic()
            working.set()
    working.set()


def start(command: list[str], place: Path, sign: str) -> tuple[subprocess.Popen[str], threading.Thread, Told, threading.Event]:
    """A run in a session of its own, and who listens to it."""
    own = {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "edge"))),
        "PYTHONUNBUFFERED": "1",
        "STATE_DIRECTORY": str(place / "state"),
        "TMPDIR": str(place),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=place, env={**os.environ, **own}, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    told, working = Told(begun_s=time.monotonic()), threading.Event()
    reader = threading.Thread(target=listen, args=(process, sign, told, working))
    reader.start()
    return process, reader, told, working


def left_alone(command: list[str], place: Path, sign: str) -> Told:
    """Run to the end."""
    process, reader, told, _ = start(command, place, sign)
    reader.join()
    told.status, told.ended_s = process.wait(), time.monotonic()
    assert told.status == 0, f"{' '.join(command)}: {told.tail}"
    return told


def cut(kind: Kind, place: Path, sign_s: float, span_s: float, moments: random.Random) -> Told:
    """Run, and kill at a random moment: ``sign_s`` and ``span_s`` are the seconds to the first sign of work, and after it."""
    process, reader, told, working = start(kind.command(), place, kind.sign)
    try:
        if moments.random() < EARLY:
            wait_s = moments.uniform(0, sign_s)
        else:
            assert working.wait(300), f"no sign of work: {told.tail}"
            if told.working_s:
                kind.provoke()
            wait_s = moments.uniform(0, span_s)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        told.status = process.poll()
    finally:
        told.ended_s = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
    assert told.status in (None, 0) and (told.status is None or kind.span_s is None), f"it ended by itself: {told.tail}"
    return told


def trials(kind: Kind, place: Path, count: int, moments: random.Random) -> Iterator[tuple[Told, int]]:
    """Runs until ``count`` were killed, each with how much was half-written; before and after them one left alone, where one ends."""
    sign_s, span_s = 2.0, kind.span_s or 0.0
    if kind.span_s is None:
        told = left_alone(kind.command(), place, kind.sign)
        kind.check(told)
        sign_s, span_s = told.working_s - told.begun_s, 1.05 * (told.ended_s - told.working_s)
    while count:
        told = cut(kind, place, sign_s, span_s, moments)
        count -= told.status is None
        yield told, kind.check(told)
    if kind.span_s is None:
        kind.check(left_alone(kind.command(), place, kind.sign))


def main() -> None:
    """Kill, look, count; exit status 1 where anything was not as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    with tempfile.TemporaryDirectory(prefix="powercut-", ignore_cleanup_errors=True) as folder:
        root, toys = Path(folder), list[Toy]()

        def toy() -> Toy:
            if not toys:
                (root / "toy").mkdir()
                toys.append(Toy(root / "toy"))
            return toys[0]

        kinds: dict[str, Callable[[Path], Kind]] = {
            "history": HistoryKind, "update": UpdateKind, "setup": SetupKind, "train": lambda place: TrainKind(toy(), place),
            "convert": lambda place: ConvertKind(toy(), place), "publish": lambda place: PublishKind(toy(), place),
        }  # fmt: skip
        able = [name for name in kinds if name in ("history", "update", "setup") or importlib.util.find_spec("tensorflow")]
        parser.add_argument("--count", type=int, default=200, help="kills in all, as many of each kind (default: 200)")
        parser.add_argument("--kinds", nargs="+", choices=list(kinds), default=able, help="of what is killed (default: what can be here)")
        parser.add_argument("--seed", type=int, default=random.randrange(1000), help="of the moments")
        options = parser.parse_args()
        print(f"seed {options.seed}", flush=True)
        moments, failures = random.Random(options.seed), 0
        for number, name in enumerate(options.kinds):
            place = root / name
            place.mkdir()
            kind = kinds[name](place)
            count = options.count // len(options.kinds) + (number < options.count % len(options.kinds))
            killed = early = ended = halves = 0
            begun_s = time.monotonic()
            try:
                for told, half in trials(kind, place, count, moments):
                    killed += told.status is None
                    early += not told.working_s
                    ended += told.status is not None
                    halves += half > 0
            except Exception as error:
                failures += 1
                kept = Path(tempfile.mkdtemp(prefix=f"powercut-{name}-"))
                shutil.copytree(place, kept, dirs_exist_ok=True)
                print(f"{name}: after {killed} kills: {type(error).__name__}: {error}\nwhat was left is kept in {kept}", flush=True)
                continue
            more = {
                "history": "at most {0.lost_s:.2f} s of frames missing",
                "update": "{0.tried} in a trial, {0.installed} with a model that had come",
                "publish": "{0.stale} with the digests of the model before",
            }
            print(
                f"{name}: {killed} kills ({early} before any work), {ended} ended first; {halves} left something unfinished, "
                f"and none was picked up{'; ' + more[name].format(kind) if name in more else ''} ({time.monotonic() - begun_s:.0f} s)",
                flush=True,
            )
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
