from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edge" / "edgefer"
EDGE = sorted(PACKAGE.rglob("*.py"))
ON_USE = {
    "edge/edgefer/cli/bench_report.py": {"matplotlib"},
    "edge/edgefer/lettering.py": {"PIL"},
    "edge/edgefer/mqtt/connection.py": {"paho"},
    "edge/edgefer/update/order.py": {"cryptography"},
}
"""Optional extras, imported in the function that needs them."""
FORBIDDEN = {"train", "convert", "tensorflow", "keras", "torch", "jax", "matplotlib", "PIL", "paho", "cryptography"}


def imported(path: Path) -> set[str]:
    """Names of the top-level packages a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", EDGE, ids=[str(path.relative_to(ROOT)) for path in EDGE])
def test_edge_imports_neither_the_other_stages_nor_their_libraries(path: Path) -> None:
    on_use = ON_USE.get(path.relative_to(ROOT).as_posix(), set())
    assert not (imported(path) - on_use) & FORBIDDEN
    at_once = {node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.Import | ast.ImportFrom)}
    assert not any(name in ast.unparse(node) for node in at_once for name in on_use)


ROOMS = (
    *(
        "types",
        "errors",
        "files",
        "log_once",
        "html_template",
        "machine",
        "stop",
        "http_deadline",
        "queues",
        "native_stderr",
        "builtin",
        "redact",
        "settings",
        "options",
        "spec",
        "plug",
        "plug_help",
        "luma",
        "lettering",
        "overlay",
        "observation_json",
        "regions",
        "output",
    ),
    *("model", "sources", "history", "mqtt", "detectors", "web", "pipeline", "sinks", "update", "api", "cli", "__init__", "__main__"),
)
"""Modules and folders of the runtime, from the base to the command line: each imports only what stands to its left."""


def rooms_imported(path: Path) -> set[str]:
    """Rooms of the runtime that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found |= {name.split(".")[1] for name in names if name.startswith("edgefer.")}
    return found


@pytest.mark.parametrize("path", EDGE, ids=[str(path.relative_to(ROOT)) for path in EDGE])
def test_imports_between_rooms_run_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert room in ROOMS, f"{path}: give this new room its place in ROOMS"
    assert rooms_imported(path) - {room} <= set(ROOMS[: ROOMS.index(room)])


def test_only_the_command_line_imports_the_command_line() -> None:
    for path in EDGE:
        if path.relative_to(PACKAGE).parts[0] not in ("cli", "__main__.py"):
            assert "cli" not in rooms_imported(path), path


def test_convert_imports_what_it_needs_of_train_and_train_nothing_of_convert() -> None:
    for path in (ROOT / "train").glob("*.py"):
        assert "convert" not in imported(path)


def test_every_module_opens_with_a_sentence_of_purpose() -> None:
    for stage in ("edge", "train", "convert", "examples"):
        for path in (ROOT / stage).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_class_order_stands_in_no_code_of_the_product() -> None:
    for path in [*EDGE, *(ROOT / "convert").glob("*.py"), *(ROOT / "train").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List | ast.Tuple):
                words = [item.value for item in node.elts if isinstance(item, ast.Constant)]
                assert not {"angry", "disgust", "fear"} <= set(map(str, words)), path


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_examples_are_at_most_25_lines() -> None:
    assert 6 <= len(EXAMPLES) <= 8
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 25, path


def test_every_example_runs(tmp_path: Path) -> None:
    import cv2

    from edgefer.sources.synthetic import Scene, SyntheticOptions

    scene = Scene(SyntheticOptions())
    cv2.imwrite(str(tmp_path / "face.png"), scene.draw(30))
    box = scene.truth(30)[0].box
    (tmp_path / "out.jsonl").write_text('{"faces": [{"expression": "happy"}]}\n{"faces": []}\n')
    arguments = {
        "photo": ["face.png"],
        "live": ["synthetic:?seconds=2&paced=false&size=320x240"],
        "smile_camera": ["synthetic:?seconds=3&paced=false", "--out", "smiles"],
        "own_sink": [],
        "crop_scores": ["face.png", str(box.x), str(box.y), str(box.w)],
        "summarise": ["out.jsonl"],
    }
    assert set(arguments) == {path.stem for path in EXAMPLES}
    for path in EXAMPLES:
        command = [sys.executable, str(path), *arguments[path.stem]]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(ROOT / "edge")},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip(), path
    assert list((tmp_path / "smiles").glob("smile-*.jpg"))


@pytest.mark.parametrize(
    ("example", "arguments", "missing"),
    [
        ("photo", [], "picture"),
        ("photo", ["none.jpg"], "none.jpg"),
        ("live", ["opencv:63"], "/dev/video63"),
        ("summarise", ["none.jsonl"], "none.jsonl"),
    ],
)
def test_an_example_names_what_is_missing_in_its_last_line(example: str, arguments: list[str], missing: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / f"{example}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT / "edge")})
    assert done.returncode == 2
    assert missing in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_examples_use_only_the_public_names_of_edgefer() -> None:
    import edgefer

    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert "from edgefer" not in text, path
        assert set(re.findall(r"\bedgefer\.(\w+)", text.replace("edgefer.EdgeferError", ""))) <= set(edgefer.__all__), path
