"""Image files as a pack: nothing is copied, and each is read when a batch needs it.

Sizes come from the files' headers, so that what does not fit together is known at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pmbench.datasets import image_file
from pmbench.datasets.image_pairs import Pair
from pmbench.datasets.pack import Items, Pack
from pmbench.datasets.resize import Pixels, Resize
from pmbench.utils.errors import PmbenchError

Size = tuple[int, int]  # width, height
ROLES = ("ref", "dist")


class Source(Protocol):
    """One image, to be read later. Equal ones are read once for a batch."""

    @property
    def size(self) -> Size:
        """Width and height of what ``read`` returns."""

    def read(self) -> Pixels:
        """Return uint8 RGB (height, width, 3). Raises PmbenchError where that cannot be had."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class ImageFile:
    """An image file, decoded as for packs and brought to a size, bilinear and antialiased.

    What was done to those that have been read stands in ``conversions``, by path.
    """

    path: Path
    size: Size
    conversions: dict[str, tuple[str, ...]] = field(compare=False)

    def read(self) -> Pixels:
        """Return its pixels."""
        name = str(self.path)
        with _opened(self.path) as file:
            pixels, self.conversions[name] = file.decode(Resize("none"))
        if pixels.shape[1::-1] == self.size:
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(self.size, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class ImageFilePack(Pack):
    """A pack whose images are read when they are asked for; ``sources`` by size, then by row."""

    sources: tuple[tuple[Source, ...], ...] = ()

    def images(self, size: int, rows: NDArray[np.int64]) -> Pixels:
        """Return the images at ``rows`` of one size: (len(rows), H, W, 3) uint8."""
        return np.stack([self.sources[size][row].read() for row in rows])


def pack_of(
    ids: Sequence[str], images: Sequence[Sequence[Source]], roles: tuple[str, ...]
) -> ImageFilePack:
    """Return items as a pack: ``images`` are those of each item, of one size, in order of roles."""
    by_size: dict[Size, dict[Source, int]] = {}
    rows = np.empty((len(ids), len(roles)), np.int64)
    size_of = np.empty(len(ids), np.int64)
    for i, item in enumerate(images):
        known = by_size.setdefault(item[0].size, {})
        rows[i] = [known.setdefault(source, len(known)) for source in item]
        size_of[i] = list(by_size).index(item[0].size)
    n = len(ids)
    items = Items(
        id=np.array(ids, object), sub=np.zeros(n, np.int64), sub_names=("whole",),
        p=np.zeros(n), votes=np.zeros(n, np.int32), cluster=np.arange(n),
    )  # fmt: skip
    sizes = tuple((height, width) for width, height in by_size)
    sources = tuple(tuple(known) for known in by_size.values())
    return ImageFilePack(
        Path(), items, rows, size_of, sizes, {"roles": list(roles)}, sources=sources
    )


# --- files of one size ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Resizing:
    """What to do about sizes: from those of the two images of a pair to the one of both."""

    label: str
    target: Callable[[Size, Size], Size]


def parse_resizing(text: str) -> Resizing:
    """Return what "WIDTHxHEIGHT" or "smaller" asks for.

    "smaller": both images get the size of the one with fewer pixels. Raises PmbenchError for
    other words.
    """
    if text == "smaller":
        return Resizing(text, lambda a, b: min(a, b, key=lambda size: size[0] * size[1]))
    if sides := re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", text, re.ASCII):
        fixed = (int(sides[1]), int(sides[2]))
        return Resizing(text, lambda a, b: fixed)
    raise PmbenchError(f"--resize {text}: expected WIDTHxHEIGHT, such as 256x256, or smaller")


@dataclass(frozen=True)
class OpenPairs:
    """Pairs of files as a pack of the roles ``ref`` and ``dist``.

    ``places`` says which pair each item of the pack is; ``unreadable`` why others are not in it.
    ``conversions`` says what was done to the images that have been read.
    """

    pack: ImageFilePack
    places: list[int]
    unreadable: dict[int, str]
    conversions: dict[str, tuple[str, ...]]


def open_pairs(pairs: Sequence[Pair], resizing: Resizing | None) -> OpenPairs:
    """Return pairs of image files as a pack, brought to one size as ``resizing`` says.

    Raises PmbenchError where images of a pair differ in size and ``resizing`` is None, and where
    no pair can be read.
    """
    images: dict[int, tuple[ImageFile, ImageFile]] = {}
    unreadable: dict[int, str] = {}
    conversions: dict[str, tuple[str, ...]] = {}
    unequal: list[str] = []
    for i, pair in enumerate(pairs):
        try:
            ref, dist = size_of(pair.ref), size_of(pair.dist)
        except PmbenchError as error:
            unreadable[i] = str(error)
            continue
        if resizing is None and ref != dist:
            unequal.append(f"{pair.ref} is {_shown(ref)}, {pair.dist} is {_shown(dist)}")
        size = ref if resizing is None else resizing.target(ref, dist)
        images[i] = (
            ImageFile(pair.ref, size, conversions), ImageFile(pair.dist, size, conversions)
        )  # fmt: skip
    if unequal:
        others = f" (as do {len(unequal) - 1:,} more)" if len(unequal) > 1 else ""
        raise PmbenchError(
            f"{unequal[0]}: they differ in size{others}; "
            "give --resize WIDTHxHEIGHT, or --resize smaller"
        )
    if not images:
        raise PmbenchError(next(iter(unreadable.values())))
    pack = pack_of([pairs[i].name for i in images], list(images.values()), ROLES)
    return OpenPairs(pack, list(images), unreadable, conversions)


def size_of(path: Path) -> Size:
    """Return an image file's width and height. Raises PmbenchError where it is none."""
    with _opened(path) as file:
        return file.size


@contextmanager
def _opened(path: Path) -> Iterator[image_file.EncodedImage]:
    try:
        with path.open("rb") as file, image_file.without_warnings():
            yield image_file.EncodedImage.open(file, str(path))
    except FileNotFoundError as error:
        raise PmbenchError(f"{path} does not exist; expected an image file") from error
    except OSError as error:
        raise PmbenchError(f"{path}: cannot be read: {error.strerror}") from error


def _shown(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
