from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgefer
import edgefer.api
import edgefer.types
from edgefer.sources.synthetic import Scene, SyntheticOptions


@pytest.fixture
def face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder holds face.png, a drawn face."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("face.png", Scene(SyntheticOptions()).draw(30))
    return tmp_path / "face.png"


@pytest.mark.parametrize("module", [edgefer, edgefer.api])
def test_the_documented_examples_run_as_they_stand(face: Path, module: object) -> None:
    tests = [test for test in doctest.DocTestFinder().find(module, globs={"edgefer": edgefer}) if test.examples]
    assert tests
    for test in tests:
        assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


def test_the_public_names_are_few_and_each_has_a_docstring() -> None:
    assert len(edgefer.__all__) < 12
    assert edgefer.__all__ == sorted(edgefer.__all__)
    for name in edgefer.__all__:
        assert getattr(edgefer, name).__doc__, name
    assert set(edgefer.__all__) <= set(dir(edgefer))
    with pytest.raises(AttributeError, match="phooto"):
        getattr(edgefer, "phooto")  # noqa: B009


def test_importing_edgefer_loads_no_heavy_library() -> None:
    code = "import sys, edgefer; print(edgefer.__version__, sorted({'cv2', 'numpy', 'msgspec', 'argparse'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"


def test_a_photograph_gives_its_faces_with_expression_score_and_box(face: Path) -> None:
    (found,) = edgefer.photo(face)
    assert found.expression in {*found.scores, edgefer.types.UNCERTAIN}
    assert found.score == pytest.approx(max(found.scores.values()))
    assert sum(found.scores.values()) == pytest.approx(1, abs=0.02)
    assert found.box.iou(Scene(SyntheticOptions()).truth(30)[0].box) > 0.5


@pytest.mark.parametrize(("name", "content"), [("missing.jpg", None), ("text.jpg", "no picture"), ("folder", "")])
def test_a_photograph_that_cannot_be_read_is_one_error_with_its_path(tmp_path: Path, name: str, content: str | None) -> None:
    path = tmp_path / name
    if content:
        path.write_text(content)
    elif content == "":
        path.mkdir()
    with pytest.raises(edgefer.EdgeferError, match=name) as caught:
        edgefer.photo(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_question_mark_in_the_name_of_a_photograph_is_part_of_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a?size=3.png"
    cv2.imwrite(str(path), Scene(SyntheticOptions()).draw(30))
    assert len(edgefer.photo(path)) == 1


def test_a_clip_gives_one_observation_for_each_frame_and_keeps_the_number_of_a_face(clip: Path) -> None:
    with edgefer.camera(f"file:{clip}") as observations:
        seen = list(observations)
    assert [observation.frame.index for observation in seen] == list(range(60))
    assert {face.track for observation in seen for face in observation.faces} == {1}


def test_a_live_camera_can_be_left_at_any_frame() -> None:
    with edgefer.camera("synthetic:?size=160x120&fps=30") as observations:
        first = next(observations)
    assert isinstance(first, edgefer.Observation)
    assert next(observations, None) is None, "closed"


def test_settings_choose_the_model(face: Path) -> None:
    with edgefer.camera("synthetic:?size=160x120&paced=false&seconds=0.1", edgefer.Settings(model="nano")) as observations:
        assert {observation.model.name for observation in observations if observation.model} == {"nano"}


def test_a_camera_that_cannot_be_opened_is_an_error_of_edgefer() -> None:
    with pytest.raises(edgefer.EdgeferError, match="video63"), edgefer.camera("opencv:63"):
        pass


def test_a_classifier_is_opened_by_name_or_path_and_gives_probabilities() -> None:
    classifier = edgefer.Classifier("nano")
    crops = np.zeros((2, 48, 48), np.uint8)
    assert classifier(crops).sum(axis=1) == pytest.approx([1, 1], abs=0.02)
    assert edgefer.Classifier(classifier.path).sha256 == classifier.sha256
