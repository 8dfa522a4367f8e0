"""The files of a dataset: a folder, or a tar archive read once from front to back.

Neither is trusted. Nothing is ever written to a place that an archive names, and whatever it
declares, no more is held in memory than one member of a decent size.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self, cast

from pmbench.errors import PmbenchError
from pmbench.files import refusal
from pmbench.unpacking import Unpacked

LARGEST_MEMBER = 256 << 20  # bytes; a picture or a table beyond this is not one
_LARGEST_SKIPPED = 16 << 30  # bytes; tarfile would step over exabytes, for years
_LARGEST_HEADER = 32 << 10  # bytes of long names; tarfile reads them whole, and slowly
_BLOCK = 512  # bytes; of which a tar archive is made
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
        unpacked = Unpacked(raw, source, advance)
        for name, size, read in _members(unpacked):
            yield File(PurePosixPath(name), partial(_read, name, size, read, source))
        unpacked.finish(_PADDING)


# --- a folder -------------------------------------------------------------------------------------


def _below(folder: Path) -> Iterator[File]:
    """Yield the files of a folder. A subfolder that cannot be read is an error, not empty."""

    def refused(error: OSError) -> None:
        raise PmbenchError(refusal(error, error.filename or folder)) from error

    walk = os.walk(folder, onerror=refused)
    found = [Path(above, name) for above, _, names in walk for name in names]
    for path in sorted(path for path in found if path.is_file()):
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


def _members(unpacked: Unpacked) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yield the name, size and content of the regular files of an archive.

    What tarfile does for each header takes as long as a tenth of decoding a picture, and keeps the
    other threads from it. So headers that are nothing special are read here.
    """
    # of a file tarfile uses read, tell and seek
    stream = cast("tarfile._Fileobj", unpacked)
    with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as archive:
        member = archive.next()
        while member is not None:
            # tarfile keeps them all, and an archive may have millions
            archive.members.clear()  # type: ignore[attr-defined]
            if member.isreg():
                yield member.name, member.size, partial(_content, archive, member, unpacked)
            unpacked.seek(archive.offset)
            if not archive.pax_headers:  # which may say something about all that follow
                yield from _plain_members(unpacked)
                archive.offset = unpacked.tell()
            member = archive.next()


def _plain_members(unpacked: Unpacked) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yield regular files up to the first header that is anything else, or damaged."""
    while (plain := _plain(unpacked.peek(_BLOCK))) is not None:
        name, size = plain
        start = unpacked.tell() + _BLOCK
        unpacked.seek(start)
        yield name, size, partial(unpacked.read_at, start, size)
        unpacked.seek(start + size + -size % _BLOCK)


def _plain(header: bytes) -> tuple[str, int] | None:
    """Return the name and size in a header, or None where it is tarfile's to understand."""
    kind, magic, size, check = header[156:157], header[257:262], header[124:135], header[148:154]
    is_plain = kind == tarfile.REGTYPE and magic == b"ustar" and header[345:346] == b"\0"
    if not (is_plain and size.isdigit() and header[135:136] in b"\0 " and check.isdigit()):
        return None
    try:
        # of the checksum's own eight bytes, spaces count instead
        if sum(header) - sum(header[148:156]) + 8 * ord(" ") != int(check, 8):
            return None
        return header[:100].partition(b"\0")[0].decode(), int(size, 8)
    except ValueError:
        return None


class _Member(tarfile.TarInfo):
    """A member of an archive that may end only at its end mark.

    tarfile takes a header that is cut off or damaged for the end of the archive, without a word.
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

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        return member._of_a_decent_size(
            _LARGEST_HEADER if member.type in _HEADERS else _LARGEST_SKIPPED
        )

    def _of_a_decent_size(self, most: int) -> Self:
        if not 0 <= self.size <= most:
            name = ascii(self.name)[1:-1]  # whatever is in it
            raise tarfile.ReadError(f"{name} declares {self.size:,} bytes")
        return self


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, unpacked: Unpacked) -> bytes:
    if not member.issparse():
        return unpacked.read_at(member.offset_data, member.size)
    handle = archive.extractfile(member)
    assert handle is not None  # a regular file has content
    return handle.read()


def _read(name: str, size: int, content: Callable[[], bytes], source: Path) -> bytes:
    if size > LARGEST_MEMBER:
        raise PmbenchError(
            f"{source}: {name} declares {size:,} bytes; expected an image or a vote "
            f"of at most {LARGEST_MEMBER:,}; this is not the dataset's archive"
        )
    with _whole(source):
        return content()


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
