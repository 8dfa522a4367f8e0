"""Pairs of picture files that belong to no dataset: two files, two folders, or a CSV of pairs.

They are read when a batch needs them, as a pack: nothing is copied. Sizes come from the files'
headers, so that what does not fit together is known at once.
"""

from __future__ import annotations

import csv
import glob
import io
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pmbench.datasets.pack import Items, Pack
from pmbench.datasets.resize import Pixels, Resize, decode
from pmbench.utils.errors import PmbenchError


@dataclass(frozen=True)
class Pair:
    """Two picture files, and what the pair is called in a table."""

    name: str
    ref: Path
    dist: Path


@dataclass(frozen=True)
class PairList:
    """The pairs that were found, and a sentence for each thing that was left out."""

    pairs: list[Pair]
    left_out: list[str] = field(default_factory=list)


def find_pairs(ref: Path, dist: Path | None) -> PairList:
    """Return the pairs of two pictures, of two folders, or of a CSV (``dist`` None).

    Files of two folders (with their subfolders) belong together if they have the same name, or
    the same name but for its ending. Of two patterns with ``{id}`` in them, files of the same id
    do; where one names a single picture, it goes with each of the other's. A CSV has the columns
    ref and dist; its relative paths count from its own folder. Raises PmbenchError where there is
    no pair.
    """
    if dist is None:
        if _is_pattern(ref):
            raise PmbenchError(f"{ref} is a pattern; give the other one too, of the same {_ID}")
        return PairList(_of_csv(ref))
    if any(_is_pattern(path) for path in (ref, dist)):
        return _of_patterns(ref, dist)
    for path in (ref, dist):
        if not path.exists():
            raise PmbenchError(f"{path} does not exist; expected a picture or a folder of pictures")
    if ref.is_dir() != dist.is_dir():
        folder, picture = (ref, dist) if ref.is_dir() else (dist, ref)
        raise PmbenchError(
            f"{folder} is a folder and {picture} is none; "
            "expected two pictures or two folders of pictures"
        )
    if not ref.is_dir():
        return PairList([Pair(dist.name, ref, dist)])
    return _of_folders(ref, dist)


_ID = "{id}"


def _is_pattern(path: Path) -> bool:
    return _ID in str(path) and not path.exists()


def _of_patterns(ref: Path, dist: Path) -> PairList:
    references, distorted = (_by_id(path) if _is_pattern(path) else None for path in (ref, dist))
    if references is None:
        assert distorted is not None
        references = dict.fromkeys(distorted, _single(ref))
    if distorted is None:
        distorted = dict.fromkeys(references, _single(dist))
    ids = sorted(references.keys() & distorted.keys())
    if not ids:
        raise PmbenchError(
            f"no {_ID} is in both {ref} and {dist} ({_few(sorted(references))} in the first, "
            f"{_few(sorted(distorted))} in the second); {_ID} stands for the same text in both"
        )
    left_out = [
        f"{len(missing):,} of {pattern} without a partner in {other}: {_few(missing)}"
        for one, two, pattern, other in (
            (references, distorted, ref, dist), (distorted, references, dist, ref),
        )
        if (missing := sorted(one.keys() - two.keys()))
    ]  # fmt: skip
    return PairList([Pair(name, references[name], distorted[name]) for name in ids], left_out)


def _by_id(pattern: Path) -> dict[str, Path]:
    """Return the files that fit a pattern, by what stands in the place of ``{id}``.

    It may stand there several times, and holds no slash.
    """
    fixed = list(itertools.takewhile(lambda part: _ID not in part, pattern.parts))
    folder, rest = Path(*fixed), "/".join(pattern.parts[len(fixed) :])
    first, *others = (re.escape(part) for part in rest.split(_ID))
    expression = re.compile(first + "([^/]+)" + r"\1".join(others))
    wildcard = re.sub(r"\*+", "*", "*".join(glob.escape(part) for part in rest.split(_ID)))
    files = [path for path in folder.glob(wildcard) if not path.name.startswith(".")]
    named = ((expression.fullmatch(path.relative_to(folder).as_posix()), path) for path in files)
    results = {fits[1]: path for fits, path in named if fits and path.is_file()}
    if not results:
        raise PmbenchError(
            f"{pattern}: no file has such a name; {_ID} stands for the part of the name in which "
            "the pairs differ, as in gt/{id}_gt.png"
        )
    return results


def _single(path: Path) -> Path:
    if not path.is_file():
        raise PmbenchError(f"{path}: expected a picture, or a pattern with {_ID} in its name")
    return path


def _of_folders(ref: Path, dist: Path) -> PairList:
    references, distorted = _pictures_in(ref), _pictures_in(dist)
    by_stem = [_by_stem(names) for names in (references, distorted)]
    pairs, matched = [], set()
    for name in references:
        partner = name if name in distorted else None
        stem = _stem(name)
        if partner is None and len(by_stem[0][stem]) == 1 and len(by_stem[1].get(stem, ())) == 1:
            (partner,) = by_stem[1][stem]
        if partner is not None and partner not in matched:
            matched.add(partner)
            pairs.append(Pair(name, ref / name, dist / partner))
    if not pairs:
        raise PmbenchError(
            f"no picture in {ref} has a partner of the same name in {dist} "
            f"({_few(list(references))} there, {_few(list(distorted))} here); "
            "name them alike, or give a CSV with the columns ref,dist"
        )
    unmatched = [sorted(set(references) - {pair.name for pair in pairs})]
    unmatched.append(sorted(set(distorted) - matched))
    left_out = [
        f"{len(names):,} of {folder} without a partner in {other}: {_few(names)}"
        for names, folder, other in zip(unmatched, (ref, dist), (dist, ref), strict=True)
        if names
    ]
    return PairList(pairs, left_out)


def _pictures_in(folder: Path) -> dict[str, None]:
    """Return the paths, from the folder, of the files that PIL may read by their ending; sorted."""
    endings = Image.registered_extensions()
    result = (p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in result)
    names = [name for name in names if not Path(name).name.startswith(".")]
    if not names:
        raise PmbenchError(f"{folder}: no pictures in this folder; expected files such as .png")
    return dict.fromkeys(names)


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    results: dict[str, list[str]] = {}
    for name in names:
        results.setdefault(_stem(name), []).append(name)
    return results


def _stem(name: str) -> str:
    return str(Path(name).with_suffix(""))


def _few(names: list[str], most: int = 10) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _of_csv(path: Path) -> list[Pair]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PmbenchError(
            f"{path}: cannot be read ({error.strerror}); expected a CSV with the columns ref,dist, "
            "or give two pictures or two folders"
        ) from error
    except UnicodeDecodeError as error:
        raise PmbenchError(
            f"{path}: expected a CSV with the columns ref,dist, got a file that is no UTF-8 text; "
            "to compare a picture, name the other one too"
        ) from error
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise PmbenchError(f"{path}: not a CSV: {error}") from error
    if not rows or not {"ref", "dist"} <= set(rows[0]):
        columns = ", ".join(str(column) for column in rows[0]) if rows else "no rows"
        raise PmbenchError(f"{path}: expected a CSV with the columns ref,dist, got {columns}")
    pairs = []
    for number, row in enumerate(rows, start=1):
        if not (row["ref"] and row["dist"]):
            raise PmbenchError(f"{path}: row {number} names no picture in ref or in dist")
        ref, dist = (path.parent / row[role] for role in ("ref", "dist"))
        pairs.append(Pair(f"{row['ref']} {row['dist']}", ref, dist))
    return pairs


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
class Picture:
    """A picture file, decoded as for packs and brought to a size, bilinear and antialiased."""

    path: Path
    size: Size

    def read(self) -> Pixels:
        """Return its pixels."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise PmbenchError(f"{self.path}: cannot be read: {error.strerror}") from error
        pixels = decode(data, Resize("none"), str(self.path))
        if pixels.shape[1::-1] == self.size:
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(self.size, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Pictures(Pack):
    """A pack whose images are read when they are asked for; ``sources`` by size, then by row."""

    sources: tuple[tuple[Source, ...], ...] = ()

    def images(self, size: int, rows: NDArray[np.int64]) -> Pixels:
        """Return the images at ``rows`` of one size: (len(rows), H, W, 3) uint8."""
        return np.stack([self.sources[size][row].read() for row in rows])


def pack_of(
    ids: Sequence[str], images: Sequence[Sequence[Source]], roles: tuple[str, ...]
) -> Pictures:
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
    return Pictures(Path(), items, rows, size_of, sizes, {"roles": list(roles)}, sources=sources)


# --- files of one size ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Resizing:
    """What to do about sizes: from those of the two pictures of a pair to the one of both."""

    label: str
    target: Callable[[Size, Size], Size]


def parse_resizing(text: str) -> Resizing:
    """Return what "WIDTHxHEIGHT" or "smaller" asks for.

    "smaller": both pictures get the size of the one with fewer pixels. Raises PmbenchError for
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
    """

    pack: Pictures
    places: list[int]
    unreadable: dict[int, str]


def open_pairs(pairs: Sequence[Pair], resizing: Resizing | None) -> OpenPairs:
    """Return pairs of picture files as a pack, brought to one size as ``resizing`` says.

    Raises PmbenchError where pictures of a pair differ in size and ``resizing`` is None, and where
    no pair can be read.
    """
    images: dict[int, tuple[Picture, Picture]] = {}
    unreadable: dict[int, str] = {}
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
        images[i] = (Picture(pair.ref, size), Picture(pair.dist, size))
    if unequal:
        others = f" (as do {len(unequal) - 1:,} more)" if len(unequal) > 1 else ""
        raise PmbenchError(
            f"{unequal[0]}: they differ in size{others}; "
            "give --resize WIDTHxHEIGHT, or --resize smaller"
        )
    if not images:
        raise PmbenchError(next(iter(unreadable.values())))
    pack = pack_of([pairs[i].name for i in images], list(images.values()), ROLES)
    return OpenPairs(pack, list(images), unreadable)


def size_of(path: Path) -> Size:
    """Return a picture file's width and height. Raises PmbenchError where it is none."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except FileNotFoundError as error:
        raise PmbenchError(f"{path} does not exist; expected a picture file") from error
    # the list is what PIL's readers raise on damaged files
    except (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError) as error:
        raise PmbenchError(
            f"{path}: expected a picture file, got one that PIL cannot read ({error})"
        ) from error


def _shown(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
