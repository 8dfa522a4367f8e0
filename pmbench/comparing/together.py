"""Runs of the same items -> their distances in one order, to be compared item by item."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from pmbench.agreement import Array
from pmbench.comparing.way import PARTS, way
from pmbench.errors import PmbenchError
from pmbench.pack import Items
from pmbench.runs import Run


def check_same_way(runs: Sequence[Run], but: Collection[str] = ()) -> None:
    """Raise PmbenchError where runs were not measured in one way, so that no item has its equal.

    ``but`` are the parts (of ``PARTS``) that may differ.
    """
    for run in runs[1:]:
        ours, theirs = way(runs[0]).split("|"), way(run).split("|")
        differing = [
            f"{part} ({a} and {b})"
            for part, a, b in zip(PARTS, ours, theirs, strict=False)
            if a != b and part not in but
        ]
        if differing or len(ours) != len(theirs):
            what = ", ".join(differing) or f"{way(runs[0])} and {way(run)}"
            raise PmbenchError(
                f"{runs[0].dataset}/{runs[0].metric} and {run.dataset}/{run.metric} cannot be "
                f"compared: they differ in {what}; run `pmbench eval` again for the older one, "
                "with the same options"
            )


def same_order(runs: Sequence[Run]) -> bool:
    """Say whether the rows of runs of one way are the same items, as their votes show."""
    sub, p, _ = runs[0].numbers()
    others = [run.numbers()[:2] for run in runs[1:]]
    return all(np.array_equal(sub, s) and np.array_equal(p, q) for s, q in others)


def aligned(runs: Sequence[Run]) -> tuple[Items, list[Array]]:
    """Return the items, in the first run's order, and each run's distances (n, pairs) in it.

    Runs of one way hold the same items, in the order of their pack. Where that is another one, as
    votes and sub-datasets show, rows are matched by their ids. Raises PmbenchError where the items
    are not the same.
    """
    items, first = runs[0].distances()
    found = [first]
    for run in runs[1:]:
        sub, p, distances = run.numbers()
        if not (np.array_equal(sub, items.sub) and np.array_equal(p, items.p)):
            distances = distances[_matched(runs[0], items, run)]
        found.append(distances)
    return items, found


def _matched(first: Run, items: Items, other: Run) -> NDArray[np.int64]:
    """Return the row of ``other`` that holds each of the items."""
    its, _ = other.distances()
    row = {key: i for i, key in enumerate(_keys(its))}
    wanted = _keys(items)
    if len(row) != len(its) or set(row) != set(wanted) or len(its) != len(items):
        raise PmbenchError(
            f"{first.folder} and {other.folder} have the same signature but not the same items; "
            "one of them was changed by hand; delete it and run `pmbench eval` again"
        )
    return np.array([row[key] for key in wanted])


def _keys(items: Items) -> list[tuple[str, str, float]]:
    names = np.array(items.sub_names, object)[items.sub].tolist()
    return list(zip(names, items.id.tolist(), items.p.tolist(), strict=True))
