"""The files of a dataset: a folder, or a tar archive read once from front to back.

Neither is trusted. Nothing is ever written to a place that an archive names, and whatever it
declares, no more is held in memory than one member of a decent size. A compressed archive is
unpacked in blocks, so that a small file that holds billions of zeros takes no memory, and not more
time than a genuine one of its size.
"""

from __future__ import annotations

import bz2
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, Self, cast

from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import refusal

_CHUNK = 1 << 18  # bytes that are read, and at most unpacked, at a time
_MOST_MEMORY = 256 << 20  # bytes that a decompressor may ask for; xz -9 takes 65 MiB
_UNSUSPECTED = 1 << 30  # bytes that any file may unpack to
_DENSEST = 200  # times its size; what a larger one may unpack to. Pictures reach 2, tables 20


class Unpacked:
    """The bytes of a file, unpacked if it is compressed, from front to back only.

    Unlike a file it never returns fewer bytes than it was asked for: it raises EOFError instead.
    What reads from it can neither take a cut for an end nor wait for more for ever.
    """

    def __init__(self, raw: BinaryIO, source: Path, advance: Callable[[float], None]) -> None:
        self._raw, self._source, self._advance = raw, source, advance
        self._block, self._at = b"", 0  # what is unpacked, and how far it has been read
        self._place = 0
        self._packed = self._total = 0  # bytes read and unpacked so far
        self._input = self._next_input()
        self._start = _starts(self._input)
        self._unpacker = _UNPACKERS[self._start]() if self._start else None

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes. Raises EOFError where there are fewer."""
        self._place += size
        end = self._at + size
        if end <= len(self._block):
            start, self._at = self._at, end
            return self._block[start:end]
        parts = [self._block[self._at :]]
        missing = size - len(parts[0])
        while missing:
            block = self._more()
            parts.append(block[:missing])
            self._block, self._at = block, len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def read_at(self, place: int, size: int) -> bytes:
        """Step forward to a place and read there. Raises ValueError where it lies behind."""
        self.seek(place)
        return self.read(size)

    def peek(self, size: int) -> bytes:
        """Return as many bytes without having read them, or fewer at the end."""
        while len(self._block) - self._at < size:
            try:
                self._block, self._at = self._block[self._at :] + self._more(), 0
            except _EndError:
                break
        return self._block[self._at : self._at + size]

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._place

    def seek(self, place: int) -> None:
        """Step forward to a place. Raises ValueError where it lies behind."""
        if place < self._place:
            raise ValueError(f"byte {place:,} is asked for after byte {self._place:,}")
        while self._place < place:
            self.read(min(_CHUNK, place - self._place))

    def finish(self, most: int) -> None:
        """Read what is left, up to ``most`` bytes, so that its checksum is compared.

        Raises EOFError, zlib.error or OSError where it differs or is missing.
        """
        if self._unpacker is None:
            return
        try:
            while most > 0:
                most -= len(self._more())
        except _EndError:
            return

    def _more(self) -> bytes:
        """Return the next block. Raises _EndError at the end, EOFError where it comes too early."""
        while True:
            block = self._next_block()
            if block:
                self._total += len(block)
                if self._total > max(_UNSUSPECTED, _DENSEST * self._packed):
                    raise PmbenchError(
                        f"{self._source}: its first {self._packed:,} bytes unpack to more than "
                        f"{self._total:,}; expected pictures and votes, which no compression makes "
                        f"{_DENSEST} times smaller; this is not the dataset's archive"
                    )
                return block

    def _next_block(self) -> bytes:
        if self._unpacker is None:
            block, self._input = self._input or self._next_input(), b""
            if not block:
                raise _EndError(f"it ends after {self._place:,} bytes")
            return block
        if self._unpacker.eof:
            self._input = self._unpacker.unused_data
            if len(self._input) < _LONGEST_START:  # the next part may begin in the next block
                self._input += self._next_input()
            if _starts(self._input) != self._start:  # gzip too ignores what is none
                raise _EndError(f"it ends after {self._total:,} bytes")
            self._unpacker = _UNPACKERS[self._start]()
        data = b""
        if self._unpacker.needs_input:
            data, self._input = self._input or self._next_input(), b""
            if not data:
                raise EOFError("the compressed data break off")
        return self._unpacker.decompress(data, _CHUNK)

    def _next_input(self) -> bytes:
        data = self._raw.read(_CHUNK)
        self._packed += len(data)
        self._advance(len(data))
        return data


class _EndError(EOFError):
    """There is nothing more, and the compression has nothing against that."""


class _Unpacker(Protocol):
    """What bz2 and lzma have."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib with the manners of bz2 and lzma."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        block = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(block) < max_length  # else zlib may hold back some
        return block


def _xz() -> _Unpacker:
    return lzma.LZMADecompressor(memlimit=_MOST_MEMORY)


_UNPACKERS: dict[bytes, Callable[[], _Unpacker]] = {
    b"\x1f\x8b\x08": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
    b"\x5d\0\0\x80": _xz,  # .lzma, the older form
}


_LONGEST_START = max(map(len, _UNPACKERS))


def _starts(data: bytes) -> bytes:
    """Return the first bytes by which a compression is known, b"" where it is none."""
    return next((magic for magic in _UNPACKERS if data.startswith(magic)), b"")


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
