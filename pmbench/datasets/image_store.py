"""Images on their way into a pack: each different one is kept once, in one file on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from pmbench.datasets.resize import Pixels
from pmbench.utils.files import writing

_PIECE = 1 << 20  # bytes that are written at once


def digest_of(pixels: Pixels) -> bytes:
    """Return the digest by which uint8 RGB pixels (H, W, 3) are known, 16 bytes."""
    height, width = pixels.shape[:2]
    shape = f"{height}x{width}".encode()
    data = np.ascontiguousarray(pixels).data
    return hashlib.blake2b(data, digest_size=16, person=shape).digest()


class ImageStore:
    """Images by number, in the order in which they came, and their digests.

    Its file has no name while it is open, and is gone with the process.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        # in large pieces: a thread that writes hands over to the others each time
        self._file = path.open("wb", buffering=_PIECE)
        self._reading = path.open("rb")
        with suppress(OSError):  # Windows keeps the name of an open file
            path.unlink()  # at once, so that a killed process leaves nothing behind
        self._numbers: dict[bytes, int] = {}
        self._places: list[tuple[tuple[int, int], int]] = []  # (height, width), byte offset
        self._end = 0
        self.digests: list[bytes] = []

    def add(self, pixels: Pixels, digest: bytes | None = None) -> int:
        """Store uint8 RGB pixels (H, W, 3), whose ``digest_of`` may be known; return a number."""
        digest = digest or digest_of(pixels)
        if (number := self._numbers.get(digest)) is not None:
            return number
        with writing(self._path):
            self._file.write(np.ascontiguousarray(pixels).data)
        self._places.append((pixels.shape[:2], self._end))
        self._end += pixels.nbytes
        self._numbers[digest] = len(self._places) - 1
        self.digests.append(digest)
        return self._numbers[digest]

    def size(self, number: int) -> tuple[int, int]:
        """Return (height, width) of an image."""
        return self._places[number][0]

    def read(self, number: int) -> Pixels:
        """Return an image's pixels."""
        image: Pixels = self.read_all([number])[0]
        return image

    def read_all(self, numbers: Sequence[int]) -> Pixels:
        """Return images of one size: (len(numbers), H, W, 3)."""
        images = np.empty((len(numbers), *self.size(numbers[0]), 3), np.uint8)
        with writing(self._path):
            self._file.flush()
        for image, number in zip(images, numbers, strict=True):
            self._reading.seek(self._places[number][1])
            count = self._reading.readinto(image.data)
            assert count == image.nbytes  # nobody else can reach the file
        return images

    def __enter__(self) -> ImageStore:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):  # what a full disk did not take; it goes with the file
            self._file.close()
        self._reading.close()
        self._path.unlink(missing_ok=True)
