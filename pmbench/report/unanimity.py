"""Agreement against how unanimous people were: items in bins, and a mean in each.

Of a metric that errs mostly where people themselves are divided, agreement rises with unanimity as
that of people does; one that errs where everybody agrees shows here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmbench.agreement import Array
from pmbench.pack import Items
from pmbench.quantities import RELIABLE

_MOST = 9  # votes an item up to which every count of votes has a bin of its own
_TENTHS = [0.5, 0.6, 0.7, 0.8, 0.9]


@dataclass(frozen=True)
class Bin:
    """Items on which people were equally unanimous."""

    label: str  # "4 of 5", "80–90 %", "all"
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Mean:
    """A mean over the items of one bin, and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    unreliable: bool = False  # the interval rests on too few independent items


def majorities(items: Items) -> list[Bin]:
    """Return the items by the share of people in the majority, from divided to unanimous."""
    share = np.maximum(items.p, 1 - items.p)
    return _bins(share, items.votes, _TENTHS)


def agreements(items: Items) -> list[Bin]:
    """Return the items by the share of people p itself, from nobody to all."""
    return _bins(items.p.copy(), items.votes, [0.0, 0.2, 0.4, 0.6, 0.8])


def _bins(share: Array, votes: NDArray[np.int32], edges: list[float]) -> list[Bin]:
    if len(set(votes.tolist())) == 1 and 0 < votes[0] <= _MOST:
        n = int(votes[0])
        counts = np.rint(share * n).astype(int)
        groups = [(f"{k} of {n}", counts == k) for k in sorted(set(counts.tolist()))]
    else:
        uppers = [*edges[1:], 1.0]
        groups = [
            (f"{100 * low:.0f}–{100 * high:.0f} %", (share >= low) & (share < high))
            for low, high in zip(edges, uppers, strict=True)
        ]
        groups.append(("all", share >= 1))
    return [Bin(label, np.flatnonzero(mask)) for label, mask in groups if mask.any()]


def mean(values: Array, items: Items, group: Bin) -> Mean | None:
    """Return the mean of per-item ``values`` (n,) over a bin; None where all of them are NaN.

    The interval is Student's, over clusters: items of one count as one draw. Where the bin holds a
    single cluster it has no width that could be known: NaN.
    """
    from scipy.special import stdtrit  # a tenth of a second of import

    index = group.index[np.isfinite(values[group.index])]
    if len(index) == 0:
        return None
    x = values[index]
    middle = float(x.mean())
    _, cluster = np.unique(items.cluster[index], return_inverse=True)
    sums = np.bincount(cluster, weights=x - middle)
    if len(sums) < 2:
        return Mean(middle, float("nan"), float("nan"), len(index))
    variance = (sums**2).sum() * len(sums) / (len(sums) - 1) / len(index) ** 2
    error = float(stdtrit(len(sums) - 1, 0.975) * np.sqrt(variance))
    return Mean(middle, middle - error, middle + error, len(index), len(sums) < RELIABLE)


def over(bins: list[Bin], items: Items, values: Array) -> list[Mean | None]:
    """Return the mean of per-item ``values`` (n,) in each bin."""
    return [mean(values, items, group) for group in bins]


def farness(d: Array) -> Array:
    """Return the share of items that are nearer, ties by halves: (n,) from 0, the nearest, to 1.

    Distances of metrics have no common unit; their ranks have. NaN stays NaN.
    """
    sound = np.isfinite(d)
    found = np.full(len(d), np.nan)
    x = d[sound]
    if len(x):
        order = np.sort(x)
        below = np.searchsorted(order, x, "left")
        upto = np.searchsorted(order, x, "right")
        found[sound] = (below + (upto - below - 1) / 2) / max(len(x) - 1, 1)
    return found
