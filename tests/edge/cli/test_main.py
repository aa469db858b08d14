from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Run, one_line

from edgefer.cli.main import VERBS


@pytest.mark.parametrize("arguments", [["fly"], ["run", "--nonsense"], ["bench", "--loops", "other"], ["history", "--csv", "--json"]])
def test_a_wrong_flag_or_verb_prints_the_usage_and_exits_with_2(cli: Run, arguments: list[str]) -> None:
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


def test_without_a_verb_the_help_is_shown(cli: Run) -> None:
    done = cli()
    assert done.returncode == 0
    assert "edgefer run --source" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["run", "--sorce", "opencv:0"], "--source"),
        (["run", "--sinks=jsonl:-"], "--sink"),
        (["history", "--plt"], "--plot"),
        (["service", "logs", "--folow"], "--follow"),
        (["servce", "status"], "service"),
        (["service", "stat"], "status"),
        (["--versoin"], "--version"),
    ],
)
def test_a_mistyped_option_or_verb_is_answered_with_the_nearest_one(cli: Run, arguments: list[str], near: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert f"did you mean {near}?" in done.stderr


@pytest.mark.parametrize(("action", "flag"), [("install", "--config"), ("logs", "--follow"), ("status", "--help"), ("uninstall", "root")])
def test_each_action_of_service_has_help_of_its_own(cli: Run, action: str, flag: str) -> None:
    done = cli("service", action, "--help")
    assert done.returncode == 0
    assert f"usage: edgefer service {action}" in done.stdout
    assert flag in done.stdout


def shell(tmp_path: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command line in a shell, in which ``$edgefer`` is the command."""
    search = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ["PATH"]}
    line = f"edgefer='{sys.executable} -m edgefer'; {command}"
    return subprocess.run(["bash", "-c", line], cwd=tmp_path, env=search | environment, capture_output=True, text=True, check=False)


FEW = "--source 'synthetic:?seconds=0.2&size=160x120&paced=false'"


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "2>&- <&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_change_nothing(tmp_path: Path, closed: str) -> None:
    done = shell(tmp_path, f"$edgefer run {FEW} --sink jsonl:x --sink history:h.db {closed}")
    assert (done.returncode, done.stdout) == (0, "")
    assert len((tmp_path / "x").read_text().splitlines()) == 6
    assert (tmp_path / "h.db").read_bytes().startswith(b"SQLite format 3")


def test_an_encoding_without_our_characters_is_no_error(tmp_path: Path) -> None:
    for arguments in ("--help", "run --help", f"run {FEW} --sink jsonl:x", "run --source opencv:63"):
        done = shell(tmp_path, f"$edgefer {arguments}", PYTHONIOENCODING="ascii")
        assert "Traceback" not in done.stderr
        assert done.returncode == (1 if "63" in arguments else 0)


def test_without_a_home_one_line_says_what_to_set_and_a_state_directory_is_enough(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root, to become a user without an entry")
    tmp_path.chmod(0o777)
    nobody = "exec setpriv --reuid 54321 --clear-groups env -u HOME"
    readable = shell(tmp_path, f"{nobody} $edgefer --version")
    if readable.returncode:
        pytest.skip("another user cannot read this Python")
    done = shell(tmp_path, f"{nobody} $edgefer run {FEW} --sink history:")
    assert done.returncode == 1
    assert "STATE_DIRECTORY" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert shell(tmp_path, f"{nobody} STATE_DIRECTORY={tmp_path}/s $edgefer run {FEW} --sink history:").returncode == 0


def test_little_address_space_is_one_line(tmp_path: Path) -> None:
    for limit_kb in (60_000, 150_000, 300_000):
        done = shell(tmp_path, f"ulimit -v {limit_kb}; $edgefer run {FEW} --sink jsonl:x", OPENBLAS_NUM_THREADS="1")
        assert "Traceback" not in done.stderr, limit_kb


def test_a_file_called_like_a_secret_is_named_in_messages(cli: Run) -> None:
    done = cli("show", "/etc/passwd")
    assert done.returncode == 1
    assert "/etc/passwd: …" not in done.stderr
