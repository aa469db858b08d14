"""The files of a dataset, wherever they are: in a folder, a zip, or a tar."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from edgefer.errors import DataError

MAX_PICTURE_BYTES = 50_000_000
"""Size of a picture, unpacked, beyond which an archive is taken for a trap."""
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Opener(Protocol):
    """Opens a file for reading."""

    def __call__(self) -> IO[bytes]:
        """The file, open."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a dataset."""

    path: PurePosixPath
    """Within the folder or the archive."""
    size: int
    open: Opener

    def read(self) -> bytes:
        """The content of a picture; raises `DataError` where it is too large."""
        if self.size > MAX_PICTURE_BYTES:
            raise DataError(f"{self.path}: {self.size / 1e6:,.0f} MB are too many for a picture")
        with self.open() as file:
            content = file.read(MAX_PICTURE_BYTES + 1)
        if len(content) > MAX_PICTURE_BYTES:
            raise DataError(f"{self.path}: more than {MAX_PICTURE_BYTES / 1e6:.0f} MB, which are too many for a picture")
        return content


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, by its name."""
    return path.name.lower().endswith((".zip", *_TARS))


@contextmanager
def files_of(path: Path) -> Iterator[list[File]]:
    """The files of a folder, a zip or a tar; hidden ones and macOS metadata are left out.

    Raises `DataError` where it is damaged, also while a file is read inside the block.
    """
    try:
        if path.is_dir():
            yield [File(PurePosixPath(file.relative_to(path).as_posix()), file.stat().st_size, _opener(file)) for file in _walk(path)]
        elif path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if not info.is_dir()]
                yield _visible([File(PurePosixPath(info.filename), info.file_size, _zipped(archive, info)) for info in members])
        else:
            with tarfile.open(path) as tar:
                found = [member for member in tar if member.isfile()]
                yield _visible([File(PurePosixPath(member.name), member.size, _tarred(tar, member)) for member in found])
    except DataError:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole archive ({error}); download it again") from None
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from None
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); pack it again as a plain zip") from None


def _walk(root: Path) -> Iterator[Path]:
    """Files below a folder, by name; a linked folder is followed, and read once."""
    seen = set[tuple[int, int]]()
    for folder, below, names in os.walk(root, followlinks=True):
        state = Path(folder).stat()
        if (state.st_dev, state.st_ino) in seen:
            below.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        yield from (file for name in sorted(names) if not name.startswith(".") and (file := Path(folder, name)).is_file())


def _visible(files: list[File]) -> list[File]:
    return [file for file in files if not any(part.startswith((".", "__MACOSX")) and part != "." for part in file.path.parts)]


def _opener(file: Path) -> Opener:
    return lambda: file.open("rb")


def _zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Opener:
    return lambda: archive.open(info)


def _tarred(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Opener:
    def opened() -> IO[bytes]:
        file = tar.extractfile(member)
        if file is None:
            raise DataError(f"{member.name}: cannot be read")
        return file

    return opened
