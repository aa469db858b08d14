"""Labels of any script on pictures."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgefer import lettering
from edgefer.lettering import in_ascii, letters
from edgefer.overlay import annotate
from edgefer.types import Box, Face, Frame, Observation


def seen(label: str) -> Observation:
    luma = np.full((240, 320), 90, np.uint8)
    return Observation(Frame(0, 0.0, luma), (Face(1, Box(100, 100, 80, 80), label, 0.5, {label: 0.5}),))


def difference(one: str, other: str) -> int:
    return int((annotate(seen(one)) != annotate(seen(other))).sum())


@pytest.fixture
def fonts() -> None:
    pytest.importorskip("PIL")
    if letters("ö", 20) is None:
        pytest.skip("no font here has accents")


@pytest.mark.usefixtures("fonts")
@pytest.mark.parametrize("label", ["fröhlich", "čau", "радость", "χαρά"])
def test_letters_beyond_ascii_are_drawn_as_they_are(label: str) -> None:
    if letters(label, 20) is None:
        pytest.skip("no font here has these letters")
    assert difference(label, in_ascii(label)) > 50
    assert difference(label, label[:-1] + "ä") > 20, "its last letter is one of its own"


def test_ascii_is_drawn_as_ever_and_needs_no_pillow() -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "import numpy as np\n"
        "from edgefer.overlay import annotate\n"
        "from edgefer.types import Box, Face, Frame, Observation\n"
        "frame = Frame(0, 0.0, np.full((240, 320), 90, np.uint8))\n"
        "def seen(label): return annotate(Observation(frame, (Face(1, Box(100, 100, 80, 80), label, 0.5, {}),)))\n"
        "assert (seen('happy') != seen('sadly')).any()\n"
        "assert (seen('fröhlich') == seen('frohlich')).all()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert "edgefer[text]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_label_stays_inside_a_small_picture() -> None:
    luma = np.full((24, 24), 90, np.uint8)
    face = Face(1, Box(20, 0, 10, 10), "fröhlich und überrascht", 0.5, {})
    assert annotate(Observation(Frame(0, 0.0, luma), (face,))).shape == (24, 24, 3)


def test_letters_that_no_font_has_are_drawn_as_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefer.overlay.letters", lambda text, size_px: None)
    assert difference("開心", "??") == 0


def test_missing_accents_become_the_bare_letter() -> None:
    assert in_ascii("fröhlich café") == "frohlich cafe"
    assert lettering.needs_font("ö")
    assert not lettering.needs_font("happy 93%  #1")
