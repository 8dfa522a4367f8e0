"""The files of a dataset: a folder, or a tar archive read once from front to back.

Neither is trusted. Nothing is ever written to a place that an archive names, and whatever it
declares, no more is held in memory than one member of a decent size. A small archive that unpacks
to billions of zeros is refused.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self, cast

from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import refusal

LARGEST_MEMBER = 256 << 20  # bytes; an image or a table beyond this is not one
_CHUNK = 1 << 18  # bytes that are unpacked at a time
_MOST_MEMORY = 256 << 20  # bytes that xz may ask for; xz -9 takes 65 MiB
_UNSUSPECTED = 1 << 30  # bytes that any file may unpack to
_DENSEST = 200  # times its size; what a larger one may unpack to. Images reach 2, tables 20
_LARGEST_SKIPPED = 16 << 30  # bytes; tarfile would step over exabytes, for years
_LARGEST_HEADER = 32 << 10  # bytes of long names; tarfile reads them whole, and slowly
_PADDING = 1 << 20  # bytes; what writers leave behind the end mark at most
_HEADERS = {
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}  # fmt: skip


@dataclass(frozen=True)
class File:
    """One regular file of a dataset; ``read`` may be called only before the next file is taken."""

    path: PurePosixPath
    read: Callable[[], bytes]


def files(source: Path, advance: Callable[[float], None] = lambda amount: None) -> Iterator[File]:
    """Yield the regular files of a folder (sorted) or a tar archive (in its order).

    Links in an archive are not followed. In a folder they are, where they lead to a file; devices
    and pipes are not opened anywhere. ``advance`` is told the bytes of the archive that have been
    read. Raises PmbenchError for an archive that breaks off or is none, and for what cannot be
    read.
    """
    if source.is_dir():
        yield from _below(source)
        return
    with _whole(source), source.open("rb") as raw:
        unpacked = _Unpacked(raw, source, advance)
        # of a stream tarfile uses read
        stream = cast("tarfile._Fileobj", unpacked)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK, tarinfo=_Member) as archive:
            while (member := archive.next()) is not None:
                # tarfile keeps them all, and an archive may have millions
                archive.members.clear()  # type: ignore[attr-defined]
                if member.isreg():
                    yield File(PurePosixPath(member.name), partial(_read, archive, member, source))
        unpacked.finish()


# --- a folder -------------------------------------------------------------------------------------


def _below(folder: Path) -> Iterator[File]:
    """Yield the files of a folder. A subfolder that cannot be read is an error, not empty."""

    def refused(error: OSError) -> None:
        raise PmbenchError(refusal(error, error.filename or folder)) from error

    walk = os.walk(folder, onerror=refused)
    results = [Path(above, name) for above, _, names in walk for name in names]
    for path in sorted(path for path in results if path.is_file()):
        yield File(PurePosixPath(path.relative_to(folder).as_posix()), partial(_read_file, path))


def _read_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_MEMBER:
            raise PmbenchError(
                f"{path}: has {size:,} bytes; expected an image or a vote of at most "
                f"{LARGEST_MEMBER:,}; mend or remove the item"
            )
        return path.read_bytes()
    except OSError as error:
        raise PmbenchError(refusal(error, path)) from error


# --- a tar archive --------------------------------------------------------------------------------


class _Unpacked:
    """The bytes of a file, decompressed where they are compressed, from front to back only."""

    def __init__(self, raw: BufferedReader, source: Path, advance: Callable[[float], None]) -> None:
        self._raw, self._source, self._advance = raw, source, advance
        self._file = _decompressed(raw)
        self._packed = self._total = 0  # bytes read and unpacked so far

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer than ``size`` at the end.

        Raises PmbenchError where they are many more than any compression makes of images.
        """
        data = self._file.read(size)
        self._total += len(data)
        packed = self._raw.tell()
        self._advance(packed - self._packed)
        self._packed = packed
        if self._total > max(_UNSUSPECTED, _DENSEST * packed):
            raise PmbenchError(
                f"{self._source}: its first {packed:,} bytes unpack to more than "
                f"{self._total:,}; expected images and votes, which no compression makes "
                f"{_DENSEST} times smaller; this is not the dataset's archive"
            )
        return data

    def finish(self) -> None:
        """Read what trails the archive, so that its checksum is compared."""
        for _ in range(_PADDING // _CHUNK):
            self.read(_CHUNK)


def _decompressed(raw: BufferedReader) -> BinaryIO:
    """Return a file of the unpacked bytes, whatever the compression, as its first bytes say."""
    start = raw.peek(_CHUNK)
    if start.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.open(raw))
    if start.startswith(b"BZh"):
        return cast(BinaryIO, bz2.open(raw))
    if start.startswith((b"\xfd7zXZ\0", b"\x5d\0\0\x80")):  # .xz, and .lzma, the older form
        lzma.LZMADecompressor(memlimit=_MOST_MEMORY).decompress(start, 1)
        return cast(BinaryIO, lzma.open(raw))
    return raw


class _Member(tarfile.TarInfo):
    """A member of an archive that may end only at its end mark.

    tarfile takes a header that is cut off or damaged for the end of the archive, without a word
    (python/cpython issue 71777).
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            member = super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                raise  # the end mark
            raise tarfile.ReadError(
                f"no file and no end mark at byte {archive.offset:,}"
            ) from error
        return member._of_a_decent_size(_LARGEST_SKIPPED)

    def _proc_member(self, archive: tarfile.TarFile) -> Self:
        # after each header, before anything behind it is read; from Python 3.14.8 on frombuf() is
        # not called any more
        self._of_a_decent_size(_LARGEST_HEADER if self.type in _HEADERS else _LARGEST_SKIPPED)
        member: Self = super()._proc_member(archive)  # type: ignore[misc]
        return member

    def _of_a_decent_size(self, most: int) -> Self:
        if not 0 <= self.size <= most:
            name = ascii(self.name)[1:-1]  # whatever is in it
            raise tarfile.ReadError(f"{name} declares {self.size:,} bytes")
        return self


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, source: Path) -> bytes:
    if member.size > LARGEST_MEMBER:
        raise PmbenchError(
            f"{source}: {member.name} declares {member.size:,} bytes; expected an image or a vote "
            f"of at most {LARGEST_MEMBER:,}; this is not the dataset's archive"
        )
    with _whole(source):
        handle = archive.extractfile(member)
        assert handle is not None  # a regular file has content
        return handle.read()


@contextmanager
def _whole(source: Path) -> Iterator[None]:
    try:
        yield
    # the last four are tarfile's own, on damaged headers and on thousands of them in a row
    except (
        tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, TypeError, ValueError,
        RecursionError, OverflowError,
    ) as error:  # fmt: skip
        if _is_zip(source):
            raise PmbenchError(
                f"{source}: expected a tar archive or a folder, got a zip file; unpack it and name "
                "its folder"
            ) from error
        raise PmbenchError(
            f"{source}: expected a whole tar archive, got one that breaks off or is none "
            f"({error}); download it again"
        ) from error


def _is_zip(source: Path) -> bool:
    with suppress(OSError), source.open("rb") as file:
        return file.read(4) == b"PK\3\4"
    return False
