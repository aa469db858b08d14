"""The frame rate that a raw H.264 stream names in its sequence parameter set; FFmpeg assumes 25 for every raw stream."""

from __future__ import annotations

import re

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134}
_EXTENDED_SAR = 255


def h264_fps(data: bytes) -> float | None:
    """Frames a second by the first sequence parameter set among the first bytes of a stream; None where there is none, or no rate.

    ITU-T H.264, 7.3.2.1.1 and E.1.1.
    """
    found = re.search(rb"\x00\x00\x01[\x27\x47\x67](.+?)(?=\x00\x00[\x00\x01]|$)", data, re.DOTALL)
    if not found:
        return None
    try:
        # 00 00 03 stands for 00 00, so that no start code appears in the data.
        return _rate(_Bits(found[1].replace(b"\0\0\3", b"\0\0")))
    except IndexError:
        return None


class _Bits:
    """Reads numbers bit by bit; raises `IndexError` at the end."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._at = "".join(f"{byte:08b}" for byte in data[:512]), 0

    def u(self, count: int) -> int:
        """An unsigned number of ``count`` bits."""
        if self._at + count > len(self._bits):
            raise IndexError
        self._at += count
        return int(self._bits[self._at - count : self._at], 2)

    def ue(self) -> int:
        """An Exp-Golomb number; a signed one has the same length."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + (self.u(zeros) if zeros else 0)

    def skip(self, count: int) -> None:
        """Pass over Exp-Golomb numbers."""
        for _ in range(count):
            self.ue()


def _rate(bits: _Bits) -> float | None:
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    if profile in _HIGH_PROFILES:
        _skip_chroma(bits)
    bits.ue()  # log2_max_frame_num
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.skip(2)
        bits.skip(bits.ue())
    bits.ue()  # max_num_ref_frames
    bits.u(1)
    bits.skip(2)  # size
    if not bits.u(1):
        bits.u(1)
    bits.u(1)
    if bits.u(1):
        bits.skip(4)  # cropping
    return _vui_rate(bits) if bits.u(1) else None


def _skip_chroma(bits: _Bits) -> None:
    chroma = bits.ue()
    if chroma == 3:
        bits.u(1)
    bits.skip(2)
    bits.u(1)
    if not bits.u(1):
        return
    for index in range(8 if chroma != 3 else 12):
        if bits.u(1):
            _skip_scaling(bits, 16 if index < 6 else 64)


def _skip_scaling(bits: _Bits, size: int) -> None:
    scale = following = 8
    for _ in range(size):
        if following:
            code = bits.ue()
            following = (scale + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        scale = following or scale


def _vui_rate(bits: _Bits) -> float | None:
    if bits.u(1) and bits.u(8) == _EXTENDED_SAR:
        bits.u(32)
    if bits.u(1):
        bits.u(1)  # overscan
    if bits.u(1):
        bits.u(4)
        if bits.u(1):
            bits.u(24)  # colours
    if bits.u(1):
        bits.skip(2)  # where chroma is sampled
    if not bits.u(1):
        return None
    units, scale = bits.u(32), bits.u(32)
    # A unit is a field: two make a frame.
    return scale / (2 * units) if units and scale else None
