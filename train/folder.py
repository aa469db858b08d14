"""Any folder of pictures by class: photographs are searched for a face, cut faces are taken as they are, clips are sampled."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from edgefer.detectors import open_detector
from edgefer.errors import DataError
from edgefer.native_stderr import silence_native_stderr
from edgefer.pipeline.crop import crop_face
from edgefer.pipeline.new_faces import NewFaceSearch
from edgefer.settings import DetectorSettings
from edgefer.types import RESERVED, Box, Detection, Pixels

PICTURES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
CLIPS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"}
RIM_SHARE = 1 / 8
"""What a face has around it on every side: turned and shifted pictures show it instead of repeated edges."""
CUT_PX = 64
"""A picture whose longer side is at most this is a cut face, and is not searched."""
CUT_SHARE = 0.8
"""A face that fills this share of a picture's side: the picture is a cut face."""
UNFOUND_CUT_PX = 256
"""A nearly square picture up to this side in which no face is found is a cut face too."""
LARGEST_PX = 2048
"""A larger photograph is read at a reduced size."""
CLIP_FRAMES, CLIP_FRAMES_A_SECOND, CLIP_PARTS = 80, 4, 10
"""Frames of a clip at most, how many of a second, and parts of a clip that are kept together in a split."""

_SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


_COMMON = {"happiness": "happy", "sadness": "sad", "anger": "angry", "surprised": "surprise", "disgusted": "disgust", "fearful": "fear"}


def common_name(label: str) -> str:
    """The name that edgefer's own models have for a class, where they have it: "Happiness" -> "happy"; else the name in lower case."""
    return _COMMON.get(label.casefold(), label.casefold())


@dataclass(frozen=True, slots=True)
class Picture:
    """One face: ``pixels`` (side, side) uint8 with a rim, its class, and how it was got."""

    pixels: Pixels
    label: str
    name: str
    """Path inside the folder; of a clip also the second."""
    how: str
    """"photograph", "cut" or "clip"."""
    split: str = ""
    """"train" or "validation" where the folder has a split."""
    part: str = ""
    """Part of a clip: its frames must not be on both sides of a split."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds: its classes in the order of their names, its pictures, and lines about what was left out."""

    path: Path
    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]

    @property
    def images(self) -> Pixels:
        """(n, side, side) uint8."""
        return np.stack([picture.pixels for picture in self.pictures])

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """(n,) indices into ``labels``."""
        return np.array([self.labels.index(picture.label) for picture in self.pictures], np.int64)


def read_folder(root: Path, size_px: int, say: Callable[[str], None]) -> Folder:
    """Every picture and clip of a folder whose subfolders are classes; a clip or clips beside them are a class by name (``wink-2.mp4``).

    Faces are cropped to ``size_px`` and a rim of `RIM_SHARE` of it. ``say`` gets a line now and then. Raises `DataError`.
    """
    if not root.is_dir():
        found = "no such folder" if not root.exists() else "not a folder; unpack it first"
        raise DataError(f"{root}: {found}. A folder with one subfolder of pictures for each class is expected: wink/, neutral/, …")
    files = list(_files(root))
    labels = sorted({label for _, label, _ in files} | _empty_classes(root))
    _check(labels, root)
    find, side = _finder(), size_px + 2 * round(size_px * RIM_SHARE)
    pictures: list[Picture] = []
    left_out: dict[str, list[str]] = {}
    for count, (file, label, split) in enumerate(files, 1):
        name = file.relative_to(root).as_posix()
        if file.suffix.lower() in CLIPS:
            faces, why = _of_clip(file, name, find, size_px)
        else:
            faces, why = _of_picture(file, name, find, size_px)
        pictures += [Picture(pixels, label, where, how, split, part) for pixels, where, how, part in faces]
        if why:
            left_out.setdefault(why, []).append(name)
        if count % 100 == 0:
            say(f"read {count:,} of {len(files):,} files")
    assert all(picture.pixels.shape == (side, side) for picture in pictures)
    if not pictures:
        raise DataError(f"{root}: no face in any of its {len(files):,} pictures and clips")
    notes = [
        f"left out, {why}: {len(names):,} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" for why, names in left_out.items()
    ]
    return Folder(root, tuple(labels), tuple(pictures), tuple(notes))


def class_folders(root: Path) -> set[str]:
    """Names of the classes that a folder seems to have, without a look into its pictures."""
    return {label for _, label, _ in _files(root)}


def _files(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Each picture or clip with its class and split ("" where the folder has none)."""
    children = sorted(child for child in root.iterdir() if not child.name.startswith((".", "__MACOSX")))
    folders = [child for child in children if child.is_dir()]
    splits = {child: _SPLITS[child.name.lower()] for child in folders if child.name.lower() in _SPLITS}
    if splits and len(splits) == len(folders) and any(child.is_dir() for folder in folders for child in folder.iterdir()):
        known = set(splits.values())
        for folder, split in splits.items():
            if split == "test" and "validation" in known:
                continue  # not looked at: it stays for whoever made it
            for file, label, _ in _files(folder):
                yield file, label, "train" if split == "train" else "validation"
        return
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in PICTURES | CLIPS and not file.name.startswith("._") and file.is_file():
                yield file, _label(folder.name), ""
    for file in children:
        if file.suffix.lower() in CLIPS and file.is_file():
            yield file, _label(re.sub(r"[-_ .]*\(?\d*\)?$", "", file.stem) or file.stem), ""


def _empty_classes(root: Path) -> set[str]:
    """Classes whose folder holds no picture."""
    folders = [child for child in root.iterdir() if child.is_dir() and not child.name.startswith((".", "__MACOSX"))]
    inside = [grandchild for child in folders for grandchild in child.iterdir() if grandchild.is_dir()]
    of = inside if folders and all(child.name.lower() in _SPLITS for child in folders) and inside else folders
    return {_label(folder.name) for folder in of}


def _label(name: str) -> str:
    # macOS writes an umlaut as two characters: one class must not be two.
    return unicodedata.normalize("NFC", name).strip()


def _check(labels: list[str], root: Path) -> None:
    """Raises `DataError` where the names cannot be labels."""
    if len(labels) < 2:
        found = f"only {labels[0]!r}" if labels else "none"
        raise DataError(
            f"{root}: two or more classes are needed, found {found}: one subfolder of pictures for each, such as wink/, neutral/"
        )
    if taken := [label for label in labels if label in RESERVED]:
        raise DataError(f"{root}: a class cannot be called {taken[0]!r}, a word of edgefer's outputs; rename that folder")
    if bad := [label for label in labels if not label.isprintable()]:
        raise DataError(f"{root}: the name of a class has characters that cannot be printed: {bad[0]!r}; rename that folder")


Found = tuple[list[tuple[Pixels, str, str, str]], str]
"""Faces as (pixels, name, how, part), and why there are none, else empty."""
Find = Callable[[Pixels], list[Detection]]


def _finder() -> Find:
    """The search of the runtime for faces in a single picture."""
    settings = DetectorSettings()
    detector = open_detector(settings.photo_name, settings)
    search = NewFaceSearch(detector, detector, settings, 0.0)
    return lambda luma: list(search.photograph(luma))


def _of_picture(file: Path, name: str, find: Find, size_px: int) -> Found:
    luma = _decode(file)
    if luma is None:
        return [], "not pictures that can be read"
    height, width = luma.shape
    whole = Box(0, 0, width, height)
    if max(height, width) <= CUT_PX:
        return [(_with_rim(luma, whole, size_px), name, "cut", "")], ""
    faces = find(luma)
    largest = max(faces, key=lambda face: face.box.area_px, default=None)
    if largest is None and (max(height, width) > UNFOUND_CUT_PX or max(height, width) > 1.3 * min(height, width)):
        return [], "no face found"
    if largest is None or max(largest.box.w, largest.box.h) >= CUT_SHARE * min(height, width):
        return [(_with_rim(luma, whole, size_px), name, "cut", "")], ""
    return [(_cropped(luma, largest, size_px), name, "photograph", "")], ""


def _decode(file: Path) -> Pixels | None:
    """A picture as luma (H, W) uint8, upright, at a reduced size if it is large; the first frame of several. None if it is none."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            image.draft("L", (LARGEST_PX, LARGEST_PX))  # a large JPEG is decoded at an eighth to a half
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):  # more than 8 bits a pixel
                values = np.asarray(upright, np.float32)
                return np.asarray(255 * (values - values.min()) / max(1.0, float(np.ptp(values))), np.uint8)
            if upright.has_transparency_data:
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
            upright.thumbnail((LARGEST_PX, LARGEST_PX), Image.Resampling.BOX)
            return np.asarray(upright.convert("L"), np.uint8)
    except Exception:  # a damaged picture can raise nearly any exception
        return None


def _of_clip(file: Path, name: str, find: Find, size_px: int) -> Found:
    """The largest face in up to `CLIP_FRAMES` frames of a clip."""
    found: list[tuple[Pixels, float]] = []
    with silence_native_stderr():
        capture = cv2.VideoCapture(str(file))
        rate = capture.get(cv2.CAP_PROP_FPS)
        step = max(1, round((rate if 5 <= rate <= 240 else 30) / CLIP_FRAMES_A_SECOND))
        index = 0
        while capture.grab():
            if index % step == 0 and (frame := capture.retrieve())[0]:
                luma = np.asarray(cv2.cvtColor(frame[1], cv2.COLOR_BGR2GRAY), np.uint8)
                if faces := find(luma):
                    largest = max(faces, key=lambda face: face.box.area_px)
                    found.append((_cropped(luma, largest, size_px), index / step / CLIP_FRAMES_A_SECOND))
            index += 1
        capture.release()
    if not index:
        return [], "not clips that can be read"
    if not found:
        return [], "no face found"
    chosen = sorted({round(at) for at in np.linspace(0, len(found) - 1, CLIP_FRAMES)})
    parts = [f"{name} {CLIP_PARTS * place // len(chosen)}" for place in range(len(chosen))]
    return [(found[at][0], f"{name} {found[at][1]:.2f} s", "clip", part) for at, part in zip(chosen, parts, strict=True)], ""


def _cropped(luma: Pixels, face: Detection, size_px: int) -> Pixels:
    """A face with a rim, cropped as on the device."""
    side = size_px + 2 * round(size_px * RIM_SHARE)
    return crop_face(luma, face.box, RIM_SHARE, side, side, face.roll_deg)


def _with_rim(luma: Pixels, whole: Box, size_px: int) -> Pixels:
    """A cut face with its edges repeated around it."""
    rim = round(size_px * RIM_SHARE)
    return np.pad(crop_face(luma, whole, 0.0, size_px, size_px), rim, "edge")
