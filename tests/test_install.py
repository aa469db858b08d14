from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "requirements" / "install.py"
PIP = """\
Looking in links: /opt/wheels
WARNING: Location 'file:///opt/simple/starlette/' is ignored: it is neither a file nor a directory.
Collecting starlette==1.10.0 (from -r requirements/outputs.txt (line 2))
  Downloading starlette-1.10.0-py3-none-any.whl.metadata (6.2 kB)
Processing /opt/wheels/typing_extensions-4.16.0-py3-none-any.whl (from starlette==1.10.0)
Collecting tensorflow-cpu==2.21.0
Collecting Typing_Extensions>=4
Requirement already satisfied: numpy==2.4.6 in ./.venv/lib/python3.11/site-packages
  Downloading starlette-1.10.0-py3-none-any.whl (80 kB)
  Downloading tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl (243.5 MB)
WARNING: The directory '/root/.cache/pip' is not writable.
Installing collected packages: typing-extensions, starlette, tensorflow-cpu
Successfully installed starlette-1.10.0 tensorflow-cpu-2.21.0 typing-extensions-4.16.0
"""


def test_each_package_is_one_line_and_a_large_download_has_its_size() -> None:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    summary = module.Summary()
    assert [line.strip() for line in map(summary.line, PIP.splitlines(keepends=True)) if line] == [
        "starlette",
        "typing-extensions",
        "tensorflow-cpu",
        "tensorflow_cpu-2.21.0: downloading 243.5 MB",
        "WARNING: The directory '/root/.cache/pip' is not writable.",
        "installing 3 packages",
    ]


def test_a_failure_keeps_pips_words_and_exit_status(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--no-index", "--no-deps", "edgefer-has-no-such-package"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "edgefer-has-no-such-package" in done.stderr
