"""The files of a dataset: a folder, or a tar archive read once from front to back."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self

from pmbench.errors import PmbenchError

LARGEST_MEMBER = 256 << 20  # bytes; a picture or a table beyond this is not one
_LARGEST_SKIPPED = 16 << 30  # bytes; tarfile would step over exabytes, for years


@dataclass(frozen=True)
class File:
    """One regular file of a dataset; ``read`` may be called only before the next file is taken."""

    path: PurePosixPath
    read: Callable[[], bytes]


def files(source: Path, advance: Callable[[float], None] = lambda amount: None) -> Iterator[File]:
    """Yield the regular files of a folder (sorted) or a tar archive (in its order).

    Nothing is ever written to a place that an archive names, links are not followed and devices
    not opened. ``advance`` is told the bytes of the archive that have been read. Raises
    PmbenchError for an archive that breaks off or is none.
    """
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            yield File(PurePosixPath(path.relative_to(source).as_posix()), path.read_bytes)
        return
    with (
        _whole(source),
        source.open("rb") as raw,
        tarfile.open(fileobj=raw, mode="r|*", tarinfo=_Member) as archive,
    ):
        at = 0
        for member in archive:
            if member.isreg():
                yield File(PurePosixPath(member.name), partial(_read, archive, member, source))
            advance(raw.tell() - at)
            at = raw.tell()


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
        if not 0 <= member.size <= _LARGEST_SKIPPED:
            raise tarfile.ReadError(f"{member.name} declares {member.size:,} bytes")
        return member


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
    # TypeError, ValueError: tarfile's own, on damaged headers
    except (tarfile.TarError, EOFError, zlib.error, OSError, TypeError, ValueError) as error:
        raise PmbenchError(
            f"{source}: expected a whole tar archive, got one that breaks off or is none "
            f"({error}); download it again"
        ) from error
