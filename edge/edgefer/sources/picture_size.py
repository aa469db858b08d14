"""Width and height of a picture from its first bytes, before memory is spent on it."""

from __future__ import annotations

import re
import struct

Size = tuple[int, int]
"""Width, height in pixels as the file is stored, before any turn."""


def picture_size(data: bytes) -> Size | None:
    """The size that a picture file claims; None for a format that is not known here, or a damaged head."""
    try:
        for magic, read in _READERS:
            if re.match(magic, data, re.DOTALL):
                return read(data)
    except (struct.error, IndexError, ValueError):
        pass
    return None


def jpeg_end(data: bytes | bytearray, begin: int) -> int:
    """Where the JPEG that begins at ``begin`` ends: the position after it; 0 where it is not complete, -1 where it is no JPEG."""
    at = begin + 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return -1
        kind = data[at + 1]
        if kind == 0xFF:  # a fill byte
            at += 1
        elif kind == 0xDA:
            # Coded data: after 0xFF stands 0 or a restart mark, so that only the end can read as one.
            end = data.find(b"\xff\xd9", at)
            return end + 2 if end >= 0 else 0
        elif kind == 0x01 or 0xD0 <= kind <= 0xD7:
            at += 2
        elif kind < 0xC0 or kind in (0xD8, 0xD9):
            return -1
        else:
            # A segment and its length: a small picture inside it has an end of its own.
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0


def _jpeg(data: bytes) -> Size | None:
    at = 2
    while data[at] == 0xFF:
        kind = data[at + 1]
        if kind in (0x01, 0xFF) or 0xD0 <= kind <= 0xD7:
            at += 1 if kind == 0xFF else 2
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp(data: bytes) -> Size | None:
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: bytes) -> Size | None:
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    found: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHII", data, entry)
        # A short number stands in the first two bytes of its field.
        found[tag] = struct.unpack_from(f"{order}H", data, entry + 8)[0] if kind == 3 else value
    return (found[256], found[257]) if {256, 257} <= found.keys() else None


def _heif(data: bytes) -> Size | None:
    """Of HEIC and AVIF the largest of the sizes in it: the others are tiles and previews."""
    sizes = [struct.unpack_from(">II", data, found.end() + 4) for found in re.finditer(b"ispe", data)]
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else None


def _png(data: bytes) -> Size | None:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif(data: bytes) -> Size | None:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> Size | None:
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)


def _netpbm(data: bytes) -> Size | None:
    found = re.match(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})", data)
    return (int(found[1]), int(found[2])) if found else None


_READERS = (
    (rb"\xff\xd8\xff", _jpeg),
    (rb"\x89PNG", _png),
    (rb"GIF8", _gif),
    (rb"BM", _bmp),
    (rb"RIFF....WEBP", _webp),
    (rb"II\*\0|MM\0\*", _tiff),
    (rb"P[1-6]\s", _netpbm),
    (rb"....ftyp", _heif),
)
"""How a file of each format begins, and what reads its size."""
