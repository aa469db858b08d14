from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgefer.errors import SettingsError
from edgefer.files import atomic_path, draft_folder, open_private, read_regular, write_atomic

LEAVE_A_DRAFT = """
import os, signal, sys
from pathlib import Path
from edgefer.files import atomic_path
with atomic_path(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_new_content_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with atomic_path(path) as draft:
        assert draft.name == path.name
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_mode_and_a_replaced_one_keeps_its_mode(tmp_path: Path) -> None:
    usual, new, secret = tmp_path / "usual", tmp_path / "new", tmp_path / "secret"
    usual.write_text("")
    secret.touch(0o600)
    for path in (new, secret):
        write_atomic(path, "content")
    assert new.stat().st_mode == usual.stat().st_mode
    assert secret.stat().st_mode & 0o777 == 0o600


def test_links_that_somebody_planted_are_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "rep.html"
    victim.write_text("precious")
    for name in ("rep.html", ".part-rep.html", ".part-edgefer-", ".part-edgefer-x", "lock"):
        (tmp_path / name).symlink_to(victim)
    write_atomic(path, "page")
    assert path.read_text() == "page"
    assert not path.is_symlink()
    with pytest.raises(OSError, match="symbolic links"):
        open_private(tmp_path / "lock")
    assert victim.read_text() == "precious"


def test_a_pipe_or_a_device_is_not_read_and_neither_is_a_file_above_the_limit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(path)
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="larger than"):
        read_regular(tmp_path / "file", 4)


def test_a_draft_is_private_until_it_is_renamed(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "secret") as draft:
        draft.write_text("content")
        assert draft.parent.stat().st_mode & 0o077 == 0


def test_the_next_process_removes_the_draft_of_a_killed_one_and_keeps_a_live_one(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    with draft_folder(tmp_path) as live:
        killed = subprocess.run(
            [sys.executable, "-c", LEAVE_A_DRAFT, str(path)], env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=False
        )
        assert killed.returncode == -signal.SIGKILL
        assert len(list(tmp_path.glob(".part-*"))) == 2
        write = f"from pathlib import Path; from edgefer.files import write_atomic; write_atomic(Path({str(path)!r}), 'whole')"
        subprocess.run([sys.executable, "-c", write], env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
        assert list(tmp_path.glob(".part-*")) == [live]
    assert path.read_text() == "whole"


def test_a_path_of_the_user_that_cannot_be_written_is_one_line_with_its_option(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "page.html"
    with pytest.raises(SettingsError) as raised:
        write_atomic(path, "page", flag="--out ")
    assert f"--out {path}" in str(raised.value)
    assert "No such file" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_path_of_ours_gets_its_folder(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "token", b"content")
    assert (tmp_path / "new" / "token").read_bytes() == b"content"
