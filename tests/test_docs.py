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
