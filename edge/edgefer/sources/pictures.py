"""Decodes a picture from memory, within limits of memory."""

from __future__ import annotations

import importlib
from typing import Any

import cv2
import numpy as np

from edgefer.errors import MissingLibrary, SourceError
from edgefer.native_stderr import silence_native_stderr
from edgefer.sources.picture_size import picture_size

MAX_PIXELS = 25_000_000
"""Larger pictures are shrunk: 25 megapixels take 100 MB as colour and luma."""
MAX_DECODED = 100_000_000
"""Pixels of a picture that no decoder can shrink while it reads."""
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_HEIF = (b"ftypheic", b"ftypheix", b"ftypheim", b"ftypheis", b"ftypmif1", b"ftypmsf1")


def decode_picture(data: bytes) -> tuple[cv2.typing.MatLike, int]:
    """The picture as (H, W, 3) uint8 BGR, and by which factor it was shrunk: 1, 2, 4 or 8.

    Raises `SourceError` with the reason alone, without a name, where it is no picture or too large.
    """
    if any(data[4:12] == brand for brand in _HEIF):
        return _shrunk(_decode_heif(data))
    size = picture_size(data)
    if size is None:
        raise SourceError("not a picture that can be read")
    pixels = size[0] * size[1]
    factor = next((factor for factor in (1, 2, 4, 8) if pixels <= MAX_PIXELS * factor**2), 0)
    jpeg = data[:2] == b"\xff\xd8"
    if not factor or (not jpeg and pixels > MAX_DECODED):
        raise SourceError(f"{size[0]}x{size[1]} pixels are too many for the memory; make it smaller")
    try:
        with silence_native_stderr():
            # Only JPEG is shrunk while it is decoded; the others would be decoded whole all the same.
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[factor] if jpeg and factor > 1 else cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise SourceError("not a picture that can be read")
    return (bgr, factor) if jpeg else _shrunk(bgr)


def _shrunk(bgr: cv2.typing.MatLike) -> tuple[cv2.typing.MatLike, int]:
    factor = 1
    while bgr.shape[0] * bgr.shape[1] > MAX_PIXELS:
        bgr, factor = cv2.resize(bgr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 2 * factor
    return bgr, factor


def _decode_heif(data: bytes) -> cv2.typing.MatLike:
    """A picture of an iPhone; raises `MissingLibrary` with the command that installs the library."""
    size = picture_size(data)
    if size and size[0] * size[1] > MAX_DECODED:
        raise SourceError(f"{size[0]}x{size[1]} pixels are too many for the memory; make it smaller")
    try:
        library: Any = importlib.import_module("pillow_heif")
    except ImportError:
        raise MissingLibrary("HEIC needs pillow-heif: pip install 'edgefer[heic]'") from None
    try:
        rgb = np.asarray(library.open_heif(data, convert_hdr_to_8bit=True, bgr_mode=False))
    except Exception as error:  # of many types, libheif's own
        raise SourceError(f"not a picture that can be read ({error})") from None
    return cv2.cvtColor(rgb, cv2.COLOR_RGBA2BGR if rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR)
