"""Pictures in a folder, each on its own: no face is followed from one to the next."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgefer.errors import EdgeferError, SourceError
from edgefer.sources import Source
from edgefer.sources.mounting import MountingOptions
from edgefer.sources.pictures import decode_picture
from edgefer.spec import Spec
from edgefer.types import Frame

_LOG = logging.getLogger(__name__)
_ENDINGS = frozenset(
    ".avif .bmp .dib .gif .heic .heif .jfif .jpe .jpeg .jpg .pbm .pgm .png .ppm .tif .tiff .webp".split()  # noqa: SIM905
)
_MAX_BYTES = 300_000_000
"""Size of a file that is no photograph, whatever its name."""
_NAMED = 5
"""Skipped files that are named, each in a line; the others are counted."""


class ImagesOptions(MountingOptions, frozen=True):
    """Which pictures are read."""

    recurse: bool = True
    """Read the pictures in subfolders too."""


class Images(Source):
    """The pictures of a folder and its subfolders, each on its own, in the order of their paths; or one picture file.

    What cannot be read is skipped, named and counted: one bad photo must not end a batch of thousands. Hidden files and folders,
    whose names begin with a dot, are left out.
    """

    forms = ("images:DIR",)
    options = ImagesOptions
    tracked = False

    def __init__(self, spec: Spec) -> None:
        self._options, self._root = spec.read(ImagesOptions), Path(spec.path)
        self._skipped: list[tuple[Path, str]] = []
        if self._root.is_file():
            self._files, self._root = [self._root], self._root.parent
        elif self._root.is_dir():
            self._files = list(self._walk(self._root, set()))
        else:
            raise SourceError(f"{spec}: no such folder; give one that holds pictures")
        if not self._files:
            raise SourceError(f"{spec}: no pictures in this folder{self._others()}; looked for {', '.join(sorted(_ENDINGS))}")
        self.description = f"{len(self._files)} pictures of {spec.path}{self._options.words}"

    @property
    def unreadable(self) -> int:
        """Number of files that were skipped so far."""
        return len(self._skipped)

    def _walk(self, folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
        """Pictures below a folder; a folder that links to itself is read once."""
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            return
        seen.add((state.st_dev, state.st_ino))
        try:
            inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            self._skip(folder, error.strerror or "cannot be opened")
            return
        for path in inside:
            if path.is_dir():
                if self._options.recurse:
                    yield from self._walk(path, seen)
            elif path.suffix.lower() not in _ENDINGS:
                self._skip(path, "not a picture by its name")
            else:
                yield path

    def __iter__(self) -> Iterator[Frame]:
        """One frame a picture; its time is its number, its name the path within the folder."""
        index = 0
        for file in self._files:
            try:
                bgr, factor = decode_picture(_content(file))
            except EdgeferError as error:
                self._skip(file, str(error))
                continue
            if factor > 1:
                _LOG.warning("%s: a large picture, read at 1/%d of its width and height; boxes are in these pixels", file, factor)
            # Bytes that are no UTF-8 stay apart: \xff and \xfe are two names.
            name = os.fsencode(file.relative_to(self._root).as_posix()).decode(errors="backslashreplace")
            yield self._options.frame(index, float(index), bgr, name)
            index += 1
        if not index:
            raise SourceError(f"{self._root}: none of {len(self._files)} pictures could be read{self._others()}")
        if self._skipped:
            _LOG.warning("%s: %d files skipped, %d pictures read", self._root, len(self._skipped), index)

    def _skip(self, file: Path, why: str) -> None:
        self._skipped.append((file, why))
        if len(self._skipped) <= _NAMED:
            _LOG.warning("%s: %s; skipped", file, why)
        elif len(self._skipped) == _NAMED + 1:
            _LOG.warning("more files are skipped; they are counted at the end")

    def _others(self) -> str:
        """The last file that was skipped, for an error."""
        return "".join(f" ({file.name}: {why})" for file, why in self._skipped[-1:])

    def close(self) -> None:
        """Nothing stays open."""


def _content(file: Path) -> bytes:
    """The bytes of a picture; raises `SourceError` with the reason."""
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):  # reading a FIFO would wait for its writer
            raise SourceError("not a regular file")
        if state.st_size > _MAX_BYTES:
            raise SourceError(f"{state.st_size / 1e6:,.0f} MB are too many for a picture")
        return file.read_bytes()
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(error.strerror or "cannot be read") from None
