"""The documents and the settings of mutmut name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))


@pytest.mark.parametrize(
    "file", ["docs/reliability.md", "docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md", "README.md", "pyproject.toml"]
)
def test_every_test_that_a_file_names_exists(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    names = set(re.findall(r"(?<![/\w])test_\w+", text))
    paths = set(re.findall(r"tests/[\w/]+\.\w+", text))
    assert [name for name in names if f"def {name}" not in TESTS] == []
    assert [path for path in paths if not (ROOT / path).is_file()] == []
