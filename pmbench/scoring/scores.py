"""Distances and votes -> scores: a tidy table with intervals, or one number in one place.

``score_at`` returns the one number. ``score`` and ``human_rows`` return the table, a row a number:
``kind`` (metric or human), ``name``, ``statistic``, ``sub_dataset`` (one of the dataset's, or
"macro": the plain mean of the sub-datasets, or "pooled": over all items), ``value``, ``low``,
``high`` (95 % interval, NaN where there is none), ``n`` items used, ``of`` items asked
for, ``note`` (why a number is missing or covers less than it seems to), ``unreliable`` (whether the
interval rests on too little: see ``intervals``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pmbench.scoring.bootstrap import (
    DEFAULT_RESAMPLING,
    BootstrapSamples,
    Estimand,
    Mask,
    Resampling,
)
from pmbench.scoring.intervals import Estimate, estimate
from pmbench.scoring.items import Items
from pmbench.scoring.joint_scores import estimand, places
from pmbench.scoring.protocols import HumanBaseline, Protocol, Statistic
from pmbench.scoring.statistics import Array, Index, Weights, ones
from pmbench.utils.errors import PmbenchError
from pmbench.utils.system import cores

COLUMNS = [
    "kind", "name", "statistic", "sub_dataset", "value", "low", "high", "n", "of", "note",
    "unreliable",
]  # fmt: skip
_NO_ITEMS = "no items left"


@dataclass(frozen=True)
class Scores:
    """What one metric scores: the tidy table, and what its intervals were made of."""

    table: pd.DataFrame
    draws: BootstrapSamples


@dataclass(frozen=True)
class _Labels:
    """What a quantity is called in the table."""

    kind: str
    name: str
    statistic: str
    why_undefined: str


def defined(*distances: Array) -> Mask:
    """Return on which items all of several distances (n, pairs) are defined."""
    everywhere: Mask = np.all([np.isfinite(d).all(axis=1) for d in distances], axis=0)
    return everywhere


def score_at(
    items: Items, distances: Array, statistic: Statistic, place: str, *, whole: bool = False
) -> float:
    """Return the value of a statistic in a place, on its own scale; NaN where it has none.

    A place is a sub-dataset; "macro", the plain mean of the sub-datasets; "pooled", all items at
    once; or sub-datasets joined by +, such as "traditional+cnn": all of their items at once.

    Items on which the metric is not defined (``distances`` (n, pairs) are NaN) are left out, and
    macro is the mean of the sub-datasets that have a value: so it is in the table of ``score``.
    ``whole`` asks for the score of all items: there is none of a place that holds such an item, and
    no macro where a sub-dataset has no value.
    """
    if place == "macro":
        values = [score_at(items, distances, statistic, s, whole=whole) for s in items.sub_names]
        counted = [value for value in values if whole or not math.isnan(value)]
        return float(np.mean(counted)) if counted else math.nan
    names = [place] if place in items.sub_names else place.split("+")
    inside = np.isin(np.array(items.sub_names, object), names)[items.sub] | (place == "pooled")
    used = inside & defined(distances)
    if not used.any() or (whole and (used != inside).any()):
        return math.nan
    return float(statistic.value(distances[used], items.p[used], ones(int(used.sum())))[0])


def score(
    protocol: Protocol,
    name: str,
    items: Items,
    distances: Array,
    *,
    undefined: str = "",
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> Scores:
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

    labels = [
        _Labels("metric", name, s.name, s.undefined or _NO_ITEMS) for s in protocol.statistics
    ]

    def estimated(s: Statistic) -> Estimate:
        return estimate(kept, estimand(s, d, kept.p), s.limits, s.reliable, resampling)

    with ThreadPoolExecutor(cores()) as threads:  # NumPy computes beside other threads
        result = list(threads.map(estimated, protocol.statistics))
    draws = {
        s.name: one.draws
        for s, one in zip(protocol.statistics, result, strict=True)
        if one.draws is not None
    }
    return Scores(
        _tidy(items, kept, labels, result, few), BootstrapSamples(resampling, places(kept), draws)
    )


def human_rows(
    protocol: Protocol, items: Items, resampling: Resampling = DEFAULT_RESAMPLING
) -> pd.DataFrame:
    """Return what people themselves would score: one name for each of the protocol's human rows."""
    votes = items.votes.astype(float)

    def at(human: HumanBaseline) -> Callable[[Index, Weights], Array]:
        return lambda index, w: human.value(items.p[index], votes[index], w)

    main = protocol.main
    labels = [_Labels("human", human.name, main.name, human.undefined) for human in protocol.humans]
    estimands = [
        Estimand(at(one), one.counts(votes), one.items(items.p, votes) if one.items else None)
        for one in protocol.humans
    ]
    result = [estimate(items, e, main.limits, main.reliable, resampling) for e in estimands]
    return _tidy(items, items, labels, result, "")


def _tidy(
    asked: Items, kept: Items, labels: list[_Labels], results: list[Estimate], few: str
) -> pd.DataFrame:
    """Return the rows of all quantities: each sub-dataset, macro and pooled."""
    sizes = [int((asked.sub == sub).sum()) for sub in range(len(asked.sub_names))]
    of = [*sizes, len(asked), len(asked)]
    rows = []
    for label, one in zip(labels, results, strict=True):
        notes = _why_missing(label.why_undefined, one.value, kept)
        for i, place in enumerate(places(kept)):
            rows.append(
                (
                    label.kind,
                    label.name,
                    label.statistic,
                    place,
                    one.value[i],
                    *one.interval[i],
                    one.n[i],
                    of[i],
                    "; ".join(filter(None, [few, notes[i]])),
                    one.unreliable[i],
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _why_missing(why_undefined: str, values: Array, kept: Items) -> list[str]:
    """Return why each value is NaN, "" where it is not; for macro, what it is without and why."""

    def why(value: float, count: int) -> str:
        return "" if not np.isnan(value) else why_undefined if count else _NO_ITEMS

    counts = [int((kept.sub == sub).sum()) for sub in range(len(kept.sub_names))]
    by_sub = [why(value, count) for value, count in zip(values, counts, strict=False)]
    without: dict[str, list[str]] = {}
    for name, reason in zip(kept.sub_names, by_sub, strict=True):
        if reason:
            without.setdefault(reason, []).append(name)
    some = len(by_sub) > 1
    macro = [
        f"without {', '.join(names)}: {reason}" if some else reason
        for reason, names in without.items()
    ]
    return [*by_sub, "; ".join(macro), why(values[-1], len(kept))]
