"""HDF5 files, written so that a full disk is told, and read so that a foreign file is.

The HDF5 library itself does neither: where a write fails it may end the whole process, and it
follows links and views into any other file on the machine.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
from numpy.typing import NDArray

from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import refusal, replacing

_TEXT = "text"
_DENSEST = 1100  # bytes from one stored byte; deflate reaches 1,032
_SMALL = 1 << 16  # bytes; HDF5 reads back no more of what it has just written than its own tables


@contextmanager
def writing_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file to fill, which takes the place of ``path`` at the end, or not at all.

    Raises PmbenchError where it cannot be written, as on a full disk.
    """
    with replacing(path) as draft, draft.open("w+b", buffering=0) as file:
        sink = _Sink(file)
        with h5py.File(sink, "w") as made:
            yield made
        if sink.refused is not None:
            raise sink.refused


@contextmanager
def reading_hdf5(path: Path, what: str, then: str) -> Iterator[h5py.File]:
    """Open an HDF5 file.

    ``what`` it should be and what to do ``then``, where it is something else or damaged, stand in
    the PmbenchError that is raised.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PermissionError as error:
        raise PmbenchError(
            refusal(PermissionError(error.errno, "Permission denied"), path)
        ) from error
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        why = error.args[0] if isinstance(error, KeyError) else error
        raise PmbenchError(
            f"{path}: expected {what}, got a file that is none or is damaged ({why}); {then}"
        ) from error


def column(group: h5py.Group, name: str, kinds: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return a dataset of an HDF5 file as an array.

    ``kinds`` are the NumPy kinds it may have ("iu": whole numbers), or "text"; ``shape`` what it
    must have, None being any length. Raises TypeError, ValueError or KeyError where it is something
    else.
    """
    result = dataset(group, name, kinds, shape)
    values: NDArray[Any] = result.asstr()[:] if kinds == _TEXT else result[:]
    return values


def dataset(
    group: h5py.Group, name: str, kinds: str, shape: tuple[int | None, ...]
) -> h5py.Dataset:
    """Return a dataset of an HDF5 file that is as it should be, unread; see ``column``."""
    at = group
    for part in name.split("/"):
        if not isinstance(at, h5py.Group) or part not in at.keys():  # noqa: SIM118  a link that leads nowhere is one
            raise KeyError(f"{name} is missing")
        if not isinstance(at.get(part, getlink=True), h5py.HardLink):
            raise TypeError(f"{name} is a link to elsewhere")
        at = at[part]
    if not isinstance(at, h5py.Dataset):
        raise TypeError(f"{name} is no dataset")
    if at.is_virtual or at.external:
        raise ValueError(f"{name} lies in other files")
    fits = h5py.check_string_dtype(at.dtype) if kinds == _TEXT else at.dtype.kind in kinds
    if not fits:
        raise ValueError(f"{name} is of type {at.dtype}")
    if len(at.shape) != len(shape) or any(
        wanted not in (None, got) for wanted, got in zip(shape, at.shape, strict=True)
    ):
        message = "×".join("n" if wanted is None else str(wanted) for wanted in shape)
        raise ValueError(f"{name} is of shape {at.shape}, expected {message}")
    if at.nbytes > _DENSEST * at.id.get_storage_size():
        raise ValueError(f"{name} declares {at.nbytes:,} bytes and holds too few for them")
    return at


class _Sink(io.RawIOBase):
    """A file as HDF5 writes it, which seems to take everything.

    HDF5 may crash where a write is refused, or where it is closed after that. So the first refusal
    is kept for later, and what follows goes to memory, as far as it may be read back.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self._at, self._size = file, 0, 0
        self._kept: list[tuple[int, bytes]] = []
        self.refused: OSError | None = None

    def write(self, data: Any) -> int:
        count = len(data)
        if self.refused is None:
            try:
                self._file.seek(self._at)
                rest = memoryview(data)
                while len(rest):
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.refused = error
        if self.refused is not None and count <= _SMALL:
            self._kept.append((self._at, bytes(data)))
        self._at += count
        self._size = max(self._size, self._at)
        return count

    def readinto(self, buffer: Any) -> int:
        count = len(buffer)
        self._file.seek(self._at)
        there = self._file.read(count)
        result = bytearray(there + bytes(count - len(there)))
        for start, data in self._kept:
            first, last = max(start, self._at), min(start + len(data), self._at + count)
            if first < last:
                result[first - self._at : last - self._at] = data[first - start : last - start]
        buffer[:] = result
        self._at += count
        return count

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        if self.refused is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self.refused = error
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
