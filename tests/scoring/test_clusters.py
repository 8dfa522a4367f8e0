"""Clusters: as how many they count, and what items that are in several of them have in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.votes import items_of, many_items, noisy_distances

from pmbench.datasets.pack import Items
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.clusters import (
    assumption,
    by_images,
    crossing,
    effective,
    independent,
    products_of_shared,
    sampling,
)
from pmbench.scoring.joint_scores import joint
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.statistics import Array, Index

PICTURES = np.random.default_rng(3).integers(0, 40, (60, 3))


def of_pictures(pictures: Index) -> Items:
    """Return items of one sub-dataset that show images (n, roles)."""
    cluster, further = by_images(pictures)
    n = len(pictures)
    p = np.random.default_rng(0).integers(0, 6, n) / 5
    return replace(items_of([0] * n, p), cluster=cluster, further=further)


def share(pictures: Index) -> Array:
    """Return 1 where two items share an image: (n, n)."""
    return np.array([[bool(set(a) & set(b)) for b in pictures] for a in pictures], float)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [([], 0), ([7], 1), ([2] * 30, 30), ([70] + [1] * 35, 105**2 / 4935), ([3, 1], 1.6)],
)
def test_clusters_count_as_those_of_one_size_that_say_as_much(
    sizes: list[int], count: float
) -> None:
    assert effective(np.array(sizes, int)) == pytest.approx(count)


def test_items_in_several_clusters_count_by_the_pairs_that_share_one() -> None:
    items = of_pictures(PICTURES)
    assert independent(items) == pytest.approx(60**2 / share(PICTURES).sum())
    one_way = replace(items, further=None)
    sizes = np.bincount(PICTURES[:, 0])
    assert independent(one_way) == pytest.approx(60**2 / (sizes**2).sum())


def test_each_pair_that_shares_a_picture_counts_once() -> None:
    values = np.random.default_rng(1).normal(size=(60, 1)) + 1
    referee = values.T @ share(PICTURES) @ values
    np.testing.assert_allclose(products_of_shared(of_pictures(PICTURES), values), referee)


def test_no_variance_is_below_that_of_independent_items() -> None:
    # two items of one cluster that cancel out, and two that share another one
    items = replace(
        items_of([0] * 4, np.ones(4), [0, 0, 1, 2]), further=np.array([[-1], [3], [3], [-1]])
    )
    values = np.array([[1.0, 0], [-1, 0], [1, 0], [1, 2]])
    plain = products_of_shared(items, values)
    assert plain[0, 0] == 4  # and not 4 - 2 - 2
    difference = plain[0, 0] + plain[1, 1] - 2 * plain[0, 1]
    assert difference == ((values[:, 0] - values[:, 1]) ** 2).sum() == 4


def test_a_mean_of_items_that_share_pictures_has_the_variance_of_all_pairs() -> None:
    items = of_pictures(PICTURES)
    d = noisy_distances(items, 0.5, 1)
    scores = joint(TWO_AFC, TWO_AFC.main, items, {"m": d}, where=["pooled"])["pooled"]
    assert TWO_AFC.main.items is not None
    off = TWO_AFC.main.items(d, items.p) - scores.values[0]
    pairs = share(PICTURES)
    count = 60**2 / pairs.sum()
    assert scores.covariance[0, 0] == pytest.approx(
        max(off @ pairs @ off, off @ off) / 60**2 * count / (count - 1)
    )
    assert scores.freedom == pytest.approx(count - 1)


def test_further_clusters_that_join_nothing_are_left_out() -> None:
    cluster = np.array([0, 0, 1, 2])
    assert crossing(cluster, None) is None
    assert crossing(cluster, np.array([[5], [5], [6], [-1]])) is None  # 5 is within cluster 0
    further = crossing(cluster, np.array([[5, 7], [5, -1], [7, -1], [-1, 8]]))
    assert further is not None
    assert further.tolist() == [[-1, 7], [-1, -1], [7, -1], [-1, -1]]


def test_degrees_of_freedom_are_those_of_the_sub_dataset_that_decides() -> None:
    items = items_of([0] * 5 + [1] * 500, np.ones(505))
    assert sampling(items, "macro").freedom == pytest.approx(4.08, abs=0.01)
    assert sampling(items, "pooled").freedom == pytest.approx(503, abs=0.5)
    assert sampling(many_items(20, subs=1), "macro").freedom == 19


def test_a_large_cluster_that_is_alone_is_not_certain_though_resamples_hold_it() -> None:
    rng = np.random.default_rng(0)
    cluster = [*range(1100), *[1100] * 1100]
    items = items_of([0] * 1100 + [1] * 1100, rng.random(2200).round(1), cluster)
    d = {name: rng.random((2200, 2)) for name in "ab"}
    scores = joint(TWO_AFC, TWO_AFC.statistic("srcc"), items, d, Resampling(200), where=["pooled"])[
        "pooled"
    ]
    assert np.isnan(scores.covariance).all()
    assert scores.unknown == "a sub-dataset is of one cluster"


def test_why_there_is_no_test_is_said() -> None:
    items = items_of([0] * 30, np.append(1.0, np.zeros(29)))
    d = {name: np.random.default_rng(i).random((30, 1)) for i, name in enumerate("ab")}

    def unknown(items: Items, statistic: str = "map") -> str:
        return joint(JND, JND.statistic(statistic), items, d, where=["macro"])["macro"].unknown

    assert unknown(items) == "without one of the clusters a metric has no score"
    assert unknown(replace(items, p=np.zeros(30))) == "a metric has no score"
    one = replace(items, cluster=np.zeros(30, np.int64))
    assert unknown(one, "srcc") == "all items are of one cluster"


def test_what_is_assumed_is_said() -> None:
    items = items_of([0] * 4, np.ones(4))
    twice = replace(items, cluster=np.array([0, 0, 1, 1]))
    crossed = replace(twice, further=np.array([[1], [-1], [-1], [-1]]))
    assert [
        assumption(one, "pairs", has_clusters)
        for one in (items, twice, crossed)
        for has_clusters in (True, False)
    ] == [
        "all pairs count as independent",
        "all pairs count as independent",
        "pairs of one cluster, as the data name it, count as dependent (2 clusters)",
        "pairs with the same reference image count as dependent (2 images)",
        "pairs that share any cluster, as the data name it, count as dependent",
        "pairs that share an image, in whatever role, count as dependent",
    ]
