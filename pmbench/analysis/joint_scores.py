"""Several metrics on the same items: their scores, and how these vary together.

What two metrics get right they mostly get right together, so the difference of their scores is
known far better than either score. ``joint`` keeps what they share: the covariance of the scores,
and resamples drawn once for all; ``paired`` says what follows for a difference.

Where a score is a mean over items the covariance is that of means in a stratified sample, formed
over clusters of items that are not independent; other statistics take that of their resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, Resampling, resamples, urns
from pmbench.scoring.intervals import Estimand, estimates, places
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import Protocol, Statistic
from pmbench.scoring.statistics import Array, Index, Weights
from pmbench.utils.errors import PmbenchError


@dataclass(frozen=True)
class JointScores:
    """Scores of several metrics on the items that all of them are defined on.

    Values are on the statistic's own scale (shares, not percent); NaN where one is undefined.
    ``macro`` is over the sub-datasets in which every metric has a value.
    """

    names: tuple[str, ...]
    places: tuple[str, ...]  # sub-datasets, "macro", "pooled"
    values: Array  # (metrics, places)
    covariance: Array  # (places, metrics, metrics) of those values
    draws: Array  # (metrics, places, count) resampled together
    n: tuple[int, ...]  # items each place counts
    independent: tuple[int, ...]  # clusters of a place; for macro, of the sub-dataset with fewest
    freedom: tuple[int, ...]  # degrees of freedom of a place's variance
    widening: tuple[float, ...]  # of a resampled variance, see ``covariance_of_draws``

    def at(self, place: str) -> int:
        """Return where a place stands."""
        return self.places.index(place)


def joint(
    protocol: Protocol,
    statistic: Statistic,
    items: Items,
    distances: Mapping[str, Array],
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> JointScores:
    """Return what is known of several metrics, by name, from their distances (n, pairs).

    Items on which a metric is not defined (a row of NaN) are left out for all. Raises PmbenchError
    where no item is left or where a shape does not fit.
    """
    for name, d in distances.items():
        if d.shape != (len(items), len(protocol.pairs)):
            raise PmbenchError(
                f"{name}: distances of shape {d.shape} do not fit; expected "
                f"({len(items)}, {len(protocol.pairs)}), a row an item and a column a pair"
            )
    everywhere = np.all([np.isfinite(d).all(axis=1) for d in distances.values()], axis=0)
    kept = np.flatnonzero(everywhere)
    if len(kept) == 0:
        raise PmbenchError(
            f"{' and '.join(distances)} have no item in common on which all of them are defined; "
            "compare metrics that are defined on the same image sizes"
        )
    items, stack = items.take(kept), [d[kept] for d in distances.values()]
    if statistic.items is not None:
        return of_means(tuple(distances), statistic, items, stack, resampling, places(items))
    return _of_others(tuple(distances), statistic, items, stack, resampling)


# --- statistics that are means over items ---------------------------------------------------------


def of_means(
    names: tuple[str, ...],
    statistic: Statistic,
    items: Items,
    stack: list[Array],
    resampling: Resampling | None,
    where: tuple[str, ...],
) -> JointScores:
    """Return ``joint`` of a statistic that is a mean over items, in some places only.

    All metrics are defined on all items. Without ``resampling`` there are no draws, which take the
    time.
    """
    assert statistic.items is not None
    x = np.stack([statistic.items(d, items.p) for d in stack], axis=1)  # (n, metrics)
    counted = np.flatnonzero(np.isfinite(x).all(axis=1))
    used, x = items.take(counted), x[counted]
    results = [moments(used, x, place) for place in where]
    at = [places(items).index(place) for place in where]
    weights = resamples(items.sub, items.cluster, resampling) if resampling is not None else ()
    drawn = [_means(used, x, w[:, counted])[:, at] for w in weights]
    draws = np.concatenate([np.empty((len(names), len(where), 0)), *drawn], axis=2)
    draws[:, [_clusters(used, place) < 2 for place in where]] = np.nan  # nothing varies
    return JointScores(
        names,
        where,
        values=np.stack([values for values, _ in results], axis=1),
        covariance=np.stack([covariance for _, covariance in results]),
        draws=draws,
        **_sizes(used, where),
    )


def moments(items: Items, x: Array, place: str) -> tuple[Array, Array]:
    """Return the means (metrics,) of x (n, metrics) in a place, and their covariance.

    Each item's deviation from the mean of its sub-dataset, times its share in the place, is summed
    over its cluster. Clusters vary about the mean of their urn, those they are drawn with (see
    ``bootstrap``); with single items urns are sub-datasets, and this is s²/n in each of them.
    A cluster that is alone in its urn does not say how it varies; it is taken to vary as all
    clusters of the place do. That is too much rather than too little ("collapsed strata", Cochran
    1977, 5A.12): sub-datasets that differ in their means add to it. NaN where the place holds one
    cluster only.
    """
    share = _shares(items, place)
    if not share.any():
        return np.full(x.shape[1], np.nan), np.full((x.shape[1],) * 2, np.nan)
    inside = share > 0
    share, part, x = share[inside], items.take(np.flatnonzero(inside)), x[inside]
    strata = np.zeros_like(part.sub) if place == "pooled" else part.sub
    deviation = np.empty_like(x)
    for s in np.unique(strata):
        deviation[strata == s] = x[strata == s] - x[strata == s].mean(axis=0)
    deviation *= share[:, None]
    sums, groups = _clustered(part, deviation)
    covariance = np.zeros((x.shape[1],) * 2)
    for urn in groups:
        if len(urn) == 1:
            continue
        off = sums[urn] - sums[urn].mean(axis=0)
        covariance += off.T @ off * (len(urn) / (len(urn) - 1))
    if singletons := [int(urn[0]) for urn in groups if len(urn) == 1]:
        covariance += _variance_of_singletons(part, share, x, singletons)
    means: Array = share @ x
    return means, covariance


def _variance_of_singletons(items: Items, share: Array, x: Array, singletons: list[int]) -> Array:
    """Return the covariance that clusters add of which each is the only one in its urn.

    A cluster's mean, weighted by shares, varies as those of all clusters do; its part in the score
    is that times its share.
    """
    if len(np.unique(items.cluster)) < 2:
        return np.full((x.shape[1],) * 2, np.nan)
    sums, _ = _clustered(items, share[:, None] * x)
    shares = _clustered(items, share[:, None])[0]
    spread: Array = np.cov(sums / shares, rowvar=False).reshape((x.shape[1],) * 2)
    return spread * float((shares[singletons] ** 2).sum())


def _clustered(items: Items, deviation: Array) -> tuple[Array, list[Index]]:
    """Return the sum of each cluster's items (clusters, metrics), and which share an urn."""
    cluster, of = np.unique(items.cluster, return_inverse=True)
    if len(cluster) == len(items):  # what the rest would come to, item by item
        return deviation, [np.flatnonzero(items.sub == s) for s in np.unique(items.sub)]
    sums = np.zeros((len(cluster), deviation.shape[1]))
    np.add.at(sums, of, deviation)
    return sums, urns(items.sub, of)


def _shares(items: Items, place: str) -> Array:
    """Return each item's weight in the score of a place: (n,), of sum 1; all 0 without items."""
    if place == "pooled":
        return np.full(len(items), 1 / max(len(items), 1))
    size = np.bincount(items.sub, minlength=len(items.sub_names))
    if place == "macro":
        return 1 / (size[items.sub] * np.count_nonzero(size))
    return np.where(items.sub == items.sub_names.index(place), 1 / size[items.sub], 0.0)


def _means(items: Items, x: Array, w: Weights) -> Array:
    """Return the scores under resampling weights w (k, n) in every place: (metrics, places, k)."""
    total = np.empty((len(items.sub_names), len(w), x.shape[1]))
    drawn = np.empty((len(items.sub_names), len(w), 1))
    for s in range(len(items.sub_names)):
        here = items.sub == s
        times = w[:, here].astype(float)
        total[s], drawn[s] = times @ x[here], times.sum(axis=1)[:, None]
    with np.errstate(invalid="ignore"):  # a sub-dataset of which nothing was drawn is NaN
        by_sub, pooled = total / drawn, total.sum(axis=0) / drawn.sum(axis=0)
    some = np.bincount(items.sub, minlength=len(items.sub_names)) > 0
    macro = by_sub[some].mean(axis=0)
    everywhere: Array = np.concatenate([by_sub, macro[None], pooled[None]])
    return everywhere.transpose(2, 0, 1)


# --- all other statistics -------------------------------------------------------------------------


def _of_others(
    names: tuple[str, ...],
    statistic: Statistic,
    items: Items,
    stack: list[Array],
    resampling: Resampling,
) -> JointScores:
    def at(d: Array) -> Callable[[Index, Weights], Array]:
        return lambda index, w: statistic.value(d[index], items.p[index], w)

    counts = [statistic.counts(d, items.p) for d in stack]
    quantities = [Estimand(at(d), used) for d, used in zip(stack, counts, strict=True)]
    result = estimates(items, quantities, resampling)
    subs = len(items.sub_names)
    values = np.stack([estimate.value for estimate in result])
    draws = np.stack([estimate.draws for estimate in result])
    shared = ~np.isnan(values[:, :subs]).any(axis=0)
    values[:, subs], draws[:, subs] = np.nan, np.nan
    if shared.any():
        values[:, subs] = values[:, :subs][:, shared].mean(axis=1)
        draws[:, subs] = draws[:, :subs][:, shared].mean(axis=1)
    used = items.take(np.flatnonzero(np.all(counts, axis=0)))
    sizes = _sizes(used, places(items), {items.sub_names[s] for s in np.flatnonzero(shared)})
    covariance = [covariance_of_draws(draws[:, i], w) for i, w in enumerate(sizes["widening"])]
    return JointScores(
        names,
        places(items),
        values=values,
        covariance=np.stack(covariance),
        draws=draws,
        **sizes,
    )


def covariance_of_draws(draws: Array, widening: float) -> Array:
    """Return the covariance (metrics, metrics) of resampled values (metrics, count).

    Resamples of G clusters vary by (G - 1)/G of what the clusters do. ``widening``, the number of
    clusters over the degrees of freedom, makes up for that; NaN where nothing can. Resamples on
    which a metric has no value are left out; NaN where fewer than two are left.
    """
    sound = draws[:, np.isfinite(draws).all(axis=0)]
    if sound.shape[1] < 2:
        return np.full((len(draws),) * 2, np.nan)
    return widening * np.atleast_2d(np.cov(sound))


# --- what both share ------------------------------------------------------------------------------


class _Sizes(TypedDict):
    n: tuple[int, ...]
    independent: tuple[int, ...]
    freedom: tuple[int, ...]
    widening: tuple[float, ...]


def _sizes(items: Items, where: tuple[str, ...], macro: Collection[str] | None = None) -> _Sizes:
    """Return how many items, independent items, and degrees of freedom places have.

    ``macro`` are the sub-datasets that the macro score is of, where these are not all.
    """
    results = [_size(items, place, items.sub_names if macro is None else macro) for place in where]
    n, independent, freedom, widening = zip(*results, strict=True)
    return {"n": n, "independent": independent, "freedom": freedom, "widening": widening}


def _size(items: Items, place: str, macro: Collection[str]) -> tuple[int, int, int, float]:
    inside = [place] if place in items.sub_names else list(items.sub_names)
    subs = [items.sub_names.index(sub) for sub in inside]
    part = items.take(np.flatnonzero(np.isin(items.sub, subs)))
    counted = [place] if place != "macro" else [sub for sub in inside if sub in macro]
    counts = [count for sub in counted if (count := _clusters(part, sub))]
    independent = min(counts, default=0)
    _, groups = _clustered(part, np.empty((len(part), 0)))
    clusters = sum(map(len, groups))
    # where each cluster is alone in its urn, they vary as all of them do: see ``moments``
    freedom = (clusters - len(groups)) or max(clusters - 1, 0)
    # a sub-dataset of one cluster is the same in all resamples
    widening = clusters / freedom if independent > 1 else float("nan")
    return len(part), independent, freedom, widening


def _clusters(items: Items, place: str) -> int:
    """Return how many clusters there are in a sub-dataset; in others, of all items."""
    if place not in items.sub_names:
        return len(np.unique(items.cluster))
    return len(np.unique(items.cluster[items.sub == items.sub_names.index(place)]))
