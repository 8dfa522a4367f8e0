"""Bootstrap resamples of items, stratified by sub-dataset and drawn in whole clusters.

The same seed gives the same resamples whatever the metric, so two metrics on the same items are
resampled together (paired).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pmbench.scoring.clusters import memberships, urns
from pmbench.scoring.items import Items
from pmbench.scoring.statistics import Array, Index, Weights, ones

_CHUNK = 2**22  # weights handed out at once: 33 MB as float64
_KEPT = 2**28  # bytes of weights kept for the next metric; 1,000 × 36,344 items take 36 MB

Counts = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimand:
    """One number of a set of items: ``at(index, w)`` under resampling weights w (resamples, n).

    ``items`` (n,) are the items' scores where it is their mean, NaN where one does not count.
    """

    at: Callable[[Index, Weights], Array]
    used: Mask  # which items it counts
    items: Array | None = None


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn: ``count`` resamples, from the random stream ``seed``."""

    count: int = 1000
    seed: int = 0


DEFAULT_RESAMPLING = Resampling()


@dataclass(frozen=True)
class BootstrapSamples:
    """The resampled values of the statistics whose intervals are made of them."""

    resampling: Resampling
    places: tuple[str, ...]  # sub-datasets, "macro", "pooled"
    values: dict[str, Array]  # statistic -> (places, count); NaN where it is undefined


def resamples(
    strata: NDArray[np.int64],
    clusters: NDArray[np.int64],
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> Iterator[Counts]:
    """Yield item weights, (k, n), ``resampling.count`` rows in all: how often each item is drawn.

    ``strata`` (n,) is each item's sub-dataset; ``clusters`` (n, j) the clusters that it is in, -1
    for none, all different where every item stands alone. Whole clusters are drawn with
    replacement. Clusters that touch the same sub-datasets form one urn, as many as it holds are
    drawn from it: with single items that is the stratified bootstrap, with clusters across
    sub-datasets each sub-dataset still keeps its share.

    Of items in several clusters, j at most, the weight is j plus what each of the item's clusters
    was drawn more than once. It varies by 1/j of what it should (see ``resampled``).
    """
    rows = max(1, _CHUNK // len(strata))
    clusters = np.ascontiguousarray(clusters, np.int64)
    if resampling.count * len(strata) > _KEPT:
        yield from _drawn(strata, clusters, resampling, rows)
        return
    weights = _kept(strata.tobytes(), clusters.tobytes(), resampling)
    for start in range(0, resampling.count, rows):
        yield weights[start : start + rows]


@lru_cache(maxsize=1)
def _kept(strata: bytes, clusters: bytes, resampling: Resampling) -> Counts:
    """Return all weights, (count, n): the metrics of a table ask for the same ones."""
    of_items = np.frombuffer(strata, np.int64), np.frombuffer(clusters, np.int64)
    weights = np.concatenate(list(_drawn(*of_items, resampling, rows=100)))
    weights.flags.writeable = False
    return weights


def _drawn(
    strata: NDArray[np.int64], clusters: NDArray[np.int64], resampling: Resampling, rows: int
) -> Iterator[Counts]:
    """Draw weights, ``rows`` at once; how many makes no difference to them.

    An item is drawn 256 times, which would be too much for a byte, once in 10⁵⁰⁰ resamples.
    """
    rng = np.random.default_rng(resampling.seed)
    members = clusters.reshape(len(strata), -1)
    item, column = np.nonzero(members >= 0)
    _, cluster = np.unique(members[item, column], return_inverse=True)
    groups = urns(strata[item], cluster)
    for start in range(0, resampling.count, rows):
        k = min(rows, resampling.count - start)
        times = np.zeros((k, int(cluster.max()) + 1), np.uint8)
        for row in times:
            for urn in groups:
                row[urn] = np.bincount(rng.integers(len(urn), size=len(urn)), minlength=len(urn))
        if members.shape[1] == 1:
            yield times[:, cluster]
            continue
        weights = np.repeat((members < 0).sum(axis=1, dtype=np.uint8)[None], k, axis=0)
        for j in range(members.shape[1]):
            weights[:, item[column == j]] += times[:, cluster[column == j]]
        yield weights


# --- scores of resamples --------------------------------------------------------------------------


def resampled(items: Items, estimands: Sequence[Estimand], resampling: Resampling) -> Array:
    """Return scores of resamples: (estimands, places, count), places as ``places`` has them.

    The macro score is the mean of the sub-datasets in which a score is defined; that of a resample
    is the mean of the same ones, and NaN where one of them is undefined in it.
    """
    groups = [np.flatnonzero(items.sub == sub) for sub in range(len(items.sub_names))]
    plain = [_parts(one, groups, ones(len(items))) for one in estimands]
    within = [~np.isnan(parts[:-1, 0]) for parts in plain]
    drawn: list[list[Array]] = [[] for _ in estimands]
    clusters = memberships(items)
    for w in resamples(items.sub, clusters, resampling):
        for one, defined, result in zip(estimands, within, drawn, strict=True):
            result.append(_with_macro(_parts(one, groups, w), defined))
    draws = np.stack([np.hstack(result) for result in drawn])
    if clusters.shape[1] == 1:
        return draws
    # items in several clusters vary too little in ``resamples``
    values = np.stack([_with_macro(*each) for each in zip(plain, within, strict=True)])
    return np.asarray(values + clusters.shape[1] * (draws - values))


def _parts(estimand: Estimand, groups: list[Index], w: Weights) -> Array:
    """Return a score in each sub-dataset and pooled: (groups + 1, resamples)."""
    everything = np.arange(w.shape[1])
    none = np.full(len(w), np.nan)
    return np.array(
        [
            estimand.at(index, _columns(w, index)) if len(index) else none
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
