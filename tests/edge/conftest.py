"""Inputs the edge tests share: clips and pictures of drawn faces, so that nothing has to be shipped."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from edgefer.sources.synthetic import Scene, SyntheticOptions


@pytest.fixture(scope="session")
def scene() -> Scene:
    return Scene(SyntheticOptions(size="320x240"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Path:
    """A video file of 60 frames at 15 a second: one face, moving."""
    path = tmp_path_factory.mktemp("clip") / "face.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (320, 240))
    for index in range(60):
        writer.write(scene.draw(2 * index))
    writer.release()
    assert path.stat().st_size > 10_000
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Path:
    """A folder of three pictures with a face, one without, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(3):
        cv2.imwrite(str(folder / f"face{index}.png"), scene.draw(200 * index))
    cv2.imwrite(str(folder / "wall.png"), Scene(SyntheticOptions(size="320x240", faces=0)).draw(0))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs that showed a fault; they are never part of the project."""
    path = Path(os.environ.get("EDGEFER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")).parent / "cases"
    if not path.is_dir():
        pytest.skip("no shared cases here (set EDGEFER_SHARED_DATA)")
    return path
