"""A raw layout -> rows of role images and votes.

A layout is asked about every file that passes, in any order: it answers whether the file is an
image that some row needs, and keeps the votes. When the files are through it tells the rows. So an
archive is read once, from front to back.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Protocol as Interface

import numpy as np

from pmbench.datasets.archive import files
from pmbench.datasets.image_file import endings
from pmbench.datasets.manifest import Folders, Manifest, Table
from pmbench.scoring.protocols import Protocol
from pmbench.utils.csv_table import find_column, parse_csv
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import check_printable, one_line


@dataclass(frozen=True)
class Item:
    """One item: the image of each role, by the name its file has, and what people said."""

    item: str
    sub_dataset: str
    images: tuple[str, ...]  # in the order of the protocol's roles
    p: float  # what people said, as the protocol's judgement is stored
    votes: int
    cluster: str | None = None
    line: int = 0  # in which a table says so


class Layout(Interface):
    """What the files of a dataset mean."""

    def take(self, path: PurePosixPath, read: Callable[[], bytes]) -> str | None:
        """Look at one file; return the name by which rows call it if it is an image, else None."""

    def rows(self) -> list[Item]:
        """Return the items, after the last file. Raises PmbenchError where one is incomplete."""


def layout_for(manifest: Manifest, source: Path, protocol: Protocol) -> Layout:
    """Return the layout that a manifest declares, for the files at ``source``."""
    if manifest.table is not None:
        return _TableLayout(manifest, manifest.table, source, protocol)
    assert manifest.folders is not None  # the manifest was checked
    return _FoldersLayout(manifest, manifest.folders, protocol)


def _checked(name: str, where: str) -> str:
    """Return a name. Raises PmbenchError where it cannot be stored, shown and typed."""
    try:
        return check_printable(name)
    except ValueError as error:
        raise PmbenchError(f"{where}: the name {error}") from error


_LARGEST_VOTE = 1 << 16  # bytes of a .npy file that may matter; its header has at most 10,000
WHOLE = "whole"  # the sub-dataset of items that are in none
RESERVED = {"macro", "pooled"}  # rows of every table of scores


def single_blanks(name: str) -> str:
    """Return a name without blanks around it, and with one where there are several."""
    return " ".join(name.split())


def check_sub_dataset(name: str, where: str) -> str:
    """Return a sub-dataset's name. Raises PmbenchError where it would be taken for a mean."""
    if name in RESERVED:
        raise PmbenchError(
            f"{where}: a sub-dataset is called '{name}', which names a mean of scores; rename it"
        )
    return name


class _FoldersLayout:
    """``<root>/<sub-dataset>/<role folder>/<id>.<ext>``, the votes in .npy files."""

    def __init__(self, manifest: Manifest, folders: Folders, protocol: Protocol) -> None:
        self._manifest, self._folders, self._protocol = manifest, folders, protocol
        self._root = PurePosixPath(folders.root).parts
        self._role_of = {folder: role for role, folder in folders.roles.items()}
        self._images: dict[tuple[str, str], dict[str, str]] = {}
        self._votes: dict[tuple[str, str], tuple[float, int]] = {}

    def take(self, path: PurePosixPath, read: Callable[[], bytes]) -> str | None:
        *above, sub_dataset, folder, _ = path.parts if len(path.parts) >= 3 else ("", "", "", "")
        is_vote = folder == self._folders.votes
        if not (is_vote or folder in self._role_of) or path.name.startswith("."):
            return None
        # a user may point at the root's own folder, or at any folder above it
        if above and tuple(above[-len(self._root) :] if self._root else ()) != self._root:
            return None
        _checked(str(path), self._manifest.name)
        key = (sub_dataset, path.stem)
        if is_vote:
            if key in self._votes:
                raise self._twice(path)
            self._votes[key] = self._vote(path, read())
            return None
        if path.suffix.lower() not in endings():
            return None
        images = self._images.setdefault(key, {})
        if self._role_of[folder] in images:
            raise self._twice(path)
        images[self._role_of[folder]] = str(path)
        return str(path)

    def _twice(self, path: PurePosixPath) -> PmbenchError:
        return PmbenchError(
            f"{self._manifest.name}: the item {path.parts[-3]}/{path.stem} has two files in "
            f"'{path.parts[-2]}', one of them {path}; expected one; "
            "point --from at the folder of one dataset"
        )

    def _vote(self, path: PurePosixPath, data: bytes) -> tuple[float, int]:
        judgement = self._protocol.judgement
        try:
            value = _number(data[:_LARGEST_VOTE])
        # the list is what NumPy raises on damaged files
        except (ValueError, TypeError, SyntaxError, MemoryError, TokenError) as error:
            raise PmbenchError(
                f"{path}: expected a .npy file with one number in "
                f"[{judgement.low:g}, {judgement.high:g}]; got {len(data)} bytes "
                f"that hold none ({error})"
            ) from error
        return judgement.parse(value, self._manifest.votes_per_item, str(path))

    def rows(self) -> list[Item]:
        order = list(self._manifest.sub_datasets)
        rank = {name: i for i, name in enumerate(order)}
        results: list[Item] = []
        keys = {*self._images, *self._votes}
        for key in sorted(keys, key=lambda k: (rank.get(k[0], len(rank)), k)):
            sub_dataset, item = key
            check_sub_dataset(sub_dataset, self._manifest.name)
            images = self._images.get(key, {})
            missing = [self._folders.roles[r] for r in self._protocol.roles if r not in images]
            missing += [self._folders.votes] * (key not in self._votes)
            if missing:
                raise PmbenchError(
                    f"{self._manifest.name}: the item {sub_dataset}/{item} has no file in "
                    f"{' and '.join(missing)}; expected an image "
                    f"(.png, .jpg or the like) in each of {', '.join(self._folders.roles.values())}"
                    f", and a vote (.npy) in {self._folders.votes}; complete or remove the item"
                )
            p, votes = self._votes[key]
            paths = tuple(images[role] for role in self._protocol.roles)
            results.append(Item(f"{sub_dataset}/{item}", sub_dataset, paths, p, votes))
        return results


@lru_cache(maxsize=256)  # there are as many different ones as people can disagree in ways
def _number(data: bytes) -> float:
    """Return the one number in a .npy file. Raises all that NumPy does where there is none."""
    vote = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    if vote.dtype.kind not in "fiub":  # texts too become numbers where they look like one
        raise ValueError(f"it is of type {vote.dtype}")
    return float(vote.reshape(()) if vote.size == 1 else vote)


class _TableLayout:
    """A CSV or JSON-lines file with one item a row."""

    def __init__(self, manifest: Manifest, table: Table, source: Path, protocol: Protocol) -> None:
        self._manifest, self._table, self._protocol = manifest, table, protocol
        self._where = f"{manifest.name}: {table.file}"
        self._above, data = self._find(source)
        self._to_number: Callable[[str], float] = float
        self._rows = [self._row(line, record) for line, record in self._records(data)]
        self._wanted = {path for row in self._rows for path in row.images}
        self._seen: set[str] = set()
        if not self._rows:
            raise PmbenchError(f"{self._where}: the table has no rows; expected one for each item")
        item, times = Counter(row.item for row in self._rows).most_common(1)[0]
        if times > 1:
            raise PmbenchError(
                f"{self._where}: the item '{item}' stands there {times} times; "
                "expected every item once; make the pattern of key 'table.item' tell them apart"
            )

    def _find(self, source: Path) -> tuple[PurePosixPath, bytes]:
        """Return the folder from which paths count, and the bytes of the table.

        Archives often hold everything in one folder that the table does not name.
        """
        name = PurePosixPath(self._table.file)
        if (source / name).is_file():
            return PurePosixPath(), (source / name).read_bytes()
        for file in files(source):
            if file.path == name:
                return PurePosixPath(), file.read()
            if file.path.parts[1:] == name.parts:
                return PurePosixPath(file.path.parts[0]), file.read()
        raise PmbenchError(
            f"{self._where}: no such file in {source}; expected the table there (key 'table.file')"
        )

    def _records(self, data: bytes) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the cells of each row by column, and the line in which it begins."""
        if not self._table.file.endswith((".jsonl", ".ndjson", ".json")):
            table = parse_csv(data, self._where)
            self._to_number = table.number
            for line, cells in zip(table.lines, table.rows, strict=True):
                yield line, dict(zip(table.header, cells, strict=True))
            return
        for line, text in enumerate(data.split(b"\n"), start=1):
            if text.strip():
                try:
                    values = dict(json.loads(text.decode("utf-8-sig")))
                except (ValueError, TypeError, RecursionError) as error:
                    raise PmbenchError(
                        f"{self._where}: line {line}: expected one JSON object "
                        f"({getattr(error, 'msg', error)})"
                    ) from error
                yield line, {str(column): str(value) for column, value in values.items()}

    def _row(self, line: int, record: dict[str, str]) -> Item:
        table, where = self._table, f"{self._where}: line {line}"

        def column(name: str) -> str:
            if (known := find_column(name, record)) is None:
                raise PmbenchError(
                    f"{where}: no column '{name}'; it has {one_line(', '.join(record))}; "
                    "correct the manifest's [table]"
                )
            return record[known]

        def name_in(name: str) -> str:
            if not (result := single_blanks(column(name))):
                raise PmbenchError(
                    f"{where}: column '{name}' is empty; expected a name in every row; fill it in, "
                    "or remove the column from the manifest's [table]"
                )
            return result

        def number_in(name: str) -> float:
            try:
                return self._to_number(column(name))
            except ValueError as error:
                raise PmbenchError(
                    f"{where}: column '{name}' is {column(name)!r}; expected a number"
                ) from error

        def fill(pattern: str) -> str:
            try:
                return pattern.format_map(_Columns(column))
            except (ValueError, AttributeError, IndexError, KeyError, TypeError) as error:
                raise PmbenchError(
                    f"{where}: the pattern {pattern!r} cannot be filled ({error}); "
                    "expected column names in braces, like 'images/{id}.png'"
                ) from error

        judgement = self._protocol.judgement
        if table.vote_counts is not None:
            against, in_favour = (number_in(name) for name in table.vote_counts)
            p, votes = judgement.parse_counts(against, in_favour, where)
        else:
            assert table.vote is not None  # the manifest was checked
            people = self._manifest.votes_per_item
            if table.votes:
                asked = number_in(table.votes)
                if not asked.is_integer():
                    raise PmbenchError(f"{where}: {asked:g} votes; expected a whole number")
                people = int(asked)
            p, votes = judgement.parse(number_in(table.vote), people, where)
        sub_dataset = name_in(table.sub_dataset) if table.sub_dataset else WHOLE
        return Item(
            item=_checked(fill(table.item), where),
            sub_dataset=check_sub_dataset(_checked(sub_dataset, where), where),
            images=tuple(
                str(PurePosixPath(_checked(fill(table.roles[role]), where)))
                for role in self._protocol.roles
            ),
            p=p,
            votes=votes,
            cluster=_checked(name_in(table.cluster), where) if table.cluster else None,
            line=line,
        )

    def take(self, path: PurePosixPath, read: Callable[[], bytes]) -> str | None:
        if not path.is_relative_to(self._above):
            return None
        name = str(path.relative_to(self._above))
        if name not in self._wanted and name != str(PurePosixPath(self._table.file)):
            return None
        if name in self._seen:
            raise PmbenchError(
                f"{self._where}: the archive has {name} twice; expected every file once; "
                "make the archive anew"
            )
        self._seen.add(name)
        return name if name in self._wanted else None

    def rows(self) -> list[Item]:
        for row in self._rows:
            for path in row.images:
                if path not in self._seen:
                    raise PmbenchError(
                        f"{self._where}: line {row.line} names the image {path}, which is not "
                        "there; correct the path or the pattern in the manifest's [table.roles]"
                    )
        return self._rows


class _Columns(dict[str, str]):
    """The columns of one row, for ``str.format_map``."""

    def __init__(self, column: Callable[[str], str]) -> None:
        super().__init__()
        self._column = column

    def __missing__(self, name: str) -> str:
        return self._column(name)
