"""Pairs of image files that belong to no dataset: two files, two folders, patterns, or a CSV."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pmbench.datasets.image_file import endings
from pmbench.utils.csv_table import parse_csv
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line


@dataclass(frozen=True)
class Pair:
    """Two image files, and what the pair is called in a table."""

    name: str
    ref: Path
    dist: Path


@dataclass(frozen=True)
class PairList:
    """The pairs that were found, and a sentence for each thing that was left out."""

    pairs: list[Pair]
    left_out: list[str] = field(default_factory=list)


def find_pairs(ref: Path, dist: Path | None) -> PairList:
    """Return the pairs of two images, of two folders, or of a CSV (``dist`` None).

    Files of two folders (with their subfolders) belong together if they have the same name, or
    the same name but for its ending. Of two patterns with ``{id}`` in them, files of the same id
    do; where one names a single image, it goes with each of the other's. A CSV has the columns
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
            raise PmbenchError(f"{path} does not exist; expected an image or a folder of images")
    if ref.is_dir() != dist.is_dir():
        folder, image = (ref, dist) if ref.is_dir() else (dist, ref)
        raise PmbenchError(
            f"{folder} is a folder and {image} is none; "
            "expected two images or two folders of images"
        )
    if not ref.is_dir():
        return PairList([Pair(dist.name, ref, dist)])
    return _of_folders(ref, dist)


_ID = "{id}"


def _is_pattern(path: Path) -> bool:
    return _ID in str(path) and not path.exists()


def _of_patterns(ref: Path, dist: Path) -> PairList:
    if not _is_pattern(ref):
        distorted = _by_id(dist)
        references = dict.fromkeys(distorted, _single(ref))
    elif not _is_pattern(dist):
        references = _by_id(ref)
        distorted = dict.fromkeys(references, _single(dist))
    else:
        references, distorted = _by_id(ref), _by_id(dist)
    ids = sorted(references.keys() & distorted.keys())
    if not ids:
        raise PmbenchError(
            f"no {_ID} is in both {ref} and {dist} ({_few(sorted(references))} in the first, "
            f"{_few(sorted(distorted))} in the second); {_ID} stands for the same text in both"
        )
    pairs = [Pair(name, references[name], distorted[name]) for name in ids]
    return PairList(
        pairs, _unmatched(ref, dist, set(references) - set(ids), set(distorted) - set(ids))
    )


def _unmatched(ref: Path, dist: Path, references: set[str], distorted: set[str]) -> list[str]:
    """Return a sentence for each side of which some have no partner."""
    return [
        f"{len(names):,} of {place} without a partner in {other}: {_few(sorted(names))}"
        for names, place, other in ((references, ref, dist), (distorted, dist, ref))
        if names
    ]


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
    matches = ((expression.fullmatch(path.relative_to(folder).as_posix()), path) for path in files)
    results = {match[1]: path for match, path in matches if match and path.is_file()}
    if not results:
        raise PmbenchError(
            f"{pattern}: no file has such a name; {_ID} stands for the part of the name in which "
            "the pairs differ, as in gt/{id}_gt.png"
        )
    return results


def _single(path: Path) -> Path:
    if not path.is_file():
        raise PmbenchError(f"{path}: expected an image, or a pattern with {_ID} in its name")
    return path


def _of_folders(ref: Path, dist: Path) -> PairList:
    references, distorted = _images_in(ref), _images_in(dist)
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
            f"no image in {ref} has a partner of the same name in {dist} "
            f"({_few(list(references))} there, {_few(list(distorted))} here); "
            "name them alike, or give a CSV with the columns ref,dist"
        )
    without = set(references) - {pair.name for pair in pairs}
    return PairList(pairs, _unmatched(ref, dist, without, set(distorted) - matched))


def _images_in(folder: Path) -> dict[str, None]:
    """Return the paths, from the folder, of the files that are images by their ending; sorted."""
    result = (p for p in folder.rglob("*") if p.suffix.lower() in endings() and p.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in result)
    names = [name for name in names if not Path(name).name.startswith(".")]
    if not names:
        raise PmbenchError(f"{folder}: no images in this folder; expected files such as .png")
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
    if path.suffix.lower() in endings():
        raise PmbenchError(f"{path} is one image; name the other one too")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PmbenchError(
            f"{path}: cannot be read ({error.strerror}); expected a CSV with the columns ref,dist, "
            "or give two images or two folders"
        ) from error
    table = parse_csv(data, str(path))
    if not len(table) or "ref" not in table or "dist" not in table:
        columns = one_line(", ".join(table.header)) if len(table) else "no rows"
        raise PmbenchError(f"{path}: expected a CSV with the columns ref,dist, got {columns}")
    pairs = []
    for line, ref, dist in zip(table.lines, table.column("ref"), table.column("dist"), strict=True):
        if not (ref and dist):
            raise PmbenchError(f"{path}: line {line} names no image in ref or in dist")
        pairs.append(Pair(f"{ref} {dist}", path.parent / ref, path.parent / dist))
    return pairs
