"""The documents: generated pages and pictures are up to date, links lead somewhere, and named tests exist."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "models").rglob("*.md")])
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))


@pytest.mark.parametrize(
    "file", ["docs/reliability.md", "docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md", "README.md", "pyproject.toml"]
)
def test_every_test_that_a_file_names_exists(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    names = set(re.findall(r"(?<![/\w])test_\w+\b(?!\.py)", text))
    paths = set(re.findall(r"tests/[\w/]+\.\w+", text))
    assert [name for name in names if f"def {name}" not in TESTS] == []
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["configuration.md", "api.md"])
def test_the_generated_pages_are_up_to_date(name: str) -> None:
    make = script("make_reference").PAGES[DOCS / name]
    assert (DOCS / name).read_text(encoding="utf-8") == make(), "run: python docs/make_reference.py"


def test_the_page_of_the_configuration_has_every_key_of_the_shipped_file() -> None:
    keys = re.findall(r"^#? ?(\w+) = ", (ROOT / "edge" / "deploy" / "config.toml").read_text(encoding="utf-8"), re.MULTILINE)
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert len(keys) > 30
    assert not [key for key in keys if key != "action" and f"| `{key}` |" not in page]


def test_the_picture_of_the_imports_is_that_of_the_code() -> None:
    draw = script("draw_imports")
    modules, arrows = draw.read_imports(ROOT)
    drawn = ET.parse(draw.AFTER).getroot().findtext("{http://www.w3.org/2000/svg}desc", "").strip()
    assert drawn == draw.as_text(arrows), "run: python docs/draw_imports.py"
    assert draw.summary(modules, arrows) in draw.AFTER.read_text(encoding="utf-8")
    assert draw.summary(modules, arrows) in (DOCS / "architecture.md").read_text(encoding="utf-8"), "the caption"
    assert draw.summary(modules, arrows).endswith(" 0 of them upward")


def test_an_arrow_that_closes_a_circle_is_drawn_as_upward() -> None:
    draw = script("draw_imports")
    arrows = {("web", "model"), ("model", "base"), ("cli", "web"), ("base", "web")}
    assert len(draw.find_upward({"web", "model", "base", "cli"}, arrows)) == 1
    assert draw.find_upward({"web", "model", "base", "cli"}, arrows - {("base", "web")}) == set()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_between_documents_lead_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    from edgefer.sources.synthetic import Scene, SyntheticOptions

    monkeypatch.chdir(tmp_path)
    cv2.imwrite("picture.jpg", Scene(SyntheticOptions()).draw(30))
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(code.replace("edgefer.camera()", 'edgefer.camera("synthetic:?seconds=1&paced=false")'))
    lines = capsys.readouterr().out.splitlines()
    assert "happy" in lines[0]
    assert len(lines) > 20
