"""Distances as CSV: to look at elsewhere, and from elsewhere.

Columns are ``item,sub_dataset,votes,p,d0,d1`` for 2AFC and ``item,sub_dataset,votes,same,d`` for
JND; a smaller distance means more alike. ``cluster`` is optional, and so are ``cluster2``,
``cluster3`` … of items that are in several clusters. ``.gz`` is read and written too.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pmbench.datasets.layouts import WHOLE, check_sub_dataset, single_blanks
from pmbench.datasets.pack import Items
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, Resampling
from pmbench.scoring.clusters import crossing
from pmbench.scoring.protocols import PROTOCOLS, Judgement
from pmbench.scoring.scores import human_rows, score
from pmbench.scoring.statistics import Array, Index
from pmbench.utils.csv_table import CsvTable, find_column, parse_csv
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import replacing
from pmbench.utils.text import check_printable, one_line, preview

_LARGEST = 1e100  # whose square, and that of many, is still a number
_ALIASES = {"split": "sub_dataset", "id": "item", "judge": "p"}


def write_csv(path: Path, protocol: str, items: Items, distances: Array) -> None:
    """Write items, votes and distances; floats with all their digits."""
    kind = PROTOCOLS[protocol]
    table = pd.DataFrame(
        {
            "item": items.id,
            "sub_dataset": np.array(items.sub_names, object)[items.sub],
            "votes": items.votes,
            kind.judgement.name: items.p,
        }
    )
    for i, column in enumerate(kind.columns):
        table[column] = distances[:, i]
    if items.further is not None or len(np.unique(items.cluster)) < len(items):
        table["cluster"] = items.cluster
    for i, column in enumerate(() if items.further is None else items.further.T, start=2):
        table[f"cluster{i}"] = [str(number) if number >= 0 else "" for number in column]
    with replacing(path) as draft:
        text = table.to_csv(index=False, lineterminator="\n").encode()
        draft.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def read_csv(path: Path, protocol: str, higher_is_better: bool) -> tuple[Items, Array]:
    """Return the items and distances (n, pairs) of a CSV file.

    Without a ``sub_dataset`` column all items are in "whole"; without ``votes``, one person was
    asked; without ``item``, rows are numbered. Blanks around names, and how many there are within,
    make no difference. Raises PmbenchError for a missing column, an item that is there twice, an
    empty name, a distance that is no finite number, or a vote outside [0, 1].
    """
    kind = PROTOCOLS[protocol]
    wanted = ("item", "sub_dataset", "votes", kind.judgement.name, *kind.columns)
    table = read_table(path, protocol, wanted, needed=(kind.judgement.name, *kind.columns))
    n = len(table)
    shares, votes = _votes(path, table, kind.judgement)
    distances = np.stack([numbers(path, table, column) for column in kind.columns], axis=1)
    subs = _names(path, table, "sub_dataset") if "sub_dataset" in table else [WHOLE] * n
    codes, names = pd.factorize(np.array(subs, object))
    for name in names:
        check_sub_dataset(str(name), str(path))
    ids = _names(path, table, "item") if "item" in table else [str(i) for i in range(n)]
    _check_once(path, ids, subs, table.lines)
    cluster, further = _clusters(path, table)
    items = Items(
        id=np.array(ids, object),
        sub=codes.astype(np.int64),
        sub_names=tuple(str(name) for name in names),
        p=shares,
        votes=votes.astype(np.int32),
        cluster=cluster,
        further=further,
    )
    return items, -distances if higher_is_better else distances


def _names(path: Path, table: CsvTable, column: str) -> list[str]:
    """Return a column of names. Raises PmbenchError where one is empty."""
    names = [single_blanks(name) for name in table.column(column)]
    for line, name in zip(table.lines, names, strict=True):
        try:
            check_printable(name)
        except ValueError as error:
            raise PmbenchError(f"{path}: line {line}: column '{column}': {error}") from error
        if not name:
            raise PmbenchError(
                f"{path}: line {line}: column '{column}' is empty; expected a name in every row; "
                "fill it in, or remove the column"
            )
    return names


def _check_once(
    path: Path, ids: Sequence[str], subs: Sequence[str], numbers: Sequence[int]
) -> None:
    """Raise PmbenchError where an item is there twice: it would count as two independent ones."""
    lines: dict[tuple[str, str], int] = {}
    for line, key in zip(numbers, zip(subs, ids, strict=True), strict=True):
        if lines.setdefault(key, line) != line:
            of = f" of {key[0]}" * (key[0] != WHOLE)
            raise PmbenchError(
                f"{path}: lines {lines[key]} and {line}: item {one_line(key[1])}{of} is there "
                "twice; expected one row for each item; keep one of them, or rename the other"
            )


def _clusters(path: Path, table: CsvTable) -> tuple[Index, Index | None]:
    """Return the cluster of each row, (n,), and the further ones (n, k) where there are such."""
    further = [name for name in table.header if re.fullmatch(r"cluster\d+", name, re.IGNORECASE)]
    if "cluster" not in table:
        if further:
            raise PmbenchError(
                f"{path}: no column 'cluster', though there is '{further[0]}'; expected 'cluster' "
                "for the first cluster of each item, and 'cluster2' and so on for further ones"
            )
        return np.arange(len(table)), None
    columns = [_names(path, table, "cluster")]
    columns += [[single_blanks(name) for name in table.column(column)] for column in further]
    codes, _ = pd.factorize(
        np.array([name or None for column in columns for name in column], object)
    )
    members = codes.reshape(len(columns), -1).T.astype(np.int64)  # -1 where there is none
    return members[:, 0], crossing(members[:, 0], members[:, 1:] if further else None)


def score_table(
    name: str,
    protocol: str,
    items: Items,
    distances: Array,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> pd.DataFrame:
    """Return the tidy scores of distances made elsewhere, with the human rows."""
    kind = PROTOCOLS[protocol]
    table = score(kind, name, items, distances, resampling=resampling).table
    human = human_rows(kind, items, resampling)
    return pd.concat([table, human], ignore_index=True) if len(human) else table


def read_table(
    path: Path, protocol: str, wanted: Sequence[str], needed: Collection[str]
) -> CsvTable:
    """Return a CSV file as text, the columns by their usual names.

    Raises PmbenchError where it cannot be read, is empty, or lacks one of the columns ``needed``;
    the sentence names those ``wanted``.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise PmbenchError(
            f"{path}: expected a CSV file with the columns {', '.join(wanted)} "
            f"({one_line(str(error).strip())})"
        ) from error
    table = parse_csv(data, str(path))
    header = table.header
    for alias, name in _ALIASES.items():
        if name not in table and (column := find_column(alias, header)) is not None:
            header = [name if other == column else other for other in header]
    table = replace(table, header=header)
    if missing := [name for name in wanted if name in needed and name not in table]:
        raise PmbenchError(
            f"{path}: no column '{missing[0]}'; the protocol {protocol} needs {', '.join(wanted)}; "
            f"found {one_line(', '.join(table.header)) or 'nothing'}"
        )
    if not len(table):
        raise PmbenchError(f"{path}: no rows; expected one for each item")
    return table


def numbers(path: Path, table: CsvTable, column: str) -> Array:
    """Return a column as float64. Raises PmbenchError where a field is no finite number.

    Nor may it be so large that nothing can be computed with it.
    """
    values = np.empty(len(table))
    for i, text in enumerate(table.column(column)):
        try:
            values[i] = table.number(text)
        except ValueError:
            values[i] = np.nan
        if not abs(values[i]) <= _LARGEST:  # NaN is not
            raise PmbenchError(
                f"{path}: line {table.lines[i]}: column '{column}' is {preview(text, chr(39))}; "
                "expected a finite number"
                + f", of at most {_LARGEST:g}" * bool(np.isfinite(values[i]))
                + ", with a decimal point" * ("," in text)
            )
    return values


def _votes(path: Path, table: CsvTable, judgement: Judgement) -> tuple[Array, Array]:
    """Return judgements, shares rounded to k/n where n is known, and the numbers of votes."""
    p = numbers(path, table, judgement.name)
    asked = numbers(path, table, "votes") if "votes" in table else None
    if asked is not None and len(bad := np.flatnonzero(asked % 1)):
        raise PmbenchError(
            f"{path}: line {table.lines[bad[0]]}: {asked[bad[0]]:g} votes; expected a whole number"
        )
    parsed = [
        judgement.parse(
            float(value), None if asked is None else int(asked[i]), f"{path}: line {line}"
        )
        for i, (value, line) in enumerate(zip(p, table.lines, strict=True))
    ]
    return np.array([value for value, _ in parsed]), np.array([n for _, n in parsed], np.float64)
