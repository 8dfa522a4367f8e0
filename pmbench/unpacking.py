"""A compressed file as the stream of bytes it unpacks to, of whatever compression and hostility.

Unpacked in blocks, so that a small file that holds billions of zeros takes no memory, and not more
time than a genuine one of its size.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from pmbench.errors import PmbenchError

_BLOCK = 1 << 18  # bytes that are read, and at most unpacked, at a time
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
            self.read(min(_BLOCK, place - self._place))

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
        return self._unpacker.decompress(data, _BLOCK)

    def _next_input(self) -> bytes:
        data = self._raw.read(_BLOCK)
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
