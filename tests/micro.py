"""What tests of the C export share: the exported model, the firmware's folder, and strict compilers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_fixtures import ROOT, made_once

FIRMWARE = ROOT / "examples" / "micro"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def needs(*commands: str) -> None:
    """Skip the test, naming the commands that this machine lacks."""
    if missing := [command for command in commands if not shutil.which(command)]:
        pytest.skip(f"not here: {', '.join(missing)} (tests/pi/packages.txt)")


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published model nano as C, with its header beside it."""
    from convert.c_export import export
    from edgefer.model.store import find_model

    folder = made_once(tmp_path_factory, "micro", lambda path: export(find_model("nano"), path / "nano.c"))
    return folder / "nano.c"
