"""Distances that were computed elsewhere become a run like any other.

The file has a row for each item of a dataset: ``item`` (its id; with ``sub_dataset``, also the part
of the id behind the sub-dataset) and ``d0,d1`` for 2AFC or ``d`` for JND. People's votes are those
of the dataset; where the file has some too, they must be the same, since others mean that the file
is about other items, or has p0 and p1 the other way round.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmbench.datasets.pack import Items
from pmbench.evaluation import provenance
from pmbench.evaluation.config import EvalConfig
from pmbench.evaluation.runner import save_run
from pmbench.results.csv_io import numbers, read_table
from pmbench.results.run import CHECKPOINT_FILE, Run, locked, open_run
from pmbench.results.schema import Rate
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.scoring.scores import human_rows
from pmbench.scoring.statistics import Array
from pmbench.utils.csv_table import CsvTable
from pmbench.utils.errors import PmbenchError

_ROUNDED = 0.01  # shares with two decimals are the same shares


def import_distances(
    config: EvalConfig, name: str, path: Path, higher_is_better: bool, replace: bool
) -> Run:
    """Write the distances of a CSV file as the run of a metric called ``name``.

    Raises PmbenchError where the file is not exactly about the items of ``config``, and where there
    is another run of that name, unless ``replace``.
    """
    items = config.pack.items.take(config.chosen)
    distances = read_for(path, config.manifest.protocol, config.manifest.name, items)
    if higher_is_better:
        distances = -distances
    digest = _digest(name, items, distances)
    metric_signature = f"{name}#{digest[:8]}"
    folder = config.folder(name)
    with locked(folder):
        if (
            not replace
            and (run := open_run(folder)) is not None
            and run.signature != config.signature(metric_signature)
        ):
            what = "other distances were imported" if run.imported else "a metric was measured"
            raise PmbenchError(
                f"{folder}: {what} under this name; choose another --name, or replace that run "
                "with --replace"
            )
        now = provenance.now()
        info = provenance.run_info(
            config,
            metric_signature,
            provenance.imported_metric_info(name, path, higher_is_better, digest),
            provenance.imported_environment(path),
            started=now,
            finished=now,
            seconds=None,
            items_per_second=None,
            rate=Rate(),
            peak_memory_mb=None,
            batches=None,
            measured_together=(),
        )
        run = save_run(
            config, info, distances, human_rows(config.protocol, items, config.resampling)
        )
        (folder / CHECKPOINT_FILE).unlink(
            missing_ok=True
        )  # of a run that this one took the place of
        return run


def read_for(path: Path, protocol: str, dataset: str, items: Items) -> Array:
    """Return the distances (n, pairs) that a CSV file gives for the items of a dataset, as it is.

    Raises PmbenchError unless every item has one row and every row an item, where a distance is no
    finite number, and where the file has votes that are not the dataset's.
    """
    kind = PROTOCOLS[protocol]
    table = read_table(path, protocol, ("item", *kind.columns), ("item", *kind.columns))
    place = _places(path, dataset, table, items)
    _compare_votes(path, dataset, table, kind.judgement.name, items.take(place))
    distances = np.empty((len(items), len(kind.columns)))
    for i, column in enumerate(kind.columns):
        distances[place, i] = numbers(path, table, column)
    return distances


def _places(path: Path, dataset: str, table: CsvTable, items: Items) -> NDArray[np.int64]:
    """Return which item each row is about. Raises PmbenchError unless that is one to one."""
    subs = [items.sub_names[sub] for sub in items.sub]
    by_id = {item: i for i, item in enumerate(items.id)}
    by_rest: dict[str, list[int]] = defaultdict(list)
    for i, (item, sub) in enumerate(zip(items.id, subs, strict=True)):
        by_rest[item.removeprefix(f"{sub}/")].append(i)
    strange, unclear, place = [], {}, []
    given = table.column("sub_dataset") if "sub_dataset" in table else [None] * len(table)
    for name, sub in zip(table.column("item"), given, strict=True):
        meant = [by_id[name]] if name in by_id else by_rest.get(name, [])
        meant = [i for i in meant if sub in (None, subs[i])]
        if not meant:
            strange.append(name if sub is None else f"{name} of {sub}")
        elif len(meant) > 1:
            unclear[name] = [items.id[i] for i in meant]
        else:
            place.append(meant[0])
    if strange:
        raise PmbenchError(
            f"{path}: {dataset} has no {_some(strange)}; expected ids such as {items.id[0]}; "
            "correct or remove the rows"
        )
    if unclear:
        name, several = next(iter(unclear.items()))
        raise PmbenchError(
            f"{path}: {name} may be {' or '.join(several[:3])}; add a column sub_dataset"
        )
    if twice := [items.id[i] for i, times in Counter(place).items() if times > 1]:
        raise PmbenchError(f"{path}: more than one row for {_some(twice)}; keep one of each")
    if missing := [items.id[i] for i in sorted(set(range(len(items))) - set(place))]:
        raise PmbenchError(
            f"{path}: no row for {_some(missing)} of the {len(items):,} in {dataset}; complete the "
            "file, since a score on a part is none of the dataset"
        )
    return np.array(place, np.int64)


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many there are."""
    if len(names) == 1:
        return f"item {names[0]}"
    return f"items {', '.join(names[:3])}{', …' * (len(names) > 3)} ({len(names):,} items)"


def _compare_votes(path: Path, dataset: str, table: CsvTable, column: str, items: Items) -> None:
    """Raise PmbenchError where the file has votes that are not those of its items."""
    for name, expected, tolerance in ((column, items.p, _ROUNDED), ("votes", items.votes, 0)):
        if name not in table:
            continue
        given = numbers(path, table, name)
        if len(bad := np.flatnonzero(np.abs(given - expected) > tolerance)):
            row = bad[0]
            raise PmbenchError(
                f"{path}: line {table.lines[row]}: column '{name}' is {given[row]:g} for item "
                f"{items.id[row]}, but {expected[row]:g} in {dataset}; is it about other items, or "
                "are p0 and p1 swapped? if neither, leave the column out"
            )


def _digest(name: str, items: Items, distances: Array) -> str:
    """Return a digest of a name and of distances; the order of the items is of no consequence."""
    total = hashlib.sha256(f"{name}\0".encode())
    for i in np.argsort(items.id.astype(str), kind="stable"):
        total.update(f"{items.id[i]}\0{(distances[i] + 0.0).tolist()}\0".encode())  # -0 is 0
    return total.hexdigest()
