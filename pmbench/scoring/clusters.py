"""Which items vary together, and how many of them count as independent.

Items of one cluster are not independent: patches of one photograph, or triplets that share a
image. Whatever is said of chance is said of clusters. Those that touch the same sub-datasets are
drawn from one urn.

Clusters of unlike sizes say less than their number: c of them, of m items each, say as much as
(Σm)²/Σm² of like sizes do (Kish 1965).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pmbench.scoring.items import Items
from pmbench.scoring.statistics import Array, Index


@dataclass(frozen=True)
class Sampling:
    """How the items of a score were drawn."""

    cluster: Index  # (n,), the cluster of each, from 0
    sizes: Array  # (clusters,), the share of each in the score; their sum is 1
    urns: list[Index]  # clusters that are drawn together
    # degrees of freedom of the variance of the score, if what clusters add varies as their shares
    # do: those of urns are their effective clusters less one
    freedom: float
    of_like_size: float  # what that would be if all clusters of an urn were of one size

    @property
    def widening(self) -> float:
        """By how much the variance of resamples is too small: G clusters vary by (G - 1)/G."""
        parts = [((self.sizes[u] ** 2).sum(), len(u)) for u in self.urns if len(u) > 1]
        whole = sum(v for v, _ in parts)
        return float(sum(v * g / (g - 1) for v, g in parts) / whole) if whole else 1.0


def sampling(items: Items, place: str) -> Sampling:
    """Return how the score of all these items was drawn: of one sub-dataset, "macro", "pooled"."""
    share = _shares(items, place)
    _, cluster = np.unique(items.cluster, return_inverse=True)
    sizes: Array = np.bincount(cluster, share).astype(np.float64)
    if items.further is not None:
        return Sampling(cluster, sizes, [], *[_freedom_of_shared(items, share)] * 2)
    groups = urns(items.sub, cluster)
    variances = [float((sizes[urn] ** 2).sum()) for urn in groups]
    counts = [effective(sizes[urn]) for urn in groups]
    lengths = [float(len(urn)) for urn in groups]
    freedom = _satterthwaite(variances, counts, effective(np.bincount(cluster)))
    return Sampling(
        cluster, sizes, groups, freedom, _satterthwaite(variances, lengths, float(len(sizes)))
    )


def _satterthwaite(variances: list[float], counts: list[float], whole: float) -> float:
    """Return the degrees of freedom of a sum of variances (Satterthwaite 1946).

    Each rests on as many clusters as ``counts`` says, and all of them on ``whole``. A single
    cluster is taken to vary as all clusters do.
    """
    pieces = single = 0.0
    for variance, count in zip(variances, counts, strict=True):
        if count > 1:
            pieces += variance**2 / (count - 1)
        else:
            single += variance
    if single and whole > 1:
        pieces += single**2 / (whole - 1)
    return round(min(sum(variances) ** 2 / pieces, max(whole - 1, 0)), 9) if pieces else 0.0


def _shares(items: Items, place: str) -> Array:
    """Return each item's weight in the score of a place: (n,), of sum 1; all 0 without items."""
    if place == "pooled":
        return np.full(len(items), 1 / max(len(items), 1))
    size = np.bincount(items.sub, minlength=len(items.sub_names))
    if place == "macro":
        return 1 / (size[items.sub] * np.count_nonzero(size))
    return np.where(items.sub == items.sub_names.index(place), 1 / size[items.sub], 0.0)


def effective(sizes: NDArray[np.generic]) -> float:
    """Return how many clusters of like size say as much as these do: (Σm)²/Σm²; 0 for none."""
    m = sizes.astype(np.float64)
    count = float(m.sum() ** 2 / (m**2).sum()) if len(m) else 0.0
    return round(count, 9)  # 30 of one size are 30, and not a little less


def independent(items: Items) -> float:
    """Return how many independent items these amount to: effective clusters, or their number.

    n items of which p pairs share a cluster, each with itself and in both orders, amount to n²/p:
    with one cluster each that is (Σm)²/Σm².
    """
    if items.further is None:
        return effective(np.unique(items.cluster, return_counts=True)[1])
    n = len(items)
    pairs = products_of_shared(items, np.ones((n, 1)))[0, 0]
    return round(n**2 / float(pairs), 9) if n else 0.0


def group_sums(group: Index, values: Array) -> Array:
    """Return the sums of values (n, metrics) over groups numbered from 0: (groups, metrics)."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.add.reduceat(values[order], starts, axis=0) if len(group) else values[:0]


def urns(strata: Index, cluster: Index) -> list[Index]:
    """Return the clusters grouped by the set of strata that their items are in.

    A cluster that is alone in its group would be in every resample, as if it were certain; it joins
    the groups that it shares a stratum with.
    """
    if len(np.unique(cluster)) == len(cluster):  # what the rest would come to, item by item
        _, first, stratum = np.unique(strata, return_index=True, return_inverse=True)
        return [np.sort(cluster[stratum == s]) for s in np.argsort(first)]
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


def assumption(items: Items, unit: str, has_clusters: bool) -> str:
    """Return in a sentence which items count as independent.

    ``unit`` is what they are called ("triplets"); ``has_clusters`` says whether the data name their
    clusters, which are images otherwise.
    """
    count = len(np.unique(items.cluster))
    if items.further is not None:
        by = "any cluster, as the data name it," if has_clusters else "an image, in whatever role,"
        return f"{unit} that share {by} count as dependent"
    if count == len(items):
        return f"all {unit} count as independent"
    if has_clusters:
        of_one = f"{unit} of one cluster, as the data name it,"
        return f"{of_one} count as dependent ({count:,} clusters)"
    return f"{unit} with the same reference image count as dependent ({count:,} images)"


# --- items that are in several clusters each ------------------------------------------------------


def by_images(images: NDArray[np.int64]) -> tuple[Index, Index | None]:
    """Return the clusters of items that share images, from (n, roles), the reference first.

    The cluster is the reference image; images of other roles are further ones.
    """
    numbers = _by_appearance(images.T.ravel()).reshape(-1, len(images)).T
    return numbers[:, 0], crossing(numbers[:, 0], numbers[:, 1:])


def _by_appearance(values: Index) -> Index:
    """Number values (n,) from 0 in the order in which they first appear."""
    _, first, code = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[code]


def crossing(cluster: Index, further: Index | None) -> Index | None:
    """Return those of the further clusters (n, k) that say more than ``cluster`` (n,) does.

    What is in the items of one cluster only is left out (-1), and columns without any are.
    """
    if further is None:
        return None
    numbers = np.column_stack([cluster, further])
    pairs = np.stack([numbers.ravel(), np.repeat(cluster, numbers.shape[1])], axis=1)
    pairs = np.unique(pairs[pairs[:, 0] >= 0], axis=0)
    number, times = np.unique(pairs[:, 0], return_counts=True)
    crosses = np.isin(further, number[times > 1])
    left = np.where(crosses, further, -1)[:, crosses.any(axis=0)]
    return left if crosses.any() else None


def memberships(items: Items) -> Index:
    """Return all clusters that each item is in: (n, k), each once, -1 for none."""
    if items.further is None:
        return items.cluster[:, None]
    members = np.sort(np.column_stack([items.cluster, items.further]), axis=1)
    members[:, 1:][members[:, 1:] == members[:, :-1]] = -1
    return members


def products_of_shared(items: Items, values: Array) -> Array:
    """Return the sum of the products of any two items' values (n, k) that share a cluster: (k, k).

    Each pair counts once, however many clusters it shares, in both orders, and each item with
    itself: multiway clustering (Cameron, Gelbach and Miller 2011). Two items that share j clusters
    are together in j of the sums over a cluster, in j·(j-1)/2 of those over two clusters, and so
    on; added and subtracted by turns that is once.

    The variance of a value, or of the difference of two, is at least what it is if all items are
    independent: chance may make the sum smaller, and even negative.
    """
    members = memberships(items)
    total = np.zeros((values.shape[1],) * 2)
    for size in range(1, members.shape[1] + 1):
        keys, rows = [], []
        for columns in combinations(range(members.shape[1]), size):
            key = members[:, columns]
            inside = np.flatnonzero((key >= 0).all(axis=1))
            keys.append(np.sort(key[inside], axis=1))
            rows.append(inside)
        _, group = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
        sums = group_sums(group.ravel(), values[np.concatenate(rows)])
        total -= (-1) ** size * sums.T @ sums
    return _at_least(total, values.T @ values)


def _at_least(covariance: Array, floor: Array) -> Array:
    """Return a covariance (k, k) whose variances, and those of differences, are those of ``floor``
    or more."""

    def of_differences(matrix: Array) -> Array:
        plain = np.diag(matrix)
        return np.asarray(plain[:, None] + plain[None, :] - 2 * matrix)

    plain = np.maximum(np.diag(covariance), np.diag(floor))
    apart = np.maximum(of_differences(covariance), of_differences(floor))
    result: Array = (plain[:, None] + plain[None, :] - apart) / 2
    return result


def effective_by_sub_dataset(items: Items) -> Array:
    """Return how many independent items each item's sub-dataset amounts to: (n,)."""
    counts = [
        independent(items.take(np.flatnonzero(items.sub == sub)))
        for sub in range(len(items.sub_names))
    ]
    return np.array(counts)[items.sub]


def _freedom_of_shared(items: Items, share: Array) -> float:
    """Return the degrees of freedom of a score of which items have a ``share`` (n,) each.

    They are Satterthwaite's of a sum over sub-datasets, and no more than those of all items.
    """
    subs = [np.flatnonzero(items.sub == sub) for sub in np.unique(items.sub)]
    variances = [
        float(products_of_shared(items.take(index), share[index, None])[0, 0]) for index in subs
    ]
    counts = [share[index].sum() ** 2 / v for index, v in zip(subs, variances, strict=True)]
    whole = 1 / float(products_of_shared(items, share[:, None])[0, 0])
    return _satterthwaite(variances, counts, whole)
