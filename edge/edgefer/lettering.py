"""Text of any script as a mask to draw with: a font of the system through Pillow, for what OpenCV's own letters lack."""

from __future__ import annotations

import logging
import subprocess
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefer.log_once import LogOnce
from edgefer.types import Pixels

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_LOG_ONCE = LogOnce(logging.getLogger(__name__))
_FILES = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf", "msyh.ttc")
"""Fonts to try where fontconfig is not installed; Pillow knows the folders of the system."""


@dataclass(frozen=True, slots=True)
class Letters:
    """A line of text: ``mask`` (h, w) uint8, 255 where a letter is, and the pixels of it that are below the baseline."""

    mask: Pixels
    below_px: int


def needs_font(text: str) -> bool:
    """Whether OpenCV's own letters, which are ASCII, lack a letter of ``text``."""
    return not text.isascii()


@lru_cache(maxsize=64)
def letters(text: str, size_px: int) -> Letters | None:
    """``text`` as a mask, ``size_px`` being the size of the font; None where Pillow or a font with these letters is missing."""
    font = _font(_script(text), size_px)
    if font is None:
        return None
    bottom = round(font.getbbox(text, anchor="ls")[3])
    mask, _ = font.getmask2(text, mode="L", anchor="ls")
    width, height = mask.size
    if not width or not height:
        return Letters(np.zeros((1, 1), np.uint8), 0)
    return Letters(np.asarray(mask, np.uint8).reshape(height, width), max(0, bottom))


def in_ascii(text: str) -> str:
    """The nearest ASCII: accents are left out, other letters become "?"."""
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return bare.encode("ascii", "replace").decode()


def _script(text: str) -> str:
    """The letters of ``text`` that decide which font it needs."""
    return "".join(sorted({letter for letter in text if not letter.isascii()}))


@lru_cache(maxsize=32)
def _font(wanted: str, size_px: int) -> FreeTypeFont | None:
    try:
        from PIL import ImageFont
    except ImportError:
        advice = "'pip install edgefer[text]', or on a Pi 'sudo apt install python3-pil'"
        _LOG_ONCE(logging.WARNING, f"labels: OpenCV draws ASCII only; for other letters {advice}")
        return None
    for file, index in (*by_fontconfig(wanted), *((name, 0) for name in _FILES)):
        try:
            font: Any = ImageFont.truetype(file, size_px, index=index)
        except OSError:
            continue
        if _covers(font, wanted):
            return font  # type: ignore[no-any-return]
    _LOG_ONCE(logging.WARNING, f"labels: no font of this system has {wanted!r}; on Debian 'sudo apt install fonts-noto-cjk', or fonts-noto")
    return None


def by_fontconfig(wanted: str) -> list[tuple[str, int]]:
    """The font that fontconfig finds for these letters, as a file and the number of the font in it."""
    charset = " ".join(f"{ord(letter):x}" for letter in wanted)
    try:
        done = subprocess.run(
            ["fc-match", "-f", "%{file}\n%{index}", f"sans:charset={charset}"], capture_output=True, text=True, timeout=5, check=False
        )
        file, _, index = done.stdout.partition("\n")
        return [(file, int(index or 0) & 0xFFFF)] if file else []
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def _covers(font: Any, wanted: str) -> bool:
    """Whether a font has a picture of its own for every letter: a missing one gets that of no letter at all."""
    nothing = bytes(font.getmask("\U0010fffe"))
    return all(unicodedata.combining(letter) or bytes(font.getmask(letter)) != nothing for letter in wanted)
