"""Folders of pictures as people have them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefer.errors import SourceError
from edgefer.sources import open_source
from edgefer.sources.picture_size import picture_size
from edgefer.sources.synthetic import Scene


@pytest.fixture(scope="module")
def picture(scene: Scene) -> np.ndarray:
    return np.asarray(scene.draw(30))


def names(folder: Path, options: str = "") -> list[str | None]:
    return [frame.name for frame in open_source(f"images:{folder}{options}")]


def written(path: Path, picture: np.ndarray) -> Path:
    """A picture in the format of its ending; JFIF is JPEG by another name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jfif": ".jpg", ".jpe": ".jpg", ".dib": ".bmp"}.get(path.suffix, path.suffix)
    done, content = cv2.imencode(kind, picture)
    assert done
    path.write_bytes(content.tobytes())
    return path


def test_subfolders_are_read_in_the_order_of_paths_unless_the_option_says_no(tmp_path: Path, picture: np.ndarray) -> None:
    for name in ("b.png", "a/2.png", "a/1.png", "a/x/1.png", ".hidden/1.png", "c.PNG"):
        written(tmp_path / name, picture) if name != "c.PNG" else (tmp_path / name).write_bytes((tmp_path / "b.png").read_bytes())
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert names(tmp_path) == ["a/1.png", "a/2.png", "a/x/1.png", "b.png", "c.PNG"]
    assert names(tmp_path, "?recurse=false") == ["b.png", "c.PNG"]


@pytest.mark.parametrize("ending", ["avif", "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"])
def test_every_usual_format_is_read_and_its_size_known_before(tmp_path: Path, picture: np.ndarray, ending: str) -> None:
    if not cv2.haveImageWriter(f"x.{ending}") and ending in ("avif", "gif"):
        pytest.skip("this OpenCV cannot write it")
    path = written(tmp_path / f"a.{ending}", picture[..., 0] if ending == "pgm" else picture)
    assert picture_size(path.read_bytes()) == (320, 240)
    (frame,) = open_source(f"images:{tmp_path}")
    assert frame.luma.shape == (240, 320)


def test_what_is_skipped_is_named_with_the_reason_and_counted(
    tmp_path: Path, picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "z.png", picture)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    os.mkfifo(tmp_path / "fifo.jpg")
    for number in range(4):
        (tmp_path / f"more{number}.jpg").touch()
    source = open_source(f"images:{tmp_path}")
    assert [frame.name for frame in source] == ["z.png"]
    for facts in (("IMG_1.HEIC", "edgefer[heic]"), ("notes.txt", "name"), ("broken.jpg", "not a picture"), ("fifo.jpg", "regular file")):
        assert any(all(fact in message for fact in facts) for message in caplog.messages), facts
    assert "8 files skipped, 1 pictures read" in caplog.messages[-1]
    assert len(caplog.messages) < 8


def png(width: int, height: int) -> bytes:
    """A PNG bomb: black, of a size that is claimed and kept."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def test_a_picture_bomb_is_skipped_and_the_batch_goes_on(tmp_path: Path, picture: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bomb.png").write_bytes(png(12000, 12000))
    written(tmp_path / "z.png", picture)
    assert names(tmp_path) == ["z.png"]
    assert "12000x12000" in caplog.text


def test_a_photograph_of_many_megapixels_is_read_reduced(tmp_path: Path, picture: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), cv2.resize(picture, (8000, 6000)))
    (frame,) = open_source(f"images:{tmp_path}")
    assert frame.luma.shape == (3000, 4000)
    assert "1/2" in caplog.text


def test_names_that_are_no_utf8_stay_two(tmp_path: Path, picture: np.ndarray) -> None:
    content = written(tmp_path / "z.png", picture).read_bytes()
    for byte in (b"\xff", b"\xfe"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + byte + b".png")).write_bytes(content)
    assert len(set(names(tmp_path))) == 3
    for name in names(tmp_path):
        assert name is not None
        name.encode()


def test_a_single_picture_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1")
    with pytest.raises(SourceError, match="heic"):
        list(open_source(f"images:{tmp_path}/a.heic"))


def test_the_folder_of_the_case_is_read(cases: Path) -> None:
    assert names(cases / "folder-tree" / "mix") == ["a.jpg", "c.jfif", "sub/b.jpg", "x.gif"]
    assert names(cases / "photo-108mp") == ["b108mp.jpg"]
    with pytest.raises(SourceError, match="20000x20000"):
        names(cases / "png-bomb")


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"\xff\xd8\xff" * 9, b"GIF89a", b"II*\0" * 4, b"P5\n", b"BM"])
def test_a_damaged_head_has_no_size(content: bytes) -> None:
    assert picture_size(content) is None
