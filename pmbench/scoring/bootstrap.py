"""Bootstrap resamples of items, stratified by sub-dataset and drawn in whole clusters.

The same seed gives the same resamples whatever the metric, so two metrics on the same items are
resampled together (paired).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pmbench.scoring.statistics import Array

LEVEL = 0.95
_CHUNK = 2**22  # weights handed out at once: 33 MB as float64
_KEPT = 2**28  # bytes of weights kept for the next metric; 1,000 × 36,344 items take 36 MB

Counts = NDArray[np.uint8]


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn: ``count`` resamples, from the random stream ``seed``."""

    count: int = 1000
    seed: int = 0


DEFAULT_RESAMPLING = Resampling()


@dataclass(frozen=True)
class BootstrapSamples:
    """The resampled values of every statistic that has an interval."""

    resampling: Resampling
    places: tuple[str, ...]  # sub-datasets, "macro", "pooled"
    values: dict[str, Array]  # statistic -> (places, count); NaN where it is undefined


def resamples(
    strata: NDArray[np.int64],
    clusters: NDArray[np.int64],
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> Iterator[Counts]:
    """Yield item weights, (k, n), ``how.count`` rows in all: how often each item is drawn.

    ``strata`` (n,) is each item's sub-dataset; ``clusters`` (n,) numbers groups of items that are
    not independent (items cut from one photograph), all different where every item stands alone.
    Whole clusters are drawn with replacement. Clusters that touch the same sub-datasets form one
    urn, as many as it holds are drawn from it: with single items that is the stratified bootstrap,
    with clusters across sub-datasets each sub-dataset still keeps its share.
    """
    rows = max(1, _CHUNK // len(strata))
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
    _, cluster = np.unique(clusters, return_inverse=True)
    groups = urns(strata, cluster)
    for start in range(0, resampling.count, rows):
        k = min(rows, resampling.count - start)
        times = np.zeros((k, int(cluster.max()) + 1), np.uint8)
        for row in times:
            for urn in groups:
                row[urn] = np.bincount(rng.integers(len(urn), size=len(urn)), minlength=len(urn))
        yield times[:, cluster]


def urns(strata: NDArray[np.int64], cluster: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the clusters grouped by the set of strata that their items are in.

    A cluster that is alone in its group would be in every resample, as if it were certain; it joins
    the groups that it shares a stratum with.
    """
    touched: dict[int, set[int]] = {}
    for c, s in zip(cluster.tolist(), strata.tolist(), strict=True):
        touched.setdefault(c, set()).add(s)
    urns: dict[frozenset[int], list[int]] = {}
    for c, where in touched.items():
        urns.setdefault(frozenset(where), []).append(c)
    for pattern in list(urns):
        if pattern in urns and len(urns[pattern]) == 1:
            near = [other for other in urns if other & pattern]
            joined = sorted(c for other in near for c in urns.pop(other))
            urns.setdefault(frozenset[int]().union(*near), []).extend(joined)
    return [np.array(sorted(urn)) for urn in urns.values()]


def interval(values: Array) -> tuple[float, float]:
    """Return the percentile interval of resampled values (count,), 95 %.

    Resamples on which the statistic is undefined are left out; (NaN, NaN) where all are.
    """
    sound = values[np.isfinite(values)]
    if len(sound) == 0:
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(sound, [tail, 1 - tail])
    return float(low), float(high)
