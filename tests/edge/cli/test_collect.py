"""Pictures by class, from a source into a folder: varied ones only, by flags or by the page's buttons."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import Run, one_line

from edgefer.cli.collector import Collector
from edgefer.errors import SettingsError, SinkError
from edgefer.luma import colour_frame
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box, Face, Observation
from edgefer.web.collect_page import CollectPage, open_page

SOURCE = "synthetic:?paced=false&size=320x240&seconds=20"
DEADLINE_S = 30.0


def shown(scene: Scene, index: int) -> Observation:
    """A frame of drawn faces with the boxes that were drawn."""
    faces = tuple(Face(n, truth.box, truth.expression, 1.0, {}) for n, truth in enumerate(scene.truth(index)))
    return Observation(colour_frame(index, index / 30, scene.draw(index)), faces)


def test_a_class_gets_its_number_of_pictures_and_the_privacy_is_stated_first(cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    done = cli("collect", str(folder), "--class", "wink", "--class", "fröhlich", "--count", "4", "--source", SOURCE)
    assert done.returncode == 0, done.stderr
    for label in ("wink", "fröhlich"):
        assert len(list((folder / label).glob("*.jpg"))) == 4
        assert f"{label} 4" in done.stderr
    lines = done.stderr.splitlines()
    assert "stay on this device" in next(line for line in lines if str(folder) in line)
    assert "make own DATA=" in lines[-1]


def test_the_largest_face_is_kept_with_its_surroundings(tmp_path: Path) -> None:
    scene = Scene(SyntheticOptions(size="320x240"))
    collector = Collector(tmp_path, ["wink"], 10, 0)
    collector.choose("wink")
    observation = shown(scene, 30)
    small = Face(9, Box(0, 0, 20, 20), "happy", 1.0, {})
    path = collector.add(Observation(observation.frame, (small, *observation.faces)))
    assert path
    kept = cv2.imread(str(path))
    side = 2 * observation.faces[0].box.w
    assert kept.shape == (side, side, 3)


def test_pictures_that_show_nothing_new_are_not_kept_also_in_a_later_call(tmp_path: Path) -> None:
    scene = Scene(SyntheticOptions(size="320x240", still=True))
    for _ in range(2):
        collector = Collector(tmp_path, ["wink"], 10, 0)
        collector.choose("wink")
        for index in range(0, 100, 10):
            collector.add(shown(scene, index))
        assert collector.counts == {"wink": 1}
    assert len(list((tmp_path / "wink").glob("*.jpg"))) == 1


def test_pictures_of_one_pixel_or_without_content_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "wink").mkdir()
    cv2.imwrite(str(tmp_path / "wink" / "dot.jpg"), np.zeros((1, 1), np.uint8))
    (tmp_path / "wink" / "text.jpg").write_text("no picture")
    assert Collector(tmp_path, ["wink"], 10, 0).counts == {"wink": 0}


def test_nothing_is_kept_during_the_countdown_or_without_a_class(tmp_path: Path) -> None:
    now = 0.0
    collector = Collector(tmp_path, ["wink"], 10, 3, clock=lambda: now)
    scene = Scene(SyntheticOptions(size="320x240"))
    assert collector.add(shown(scene, 0)) is None
    collector.choose("wink")
    now = 2.0
    assert collector.countdown_s == 1.0
    assert collector.add(shown(scene, 0)) is None
    now = 3.1
    assert collector.add(shown(scene, 0))


@pytest.mark.parametrize("label", ["", "uncertain", "../wink", ".hidden", "a\nb"])
def test_a_class_that_cannot_be_a_folder_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(SettingsError, match="--class"):
        Collector(tmp_path, [label], 10, 0)


def test_the_page_has_a_button_for_each_class_and_shows_the_live_count(tmp_path: Path) -> None:
    collector = Collector(tmp_path, ["wink", "<b>bored"], 10, 0)
    page = open_page("http://127.0.0.1:0", collector)
    try:
        assert ask(page, "GET", "/api/picture")[0] == 404
        scene = Scene(SyntheticOptions(size="320x240"))
        page.add(shown(scene, 0))
        status, body = ask(page, "POST", "/api/collect", {"label": "<b>bored"})
        assert status == 200
        assert json.loads(body)["current"] == "<b>bored"
        collector.add(shown(scene, 0))
        state = json.loads(ask(page, "GET", "/api/collect")[1])
        assert state["counts"] == {"wink": 0, "<b>bored": 1}
        assert ask(page, "GET", "/api/picture")[1].startswith(b"\xff\xd8")
        assert b"collect.js" in ask(page, "GET", "/")[1]
        assert ask(page, "POST", "/api/collect", {"label": "smile"})[0] == 422
        assert ask(page, "POST", "/api/collect", {"label": "wink"}, {"Origin": "http://elsewhere"})[0] == 403
    finally:
        page.close()


@pytest.mark.parametrize("address", ["http://0.0.0.0:8081", "https://127.0.0.1:8081", "127.0.0.1:8081", "http://pi.local:8081"])
def test_the_page_is_for_this_machine_only(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match="ssh -L"):
        open_page(address, Collector(tmp_path, ["wink"], 10, 0))


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    collector = Collector(tmp_path, ["wink"], 10, 0)
    page = open_page("http://127.0.0.1:0", collector)
    try:
        with pytest.raises(SinkError, match=r"--page .*port"):
            open_page(page.address, collector)
    finally:
        page.close()


def test_a_folder_that_cannot_be_made_is_one_line(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = cli("collect", str(tmp_path / "file"), "--class", "wink", "--source", SOURCE)
    assert done.returncode == 1
    assert "choose another DIR" in one_line(done.stderr)


def ask(page: CollectPage, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(page.address.rpartition(":")[2]), timeout=DEADLINE_S)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
