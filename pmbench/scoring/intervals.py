"""Numbers of a set of items, in every place they are told of: their values, and how sure they are.

A place is a sub-dataset, "macro" (the plain mean of the sub-datasets) or "pooled" (all items at
once). The macro value is the mean of the sub-datasets in which the number is defined; that of a
resample is the mean of the same ones, and there is none where one of them is undefined in it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from pmbench.scoring.bootstrap import Resampling, interval, resamples
from pmbench.scoring.items import Items
from pmbench.scoring.statistics import Array, Index, Weights, ones
from pmbench.utils.system import cores

# With fewer independent items in a sub-dataset, a 95 % interval is called unreliable. Simulated,
# those of 2AFC hold the true value in 88 to 91 % of cases with 10 items, 93 to 94 % with 30, and 94
# to 95 % with 100 (tests/scoring/test_interval_coverage.py).
RELIABLE = 30

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimand:
    """One number of a set of items: ``at(index, w)`` under resampling weights w (resamples, n)."""

    at: Callable[[Index, Weights], Array]
    used: Mask  # which items it counts


@dataclass(frozen=True)
class Estimate:
    """A quantity in every place, as ``places`` orders them."""

    value: Array  # (places,), NaN where undefined
    draws: Array  # (places, resamples), NaN where undefined; of a single cluster NaN
    interval: Array  # (places, 2), NaN where there is none
    unreliable: Mask  # (places,): the interval may not cover what it says
    n: Index  # (places,), how many items it counts


def places(items: Items) -> tuple[str, ...]:
    """Return the names of all places: sub-datasets, "macro", "pooled"."""
    return (*items.sub_names, "macro", "pooled")


def estimates(items: Items, quantities: list[Estimand], resampling: Resampling) -> list[Estimate]:
    """Return each quantity's values and intervals, all from the same resamples."""
    groups = [np.flatnonzero(items.sub == sub) for sub in range(len(items.sub_names))]
    plain = [_parts(q, groups, ones(len(items))) for q in quantities]
    within = [~np.isnan(part[:-1, 0]) for part in plain]
    values = [_with_macro(*each)[:, 0] for each in zip(plain, within, strict=True)]
    drawn = [[np.empty((len(groups) + 2, 0))] for _ in quantities]
    varies = np.zeros(len(items), bool)
    with ThreadPoolExecutor(cores()) as threads:  # NumPy computes beside other threads
        for w in resamples(items.sub, items.cluster, resampling) if len(items) else ():
            varies |= (w != 1).any(axis=0)
            parts = threads.map(_parts, quantities, repeat(groups), repeat(w))
            for part, defined, result in zip(parts, within, drawn, strict=True):
                result.append(_with_macro(part, defined))
    # a single item or cluster has no interval: every resample is the same, which says nothing
    some = np.array([varies[group].any() for group in groups] + [varies.any()] * 2)
    return [
        _estimate(q, items, groups, value, np.where(some[:, None], np.hstack(result), np.nan))
        for q, value, result in zip(quantities, values, drawn, strict=True)
    ]


def _parts(quantity: Estimand, groups: list[Index], w: Weights) -> Array:
    """Return a quantity in each sub-dataset and pooled: (groups + 1, resamples)."""
    everything = np.arange(w.shape[1])
    none = np.full(len(w), np.nan)
    return np.array(
        [
            quantity.at(index, _columns(w, index)) if len(index) else none
            for index in (*groups, everything)
        ]
    )


def _columns(w: Weights, index: Index) -> Weights:
    """Return the weights of some items; those of a sub-dataset mostly stand together."""
    first, last = index[0], index[-1]
    together = last - first == len(index) - 1
    return w[:, first : last + 1] if together else w.take(index, axis=1)


def _with_macro(parts: Array, within: Mask) -> Array:
    """Return sub-datasets, macro and pooled; macro is the mean of the sub-datasets ``within``."""
    chosen = parts[:-1][within]
    macro = chosen.mean(axis=0) if len(chosen) else np.full(parts.shape[1], np.nan)
    return np.vstack([parts[:-1], macro, parts[-1]])


def _estimate(
    quantity: Estimand, items: Items, groups: list[Index], value: Array, draws: Array
) -> Estimate:
    used = [group[quantity.used[group]] for group in groups]
    pooled = np.flatnonzero(quantity.used)
    few = [_independent(items, index) < RELIABLE for index in used]
    in_macro = any(short for short, v in zip(few, value, strict=False) if not np.isnan(v))
    ends = np.array([interval(row) for row in draws])
    unreliable = np.array([*few, in_macro, _independent(items, pooled) < RELIABLE])
    unreliable |= np.isnan(draws).any(axis=1)  # undefined in some resamples, which are left out
    n = np.array([len(index) for index in (*used, pooled, pooled)])
    return Estimate(value, draws, ends, unreliable & ~np.isnan(ends[:, 0]), n)


def _independent(items: Items, index: Index) -> int:
    """Return how many independent items, or clusters of items, there are."""
    return len(np.unique(items.cluster[index]))
