"""Which pictures are compared: two files, two folders, or a CSV of pairs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from pmbench.errors import PmbenchError


@dataclass(frozen=True)
class Pair:
    """Two picture files, and what the pair is called in a table."""

    name: str
    ref: Path
    dist: Path


@dataclass(frozen=True)
class Found:
    """The pairs that were found, and a sentence for each thing that was left out."""

    pairs: list[Pair]
    left_out: list[str] = field(default_factory=list)


def find(ref: Path, dist: Path | None) -> Found:
    """Return the pairs of two pictures, of two folders, or of a CSV (``dist`` None).

    Files of two folders (with their subfolders) belong together if they have the same name, or
    the same name but for its ending. A CSV has the columns ref and dist; its relative paths count
    from its own folder. Raises PmbenchError where there is no pair.
    """
    if dist is None:
        return Found(_of_csv(ref))
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
        return Found([Pair(dist.name, ref, dist)])
    return _of_folders(ref, dist)


def _of_folders(ref: Path, dist: Path) -> Found:
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
    alone = [sorted(set(references) - {pair.name for pair in pairs})]
    alone.append(sorted(set(distorted) - matched))
    left_out = [
        f"{len(names):,} of {folder} without a partner in {other}: {_few(names)}"
        for names, folder, other in zip(alone, (ref, dist), (dist, ref), strict=True)
        if names
    ]
    return Found(pairs, left_out)


def _pictures_in(folder: Path) -> dict[str, None]:
    """Return the paths, from the folder, of the files that PIL may read by their ending; sorted."""
    endings = Image.registered_extensions()
    found = (p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    names = [name for name in names if not Path(name).name.startswith(".")]
    if not names:
        raise PmbenchError(f"{folder}: no pictures in this folder; expected files such as .png")
    return dict.fromkeys(names)


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_stem(name), []).append(name)
    return found


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
