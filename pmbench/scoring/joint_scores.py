"""Scores of the same items, of one metric or of several, and how they vary together.

What two metrics get right they mostly get right together, so the difference of their scores is
known far better than either score. ``joint`` keeps what they share, place by place: ``intervals``
says what follows for a score, ``analysis.paired`` what follows for a difference.

All comes from how far each cluster of items moves a score. Where a score is a mean over items that
is the sum of the items' deviations; elsewhere it is what the score loses without the cluster (the
jackknife). Only where there are very many clusters the covariance is that of resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, Estimand, Mask, Resampling, resampled
from pmbench.scoring.clusters import (
    Sampling,
    crossing,
    effective,
    effective_by_sub_dataset,
    group_sums,
    independent,
    products_of_shared,
    sampling,
)
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import Protocol, Statistic
from pmbench.scoring.statistics import Array, Index, Weights, ones
from pmbench.utils.errors import PmbenchError

ALPHA = 0.05  # of the tests that are made of these scores
_FEW = 30  # effective clusters: with fewer, of unlike sizes, Student's t is wrong too often
_MOST = 1000  # clusters left out one by one: as many values as a bootstrap takes
_LIKE = 0.8  # of the degrees of freedom of clusters of one size: from there on they are alike
_FEWEST = 4  # effective clusters, where items are in several each
_FLIPS = 99_999


@dataclass(frozen=True)
class JointScores:
    """Scores of several metrics in one place, on the items that all of them are defined on.

    Values are on the statistic's own scale (shares, not percent); NaN where one is undefined.
    """

    names: tuple[str, ...]
    place: str  # a sub-dataset, "macro" (over those in which every metric has a value), "pooled"
    values: Array  # (metrics,)
    covariance: Array  # (metrics, metrics) of those values; NaN where it is not known
    freedom: float  # degrees of freedom of the covariance
    n: int  # items
    independent: float  # effective clusters; for macro, of the sub-dataset with fewest
    # where Student's t is wrong: what each cluster adds to the values (clusters, metrics), and its
    # share in the place (clusters,)
    additions: Array | None = None
    shares: Array | None = None
    draws: Array | None = (
        None  # resampled values (metrics, count), where the covariance is of these
    )
    unknown: str = ""  # why there is no test

    @cached_property
    def flips(self) -> tuple[Array, Array]:
        """The values, (flips, metrics), and the sum of shares, (flips,), under random signs.

        If a difference is as likely to be in favour of one metric as of the other in every cluster,
        turning the sign of what some clusters add gives one that was as likely to come out. The
        first row is what did come out.
        """
        assert self.additions is not None
        assert self.shares is not None
        added = np.column_stack([self.additions, self.shares])
        flipped = np.concatenate([added.sum(axis=0)[None], *_flipped(added)])
        return flipped[:, :-1], flipped[:, -1]


def _flipped(added: Array) -> Iterator[Array]:
    """Yield the sums of rows of ``added`` under signs: of all but the plain ones, or at random."""
    count = len(added)
    if 2**count - 1 <= _FLIPS:
        numbers = np.arange(1, 2**count)[:, None]
        yield (1.0 - 2 * (numbers >> np.arange(count) & 1)) @ added
        return
    rng, rows = np.random.default_rng(0), max(1, 2**22 // count)
    for start in range(0, _FLIPS, rows):
        shape = (min(rows, _FLIPS - start), count)
        yield (2.0 * rng.integers(0, 2, shape, np.int8) - 1) @ added


def joint(
    protocol: Protocol,
    statistic: Statistic,
    items: Items,
    distances: Mapping[str, Array],
    resampling: Resampling = DEFAULT_RESAMPLING,
    *,
    where: Sequence[str] | None = None,
    stored: Mapping[str, Array] | None = None,
) -> dict[str, JointScores]:
    """Return what is known of several metrics, by name, from their distances (n, pairs): by place.

    Items on which a metric is not defined (a row of NaN) are left out for all. ``where`` and
    ``stored`` are as for ``joint_scores``. Raises PmbenchError where no item is left or where a
    shape does not fit.
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
    items = items.take(kept)
    estimands = [estimand(statistic, d[kept], items.p) for d in distances.values()]
    return joint_scores(tuple(distances), items, estimands, resampling, where, stored)


def estimand(statistic: Statistic, distances: Array, p: Array) -> Estimand:
    """Return a statistic of distances (n, pairs) and judgements p (n,)."""
    return Estimand(
        lambda index, w: statistic.value(distances[index], p[index], w),
        statistic.counts(distances, p),
        statistic.items(distances, p) if statistic.items is not None else None,
    )


def joint_scores(
    names: Sequence[str],
    items: Items,
    estimands: Sequence[Estimand],
    resampling: Resampling = DEFAULT_RESAMPLING,
    where: Sequence[str] | None = None,
    stored: Mapping[str, Array] | None = None,
) -> dict[str, JointScores]:
    """Return numbers of the same items, called ``names``, and how they vary together: by place.

    ``where`` are the places that are asked for, all if None. ``stored`` are resampled values,
    (metrics, count) by place, where there are some already.
    """
    scoring = _Scoring(tuple(names), items, estimands, resampling, stored or {})
    return {place: scoring.at(place) for place in where or places(items)}


def places(items: Items) -> tuple[str, ...]:
    """Return the names of all places: sub-datasets, "macro", "pooled"."""
    return (*items.sub_names, "macro", "pooled")


@dataclass(frozen=True)
class _Scoring:
    """Numbers of the same items."""

    names: tuple[str, ...]
    items: Items
    estimands: Sequence[Estimand]
    resampling: Resampling
    stored: Mapping[str, Array]
    known: dict[tuple[int, int], Array] = field(default_factory=dict)

    def at(self, place: str) -> JointScores:
        """Return the numbers in one place."""
        parts = self._parts(place)
        wholes = [self._values(part, ones(len(part)))[:, 0] for part in parts]
        index = np.sort(np.concatenate([*parts, np.empty(0, np.int64)]))
        items = self.items.take(index)
        items = replace(items, further=crossing(items.cluster, items.further))
        values = np.mean(wholes, axis=0) if parts else np.full(len(self.names), np.nan)
        scores = self._plain(place, items, values)
        if np.isnan(values).any():
            return replace(scores, unknown="a metric has no score")
        drawn = sampling(items, place)
        # what is left out: clusters, or items where these are in several
        unit = drawn.cluster if items.further is None else np.arange(len(items))
        units = [
            np.unique(unit[np.searchsorted(index, part)], return_inverse=True) for part in parts
        ]
        if len(drawn.sizes) < 2:
            return replace(scores, unknown="all items are of one cluster")
        if items.further is not None and (few := effective_by_sub_dataset(items).min()) < _FEWEST:
            why = "items are in several clusters each, and those of a sub-dataset count as"
            return replace(scores, unknown=f"{why} {few:.3g} only")
        if not self._are_means:
            if scores.independent == 1:
                return replace(scores, unknown="a sub-dataset is of one cluster")
            if max(len(rows) for rows, _ in units) > _MOST:
                return self._of_resamples(scores, items, drawn)
        deviations, additions = np.zeros((2, int(unit.max()) + 1, len(self.names)))
        for part, whole, (rows, code) in zip(parts, wholes, units, strict=True):
            share = np.bincount(code)[:, None] / len(part)
            off = self._deviations(part, whole, code, share)
            deviations[rows] += off / len(parts)
            additions[rows] += (off + share * whole) / len(parts)
        if np.isnan(deviations).any():
            return replace(scores, unknown="without one of the clusters a metric has no score")
        if items.further is not None:
            counts = effective_by_sub_dataset(items)
            deviations *= np.sqrt(counts / (counts - 1))[:, None]
            covariance = products_of_shared(items, deviations)
            return replace(scores, covariance=covariance, freedom=drawn.freedom)
        # what is lost without each is not all of a score that is no mean
        additions += drawn.sizes[:, None] * (values - additions.sum(axis=0))
        return _clustered(scores, drawn, deviations, additions)

    @cached_property
    def _are_means(self) -> bool:
        return all(one.items is not None for one in self.estimands)

    @cached_property
    def _used(self) -> Mask:
        used: Mask = np.all([one.used for one in self.estimands], axis=0)
        return used

    def _plain(self, place: str, items: Items, values: Array) -> JointScores:
        """Return scores of items of which it is not known yet how they vary."""
        counted = self._used
        if place in self.items.sub_names:
            counted = counted & (self.items.sub == self.items.sub_names.index(place))
        subs = np.unique(items.sub).tolist() if place == "macro" else []
        each = [items.take(np.flatnonzero(items.sub == s)) for s in subs] or [items]
        nothing = np.full((len(self.names),) * 2, np.nan)
        return JointScores(
            self.names, place, values, nothing, 0.0, int(counted.sum()), min(map(independent, each))
        )

    def _parts(self, place: str) -> list[Index]:
        """Return the items that have a number together; that of macro is the mean of several.

        It is of the sub-datasets in which every metric has a value.
        """
        if place == "pooled":
            parts = [np.flatnonzero(self._used)]
        else:
            names = self.items.sub_names if place == "macro" else (place,)
            subs = [self.items.sub_names.index(name) for name in names]
            parts = [np.flatnonzero(self._used & (self.items.sub == sub)) for sub in subs]
        parts = [part for part in parts if len(part)]
        if place != "macro":
            return parts
        return [part for part in parts if not np.isnan(self._values(part, ones(len(part)))).any()]

    def _values(self, index: Index, w: Weights) -> Array:
        """Return the numbers of some items under weights w (k, items): (metrics, k)."""
        return np.array([one.at(index, w) for one in self.estimands])

    def _deviations(self, part: Index, whole: Array, code: Index, share: Array) -> Array:
        """Return how far each cluster moves the numbers of some items, (clusters, metrics).

        ``whole`` (metrics,) are these numbers, ``code`` (items,) the clusters, ``share`` (clusters,
        1) how large they are. Of a mean that is the sum of the deviations in a cluster; else what
        is lost without it times the share of the others, which comes to the same for a mean.
        """
        if self._are_means:
            x = np.stack([one.items[part] for one in self.estimands if one.items is not None], 1)
            return group_sums(code, (x - whole) / len(part))
        key = int(part[0]), len(part)  # which no other part has
        if key not in self.known:
            without = (code != np.arange(len(share))[:, None]).astype(np.uint8)
            self.known[key] = (whole - self._values(part, without).T) * (1 - share)
        return self.known[key]

    def _of_resamples(self, scores: JointScores, items: Items, drawn: Sampling) -> JointScores:
        """Return the scores with the covariance of resampled ones."""
        draws = self._draws(scores.place, items) if not self.stored else self.stored[scores.place]
        scores = replace(scores, draws=draws)
        sound = draws[:, np.isfinite(draws).all(axis=0)]
        if sound.shape[1] < 2:
            why = "there are too few resamples in which all metrics have a score"
            return replace(scores, unknown=why)
        covariance = np.atleast_2d(np.cov(sound))
        if items.further is not None:
            fewest = effective_by_sub_dataset(items).min()
            covariance *= fewest / (fewest - 1)
            return replace(scores, covariance=covariance, freedom=drawn.freedom)
        if any(len(urn) == 1 for urn in drawn.urns):  # which is the same in all resamples
            return replace(scores, unknown="a sub-dataset is of one cluster")
        scores = replace(scores, covariance=drawn.widening * covariance, freedom=drawn.freedom)
        return scores if _is_students(drawn) else replace(scores, unknown=_unlike(drawn))

    def _draws(self, place: str, items: Items) -> Array:
        """Return resampled numbers (metrics, count)."""
        if place != "macro":
            return self._resampled[:, places(self.items).index(place)]
        return np.asarray(self._resampled[:, np.unique(items.sub)].mean(axis=1))

    @cached_property
    def _resampled(self) -> Array:
        return resampled(self.items, self.estimands, self.resampling)


# --- what clusters do -----------------------------------------------------------------------------


def _clustered(
    scores: JointScores, drawn: Sampling, deviations: Array, additions: Array
) -> JointScores:
    """Return scores with their covariance, from what each cluster adds to them (clusters, metrics).

    ``deviations`` are how far that is from the cluster's share of the score. Clusters vary about
    their share of what their urn adds. The deviation of a large one is small, since the score is
    largely its own: divided by the share of the others it is what the score loses without it, and
    the sum of squares is the jackknife's (CV3 in MacKinnon, Nielsen and Webb 2023). With single
    items urns are sub-datasets, and this is s²/n in each of them.

    A cluster that is alone in its urn does not say how it varies; it is taken to vary as all
    clusters of the place do. That is too much rather than too little ("collapsed strata", Cochran
    1977, 5A.12): sub-datasets that differ in their means add to it.
    """
    sizes, k = drawn.sizes, len(scores.names)
    covariance = np.zeros((k, k))
    for urn in drawn.urns:
        if len(urn) > 1:
            share = (sizes[urn] / sizes[urn].sum())[:, None]
            off = (deviations[urn] - share * deviations[urn].sum(axis=0)) / (1 - share)
            covariance += off.T @ off * ((len(urn) - 1) / len(urn))
    if single := [int(urn[0]) for urn in drawn.urns if len(urn) == 1]:
        spread = np.cov(additions / sizes[:, None], rowvar=False).reshape(k, k)
        covariance += spread * float((sizes[single] ** 2).sum())
    scores = replace(scores, covariance=covariance, freedom=drawn.freedom)
    if _is_students(drawn):
        return scores
    if 2.0 ** (1 - len(sizes)) > ALPHA:  # the smallest p that signs can give: all the same
        return replace(scores, unknown=_unlike(drawn))
    return replace(scores, additions=additions, shares=sizes)


def _is_students(drawn: Sampling) -> bool:
    """Say whether Student's t is right: clusters are many, or of about one size."""
    return drawn.freedom >= min(_FEW - 1, _LIKE * drawn.of_like_size)


def _unlike(drawn: Sampling) -> str:
    count = len(drawn.sizes)
    return f"{count:,} clusters of unlike sizes count as {effective(drawn.sizes):.3g} only"
