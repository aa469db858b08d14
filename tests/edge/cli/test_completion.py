from __future__ import annotations

import shutil
import subprocess

import pytest
from command import Run

from edgefer.cli.main import VERBS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "man"])
def test_a_script_names_every_verb_and_the_options_of_each(cli: Run, shell: str) -> None:
    done = cli("completion", shell)
    assert done.returncode == 0, done.stderr
    text = done.stdout.replace("\\-", "-")
    for word in (*VERBS, "source", "log-level", "follow" if shell in ("bash", "man") else "install"):
        assert word in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_takes_its_script(cli: Run, shell: str) -> None:
    if not (program := shutil.which(shell)):
        pytest.skip(f"no {shell} here")
    done = subprocess.run([program, "-n"], input=cli("completion", shell).stdout, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("edgefer se", {"setup", "service"}),
        ("edgefer run --so", {"--source"}),
        ("edgefer service in", {"install"}),
        ("edgefer service logs --f", {"--follow"}),
        ("edgefer completion z", {"zsh"}),
    ],
)
def test_bash_completes_verbs_options_and_actions(cli: Run, line: str, words: set[str]) -> None:
    parts = line.split(" ")
    script = (
        cli("completion", "bash").stdout + f"COMP_WORDS=({' '.join(parts)}); COMP_CWORD={len(parts) - 1}; _edgefer; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == words, done.stderr


def test_the_man_page_is_one_that_man_takes(cli: Run) -> None:
    if not shutil.which("groff"):
        pytest.skip("no groff here")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z"], input=cli("completion", "man").stdout, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
