"""Bootstrap resamples of items, stratified by sub-dataset and drawn in whole clusters.

The same seed gives the same resamples whatever the metric, so two metrics on the same items are
resampled together (paired).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pmbench.agreement import Array

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95
_CHUNK = 100  # resamples held at once: 100 × 36,344 items × 8 bytes = 29 MB


def resamples(
    strata: NDArray[np.int64],
    clusters: NDArray[np.int64],
    count: int = RESAMPLES,
    seed: int = SEED,
) -> Iterator[Array]:
    """Yield item weights, (k, n) with k ≤ 100 and ``count`` rows in all: times an item is drawn.

    ``strata`` (n,) is each item's sub-dataset; ``clusters`` (n,) numbers groups of items that are
    not independent (items cut from one photograph), all different where every item stands alone.
    Whole clusters are drawn with replacement. Clusters that touch the same sub-datasets form one
    urn, as many as it holds are drawn from it: with single items that is the stratified bootstrap,
    with clusters across sub-datasets each sub-dataset still keeps its share.
    """
    rng = np.random.default_rng(seed)
    _, cluster = np.unique(clusters, return_inverse=True)
    urns = _urns(strata, cluster)
    for start in range(0, count, _CHUNK):
        drawn = np.zeros((min(_CHUNK, count - start), int(cluster.max()) + 1))
        for urn in urns:
            fair = np.full(len(urn), 1 / len(urn))
            drawn[:, urn] = rng.multinomial(len(urn), fair, size=len(drawn))
        yield drawn[:, cluster]


def _urns(strata: NDArray[np.int64], cluster: NDArray[np.int64]) -> list[NDArray[np.int64]]:
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
