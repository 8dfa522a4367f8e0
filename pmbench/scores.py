"""Distances and votes -> a tidy table of scores with intervals.

One row a number: ``kind`` (metric or human), ``name``, ``statistic``, ``sub_dataset`` (one of the
dataset's, or "macro": the plain mean of the sub-datasets, or "pooled": over all items), ``value``,
``low``, ``high`` (95 % bootstrap interval, NaN where there is none), ``n`` items used, ``of`` items
asked for, ``note`` (why a number is missing or covers less than it seems to).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmbench import bootstrap
from pmbench.agreement import Array, ones
from pmbench.errors import PmbenchError
from pmbench.pack import Items
from pmbench.protocols import Human, Protocol, Statistic

COLUMNS = [
    "kind", "name", "statistic", "sub_dataset", "value", "low", "high", "n", "of", "note",
]  # fmt: skip
_NO_ITEMS = "no items left"
_WHY_UNDEFINED = {
    "map": 'nobody said "same"',
    "hard_majority": "nobody made up a majority",
    "srcc": "distances or votes do not vary",
    "krcc": "distances or votes do not vary",
    "plcc": "distances or votes do not vary",
    "human-fresh": "fewer than two people were asked",
    "human-majority": 'nobody said "same"',
}


Index = NDArray[np.int64]


@dataclass(frozen=True)
class _Quantity:
    """One number of a set of items: ``at(index, w)`` under resampling weights w (resamples, n)."""

    kind: str
    name: str
    statistic: str
    at: Callable[[Index, Array], Array]
    used: NDArray[np.bool_]  # which items it counts
    interval: bool
    why_undefined: str


def score(
    protocol: Protocol, name: str, items: Items, distances: Array, *, undefined: str = ""
) -> pd.DataFrame:
    """Return the scores of one metric.

    ``distances`` (n, pairs), smaller = more alike; rows that are NaN throughout are items on which
    the metric is not defined, for the reason ``undefined``: they are left out, and every number
    says so. Raises PmbenchError for any other number that is not finite.
    """
    defined = ~np.isnan(distances).all(axis=1) if undefined else np.ones(len(items), bool)
    used = np.flatnonzero(defined)
    bad = used[~np.isfinite(distances[used]).all(axis=1)]
    if len(bad):
        raise PmbenchError(
            f"{name}: the distance of item {items.id[bad[0]]} is {distances[bad[0]].tolist()}; "
            "expected finite numbers; mend the metric or leave the item out"
        )
    left_out = len(items) - len(used)
    noun = "item" if left_out == 1 else "items"
    few = f"not defined on {left_out:,} {noun}: {undefined}" if undefined else ""
    kept, d = items.take(used), distances[used]

    def at(statistic: Statistic) -> Callable[[Index, Array], Array]:
        return lambda index, w: statistic.value(d[index], kept.p[index], w)

    quantities = [
        _Quantity(
            "metric", name, statistic.name, at(statistic), statistic.counts(d, kept.p),
            statistic.interval, _WHY_UNDEFINED.get(statistic.name, _NO_ITEMS),
        )
        for statistic in protocol.statistics
    ]  # fmt: skip
    return _tidy(items, kept, quantities, few)


def human_rows(protocol: Protocol, items: Items) -> pd.DataFrame:
    """Return what people themselves would score: one name for each of the protocol's human rows."""
    votes = items.votes.astype(float)

    def at(human: Human) -> Callable[[Index, Array], Array]:
        return lambda index, w: human.value(items.p[index], votes[index], w)

    main = protocol.statistics[0].name
    quantities = [
        _Quantity(
            "human",
            human.name,
            main,
            at(human),
            human.counts(votes),
            True,
            _WHY_UNDEFINED.get(human.name, ""),
        )
        for human in protocol.humans
    ]
    return _tidy(items, items, quantities, "")


def _tidy(asked: Items, kept: Items, quantities: list[_Quantity], few: str) -> pd.DataFrame:
    """Return the rows of all quantities: each sub-dataset, macro and pooled."""
    groups: list[Index] = [np.flatnonzero(kept.sub == sub) for sub in range(len(kept.sub_names))]
    of = [int((asked.sub == sub).sum()) for sub in range(len(groups))] + [len(asked)] * 2
    plain = [
        _values(q, groups, [ones(len(g)) for g in groups], ones(len(kept))) for q in quantities
    ]
    intervals = _intervals(kept, groups, quantities)
    rows = []
    for q, value, interval in zip(quantities, plain, intervals, strict=True):
        notes = _why_missing(q, value[:, 0], groups, kept)
        counts = [int(q.used[group].sum()) for group in groups] + [int(q.used.sum())] * 2
        for i, place in enumerate([*kept.sub_names, "macro", "pooled"]):
            note = "; ".join(filter(None, [few, notes[i]]))
            rows.append(
                (
                    q.kind,
                    q.name,
                    q.statistic,
                    place,
                    value[i, 0],
                    *interval[i],
                    counts[i],
                    of[i],
                    note,
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _why_missing(q: _Quantity, values: Array, groups: list[Index], kept: Items) -> list[str]:
    """Return why each value is NaN, "" where it is not; for macro, what it is without and why."""

    def why(value: float, count: int) -> str:
        return "" if not np.isnan(value) else q.why_undefined if count else _NO_ITEMS

    by_sub = [why(value, len(group)) for value, group in zip(values, groups, strict=False)]
    without: dict[str, list[str]] = {}
    for name, reason in zip(kept.sub_names, by_sub, strict=True):
        if reason:
            without.setdefault(reason, []).append(name)
    macro = [f"without {', '.join(names)}: {reason}" for reason, names in without.items()]
    return [*by_sub, "; ".join(macro), why(values[-1], len(kept))]


def _values(quantity: _Quantity, groups: list[Index], by_group: list[Array], whole: Array) -> Array:
    """Return a quantity in each sub-dataset, macro and pooled: (groups + 2, resamples)."""
    none = np.full(len(whole), np.nan)
    parts = [
        quantity.at(group, w) if len(group) else none
        for group, w in zip(groups, by_group, strict=True)
    ]
    defined = [part for part in parts if not np.isnan(part).all()]
    macro = np.mean(defined, axis=0) if defined else none
    everything = np.arange(whole.shape[1])
    pooled = quantity.at(everything, whole) if len(everything) else none
    return np.array([*parts, macro, pooled])


def _intervals(items: Items, groups: list[Index], quantities: list[_Quantity]) -> list[Array]:
    """Return each quantity's intervals, (groups + 2, 2); NaN where it has none.

    A single item or cluster has none: every resample is the same, which says nothing.
    """
    drawn: dict[int, list[Array]] = {i: [] for i, q in enumerate(quantities) if q.interval}
    varies = np.zeros(len(items), bool)
    if len(items):
        for w in bootstrap.resamples(items.sub, items.cluster):
            varies |= (w != 1).any(axis=0)
            by_group = [w[:, group] for group in groups]
            for i in drawn:
                drawn[i].append(_values(quantities[i], groups, by_group, w))
    some = [bool(varies[group].any()) for group in groups] + [bool(varies.any())] * 2
    none = np.full((len(groups) + 2, 2), np.nan)
    found = [none] * len(quantities)
    for i, values in drawn.items():
        if values:
            each = [bootstrap.interval(row) for row in np.concatenate(values, axis=1)]
            found[i] = np.where(np.array(some)[:, None], np.array(each), np.nan)
    return found
