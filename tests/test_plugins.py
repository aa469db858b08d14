"""docs/plugins.md, word by word: its package is built, installed and used, and its tables are those of the classes."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from command import Run, one_line
from notify import Listener

from edgefer.sources.synthetic import Scene, SyntheticOptions

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
BLOCKS = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
"""Name of a file -> its text."""
CONFIG = """
source = "bars:?frames=20"
sinks = ["csv:faces.csv?separator=;"]
source_timeout_s = 0.5
[detector]
name = "middle:?share=0.4"
follow_name = "middle:?share=0.4"
photo_name = "middle"
[track]
min_hits = 1
"""


def code_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed the page's package; no network, no metadata of this project is touched."""
    folder = tmp_path_factory.mktemp("demo")
    package = folder / "edgefer_demo"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in BLOCKS.items():
        (folder if name == "pyproject.toml" else package).joinpath(name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for step in (
        ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder / "dist"), str(folder)],
        ["install", "--no-deps", "--no-index", "--target", str(folder / "site"), "--find-links", str(folder / "dist"), "edgefer-demo"],
    ):
        done = subprocess.run([*pip, *step], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def with_demo(demo: Path, edgefer: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line where the package is installed."""
    monkeypatch.syspath_prepend(str(demo))
    return edgefer


def test_the_tables_of_the_page_are_what_the_classes_declare() -> None:
    page: Callable[[str], str] = runpy.run_path(str(PAGE.with_name("plug_tables.py")))["page"]
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "python docs/plug_tables.py writes them again"


def test_the_templates_are_short() -> None:
    assert {name for name in BLOCKS if name.endswith(".py")} == {"bars.py", "middle.py", "csvfile.py", "folderwatch.py"}
    assert all(code_lines(BLOCKS[name]) <= 25 for name in ("bars.py", "middle.py", "csvfile.py"))
    assert len(BLOCKS["folderwatch.py"].splitlines()) <= 60


def test_an_installed_package_gives_a_source_a_detector_and_a_sink_to_the_command_line(with_demo: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    done = with_demo("run", "--config", "config.toml")
    assert done.returncode == 0, done.stderr
    assert "source: 20 frames of bars" in done.stderr
    rows = [line.split(";") for line in (tmp_path / "faces.csv").read_text().splitlines()]
    assert [row[:2] for row in rows[:2]] == [["0", "0.000"], ["1", "0.100"]]
    assert len(rows) == 20
    assert {row[2] for row in rows} == {"1"}, "the one face of the detector"


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        ("frames=20", "frame=20", ("line 2", "bars:?frame=20", "did you mean 'frames'")),
        ("csv:faces.csv?separator=;", "csv:", ("line 3", "no file given", "csv:PATH")),
        ("middle:?share=0.4", "middle:?share=much", ("line 6", "key 'share'")),
        ("middle:?share=0.4", "midle", ("line 6", "no detector 'midle'", "haar, blazeface", "middle")),
    ],
)
def test_check_config_knows_the_options_of_an_installed_package(
    with_demo: Run, tmp_path: Path, old: str, new: str, facts: tuple[str, ...]
) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    assert with_demo("check-config", "config.toml").returncode == 0
    (tmp_path / "config.toml").write_text(CONFIG.replace(old, new, 1))
    done = with_demo("check-config", "config.toml")
    assert done.returncode == 1
    assert all(fact in one_line(done.stderr) for fact in facts), done.stderr


def test_help_lists_an_installed_package_with_its_options(with_demo: Run) -> None:
    done = with_demo("run", "--help")
    assert done.returncode == 0, done.stderr
    for fact in ("bars:", "frames=100", "Frames until the end.", "folderwatch:DIR", "middle", "share=0.5", "csv:PATH", "edgefer-demo 1.0"):
        assert fact in done.stdout


def test_without_the_package_its_specs_are_unknown(edgefer: Run) -> None:
    assert "no source 'bars'; there are picamera" in one_line(edgefer("run", "--source", "bars:", "--sink", "jsonl:-").stderr)


class Daemon:
    """``edgefer run`` on a folder, as systemd starts it."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder
        (folder / "in").mkdir()
        self.picture(folder / "in" / "old.jpg")
        (folder / "config.toml").write_text('source = "folderwatch:in"\nsinks = ["jsonl:out.jsonl"]\nsource_timeout_s = 0.5\n')
        self.systemd = Listener(str(folder / "notify"))
        path = os.pathsep.join([str(site), *(path for path in sys.path if path)])
        environment = {**os.environ, "PYTHONPATH": path, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
        command = [sys.executable, "-m", "edgefer", "run", "--config", "config.toml"]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def picture(path: Path) -> None:
        content = cv2.imencode(".jpg", Scene(SyntheticOptions(size="320x240")).draw(0))[1].tobytes()
        path.with_suffix(".part").write_bytes(content)
        path.with_suffix(".part").rename(path)

    def until(self, key: str) -> dict[str, str]:
        """The next message to systemd that has this key."""
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            message = self.systemd.hear(within_s=60)
            if key in message:
                return message
        pytest.fail(f"systemd got no {key}")


@pytest.fixture
def daemon(tmp_path: Path, demo: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, demo)
    yield daemon
    daemon.process.kill()
    daemon.process.communicate()
    daemon.systemd.close()


@pytest.mark.skipif(sys.platform != "linux", reason="systemd's socket is Linux' own")
def test_a_source_that_may_pause_waits_in_silence_works_through_what_comes_and_stops_at_once(daemon: Daemon, tmp_path: Path) -> None:
    assert daemon.until("READY")["STATUS"] == "waiting for the next frame"
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < 1.5:  # three times source_timeout_s
        daemon.until("WATCHDOG")
    assert daemon.process.poll() is None, "no frame for hours is no fault"
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        daemon.picture(tmp_path / "in" / name)
    deadline_s = time.monotonic() + 60
    while (tmp_path / "out.jsonl").read_text().count("\n") < 3 and time.monotonic() < deadline_s:
        daemon.until("WATCHDOG")
    lines = (tmp_path / "out.jsonl").read_text()
    assert [name in lines for name in ("old.jpg", "a.jpg", "b.jpg", "c.jpg")] == [False, True, True, True], "none is lost"
    assert '"camera"' not in lines, "silence is no state of a camera"
    killer = threading.Timer(20, daemon.process.kill)
    killer.start()
    begun_s = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    daemon.until("STOPPING")
    stopped_s = time.monotonic() - begun_s
    assert daemon.process.wait() == 0
    killer.cancel()
    # Within a second when nothing else runs.
    assert stopped_s < 1 + 2 * max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1)
