"""Any folder of pictures by class: kinds of files, names, splits, clips, and what is left out."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgefer.sources.synthetic import Scene, SyntheticOptions
from train.folder import Folder, common_name, read_folder

SCENE = Scene(SyntheticOptions(size="320x240"))


def read(root: Path) -> Folder:
    return read_folder(root, 48, lambda _: None)


def face(index: int = 30) -> Image.Image:
    """A cut face."""
    box = SCENE.truth(index)[0].box
    return Image.fromarray(SCENE.draw(index)[box.y : box.y + box.h, box.x : box.x + box.w, ::-1])


def put(path: Path, image: Image.Image, **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)  # type: ignore[arg-type]


def test_photographs_are_searched_and_cut_faces_are_taken_as_they_are(tmp_path: Path) -> None:
    put(tmp_path / "wink" / "photo.jpg", Image.fromarray(SCENE.draw(30)[:, :, ::-1]))
    put(tmp_path / "wink" / "cut.png", face())
    put(tmp_path / "bored" / "small.png", face().resize((48, 48)))
    found = read(tmp_path)
    assert found.labels == ("bored", "wink")
    assert {picture.name: picture.how for picture in found.pictures} == {
        "wink/photo.jpg": "photograph",
        "wink/cut.png": "cut",
        "bored/small.png": "cut",
    }
    assert found.images.shape == (3, 60, 60)
    photo, cut = (
        picture.pixels.astype(int)[6:-6, 6:-6] for name in ("photo.jpg", "cut.png") for picture in found.pictures if name in picture.name
    )
    assert np.corrcoef(photo.ravel(), cut.ravel())[0, 1] > 0.7, "the same face, cropped nearly alike"


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif", "bmp", "JPEG"])
def test_every_usual_kind_of_picture_is_read(tmp_path: Path, ending: str) -> None:
    put(tmp_path / "a" / f"1.{ending}", face())
    put(tmp_path / "b" / "1.png", face())
    first, second = read(tmp_path).images.astype(int)
    assert np.abs(first - second).mean() < 12


def test_a_gif_gives_its_first_frame_and_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    put(tmp_path / "a" / "moving.gif", face(30), save_all=True, append_images=[face(200), face(400)])
    turned = Image.Exif()
    turned[0x0112] = 6  # turned by 90 degrees
    put(tmp_path / "b" / "turned.jpg", face(30).rotate(90, expand=True), exif=turned)
    first, second = read(tmp_path).images.astype(int)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.95


def test_one_name_in_two_forms_is_one_class(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        put(tmp_path / unicodedata.normalize(form, "fröhlich") / f"{form}.png", face())
    put(tmp_path / "驚き" / "1.png", face())
    found = read(tmp_path)
    assert found.labels == (unicodedata.normalize("NFC", "fröhlich"), "驚き")
    assert len(found.pictures) == 3


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", face())
    put(tmp_path / "b" / "1.png", face())
    (tmp_path / "a" / "broken.jpg").write_bytes(b"no picture")
    put(tmp_path / "a" / "wall.png", Image.fromarray(Scene(SyntheticOptions(size="320x240", faces=0)).draw(0)))
    (tmp_path / "a" / "notes.txt").write_text("no picture either")
    notes = "\n".join(read(tmp_path).notes)
    assert "broken.jpg" in notes
    assert "no face found: 1 (a/wall.png)" in notes


def test_a_folder_with_a_split_keeps_it_and_its_test_pictures_stay_unseen(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            put(tmp_path / split / label / "1.png", face())
    found = read(tmp_path)
    assert found.labels == ("a", "b")
    assert sorted(picture.split for picture in found.pictures) == ["train", "train", "validation", "validation"]


def test_a_clip_beside_the_folders_is_a_class_by_its_name(tmp_path: Path) -> None:
    for name in ("wink.avi", "bored-2.avi"):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 8, (320, 240))
        for index in range(12):
            writer.write(SCENE.draw(10 * index))
        writer.release()
    found = read(tmp_path)
    assert found.labels == ("bored", "wink")
    clip = [picture for picture in found.pictures if picture.label == "wink"]
    assert len(clip) == 6, "four a second of one and a half seconds"
    assert {picture.how for picture in clip} == {"clip"}
    assert len({picture.part for picture in clip}) > 1


def test_classes_of_the_shipped_models_are_known_by_other_names() -> None:
    assert common_name("Happiness") == "happy"
    assert common_name("Wink") == "wink"
