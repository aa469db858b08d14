from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Run, one_line

from edgefer.cli.main import VERBS


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--nonsense"], ["bench", "--loops", "other"], ["history", "--csv", "--json"]])
def test_a_wrong_flag_or_no_verb_prints_the_usage_and_exits_with_2(cli: Run, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert "usage: edgefer" in done.stderr
    assert done.stdout == ""


def test_a_wrong_flag_does_not_repeat_a_password(cli: Run) -> None:
    done = cli("run", "rtsp://me:xyzzy@camera/live")
    assert done.returncode == 2
    assert "camera" in done.stderr
    assert "xyzzy" not in done.stderr


def test_help_lists_every_verb_and_the_first_steps(cli: Run) -> None:
    done = cli("--help")
    assert done.returncode == 0
    for word in (*VERBS, "edgefer run --source", "edgefer doctor"):
        assert word in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_a_sentence_and_its_flags(cli: Run, verb: str) -> None:
    done = cli(verb, "--help")
    assert done.returncode == 0
    summary = VERBS[verb]
    assert f"{summary[0].upper()}{summary[1:]}." in " ".join(done.stdout.split())
    assert "options:" in done.stdout


def test_help_of_run_lists_sources_and_sinks(cli: Run) -> None:
    done = cli("run", "--help")
    for word in ("picamera:", "opencv:0", "images:", "synthetic:", "jsonl:-", "snapshots:", "display:"):
        assert word in done.stdout


def test_help_loads_no_opencv(tmp_path: Path) -> None:
    code = "import sys; from edgefer.cli.main import main\ntry: main(['bench', '--help'])\nfinally: assert 'cv2' not in sys.modules"
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_without_opencv_one_line_names_the_package_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['cv2'] = None; from edgefer.cli.main import main; sys.exit(main(['run', '--source', 'synthetic:']))"
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "apt install python3-opencv" in one_line(done.stderr)


def test_the_version_is_that_of_the_package(cli: Run) -> None:
    import edgefer

    assert cli("--version").stdout.strip() == edgefer.__version__
