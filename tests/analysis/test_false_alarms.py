"""How often metrics are told apart that are equally good, and how often those that are not.

Equal ones are to be told apart in 5 % of trials: at most in 6.5 % and at least in 2 %, or not
judged at all. 4,000 trials have a standard error of 0.35 points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.votes import items_of

from pmbench.analysis.paired import Difference, difference
from pmbench.datasets.pack import Items
from pmbench.scoring import joint_scores
from pmbench.scoring.clusters import by_images
from pmbench.scoring.joint_scores import joint
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.statistics import Array

Random = np.random.Generator
Metrics = dict[str, Array]
Sample = tuple[Items, Metrics]


def rejected(draw: Callable[[Random], Sample], trials: int, protocol: object = TWO_AFC) -> float:
    """Return in what share of trials the metrics a and b are told apart."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(trials):
        one = compared(*draw(rng), protocol)
        # the interval and p are of one test
        assert (one.p < 0.05) == (one.low > 0 or one.high < 0)
        assert math.isnan(one.p) == math.isnan(one.low) == bool(one.unknown)
        found += one.p < 0.05
    return found / trials


def compared(items: Items, d: Metrics, protocol: object = TWO_AFC) -> Difference:
    kind = JND if protocol is JND else TWO_AFC
    return difference(joint(kind, kind.main, items, d, where=["macro"])["macro"], "a", "b")


def votes(rng: Random, right: Sequence[Array]) -> Metrics:
    """Return the distances of metrics that choose p1 where they are right."""
    names = zip("ab", right, strict=True)
    return {name: np.stack([np.where(r, 2.0, 1.0), np.where(r, 1.0, 2.0)], 1) for name, r in names}


# --- clusters of any sizes ------------------------------------------------------------------------


def falling(count: int, largest: int) -> list[int]:
    """Return sizes ~1/k."""
    return [max(1, round(largest / k)) for k in range(1, count + 1)]


SIZES = {
    "one of 70 and 35 single ones, in each of three": [[70] + [1] * 35] * 3,
    "one of 40 and 20 single ones": [[40] + [1] * 20],
    "one of 40 and 20 single ones, in each of three": [[40] + [1] * 20] * 3,
    "1/k, 20": [falling(20, 30)],
    "1/k, 40": [falling(40, 40)],
    "1/k, 15 in each of three": [falling(15, 20)] * 3,
    "1/√k, 80": [[max(1, round(15 / k**0.5)) for k in range(1, 81)]],
    "six of 10": [[10] * 6],
    "twelve of 5 in each of three": [[5] * 12] * 3,
    "thirty of 6": [[6] * 30],
    "60 single ones in each of three": [[1] * 60] * 3,
}


def clustered(sizes: list[list[int]], better: float = 0) -> Callable[[Random], Sample]:
    """Return how to draw triplets in clusters; a is right more often than b by ``better``.

    How often a metric is right differs between clusters, as do those that are hard for both.
    """
    cluster = np.repeat(np.arange(sum(map(len, sizes))), [m for of_sub in sizes for m in of_sub])
    sub = np.repeat(np.arange(len(sizes)), [sum(of_sub) for of_sub in sizes])

    def draw(rng: Random) -> Sample:
        n, count = len(cluster), int(cluster.max()) + 1
        easy = 2 + 4 * rng.random(count)
        p = rng.binomial(5, 0.5 + 0.5 * rng.random(n)) / 5
        chances = [np.minimum(rng.beta(easy, 2) + more, 1) for more in (better, 0)]
        right = [rng.random(n) < chance[cluster] for chance in chances]
        return items_of(sub.tolist(), p, cluster.tolist()), votes(rng, right)

    return draw


def test_clusters_of_unlike_sizes_raise_few_false_alarms_in_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joint_scores, "_FLIPS", 999)  # faster
    draw = clustered(SIZES["one of 40 and 20 single ones"])
    assert 0.01 <= rejected(draw, 500) <= 0.08  # 20 % by Student's t with 19 degrees of freedom


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_equal_metrics_are_told_apart_in_5_percent_of_trials(
    monkeypatch: pytest.MonkeyPatch, sizes: list[list[int]]
) -> None:
    monkeypatch.setattr(joint_scores, "_FLIPS", 1999)  # faster
    assert 0.02 <= rejected(clustered(sizes), 4000) <= 0.065


def test_a_small_sub_dataset_that_decides_has_few_degrees_of_freedom() -> None:
    items, d = clustered([[1] * 6, [1] * 300])(np.random.default_rng(0))
    by_place = joint(TWO_AFC, TWO_AFC.main, items, d)
    # Satterthwaite's: (1/6 + 1/300)² / ((1/6)²/5 + (1/300)²/299)
    assert by_place["macro"].freedom == pytest.approx(5.2019, abs=1e-4)
    assert by_place["a"].freedom == 5


@pytest.mark.slow
def test_a_small_sub_dataset_raises_few_false_alarms() -> None:
    # of votes on six triplets few values can come; with 304 degrees of freedom 6 %
    assert 0.005 <= rejected(clustered([[1] * 6, [1] * 300]), 2000) <= 0.065


# measured; of two metrics of which one is right in 15 % more of the items, or all that are left
POWER = {
    "one of 70 and 35 single ones, in each of three": 0.36,
    "one of 40 and 20 single ones": 0.11,
    "1/k, 20": 0.21,
    "1/k, 40": 0.29,
    "six of 10": 0.11,
    "thirty of 6": 0.44,
    "60 single ones in each of three": 0.60,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", POWER)
def test_unequal_metrics_are_told_apart(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(joint_scores, "_FLIPS", 1999)  # faster
    found = rejected(clustered(SIZES[name], better=0.15), 1000)
    assert found == pytest.approx(POWER[name], abs=0.05)


def test_five_clusters_of_unlike_sizes_are_not_judged() -> None:
    one = compared(*clustered([[40, 5, 5, 2, 2]])(np.random.default_rng(0)))
    assert math.isnan(one.p)
    assert one.unknown == "5 clusters of unlike sizes count as 1.76 only"
    # of one size, they are
    assert compared(*clustered([[8] * 5])(np.random.default_rng(0))).p > 0


# --- images that items share --------------------------------------------------------------------


def crossed(n: int, pictures: int, effect: float) -> Callable[[Random], Sample]:
    """Return how to draw n triplets of few images; some images are hard for a metric."""

    def draw(rng: Random) -> Sample:
        shown = np.array([rng.choice(pictures, 3, replace=False) for _ in range(n)])
        p = rng.binomial(5, 0.5 + 0.5 * rng.random(n)) / 5
        ease = effect * rng.normal(size=(2, pictures))
        right = [rng.random(n) < 1 / (1 + np.exp(-1 - e[shown].sum(axis=1))) for e in ease]
        cluster, further = by_images(shown)
        items = replace(items_of([0] * n, p), cluster=cluster, further=further)
        return items, votes(rng, right)

    return draw


def test_items_that_share_pictures_in_several_roles_vary_together() -> None:
    draw, rng = crossed(600, 60, 0.5), np.random.default_rng(0)
    differences, variances = [], []
    for _ in range(200):
        items, d = draw(rng)
        scores = joint(TWO_AFC, TWO_AFC.main, items, d, where=["macro"])["macro"]
        differences.append(scores.values[0] - scores.values[1])
        variances.append(scores.covariance[0, 0] + scores.covariance[1, 1])
    # metrics are independent here; a variance of 200 differences has a standard error of 10 %
    assert np.mean(variances) == pytest.approx(np.var(differences), rel=0.3)
    assert scores.independent == pytest.approx(6.8, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "pictures", "effect"),
    [(3000, 100, 0.5), (3000, 300, 0.5), (600, 60, 0.5), (600, 60, 0.2), (300, 100, 0.0)],
)
def test_items_that_share_pictures_raise_few_false_alarms(
    n: int, pictures: int, effect: float
) -> None:
    # by items alone 45, 20, 21, 10 and 5 %
    assert 0.015 <= rejected(crossed(n, pictures, effect), 2000) <= 0.065


def test_very_few_pictures_are_not_judged() -> None:
    one = compared(*crossed(300, 20, 0.5)(np.random.default_rng(0)))
    assert one.unknown == (
        "items are in several clusters each, and those of a sub-dataset count as 2.43 only"
    )


def test_one_shared_picture_does_not_hide_clusters_of_unlike_sizes() -> None:
    items, d = clustered([[70] + [1] * 35] * 3)(np.random.default_rng(0))
    further = np.full((len(items), 1), -1)
    assert compared(replace(items, further=further), d) == compared(items, d)
    further[0] = items.cluster[-1]
    assert compared(replace(items, further=further), d).unknown == (
        "items are in several clusters each, and those of a sub-dataset count as 2.23 only"
    )


def test_a_difference_does_not_depend_on_who_else_is_compared() -> None:
    items, d = crossed(300, 100, 0.0)(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    others = {f"m{k}": votes(rng, [rng.random(300) < 0.7] * 2)["a"] for k in range(20)}
    among = joint(TWO_AFC, TWO_AFC.main, items, d | others, where=["macro"])["macro"]
    alone, with_others = compared(items, d), difference(among, "a", "b")
    assert with_others.p == pytest.approx(alone.p)
    assert with_others.low == pytest.approx(alone.low)


# --- statistics that are no means -----------------------------------------------------------------


def clustered_pairs(sizes: list[int]) -> Callable[[Random], Sample]:
    """Return how to draw pairs in clusters, of which each metric takes some for more alike."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)

    def draw(rng: Random) -> Sample:
        visible = rng.normal(size=len(cluster))
        same = rng.binomial(3, 1 / (1 + np.exp(2 * visible + 1))) / 3
        off = 0.5 * rng.normal(size=(2, len(sizes)))[:, cluster]
        off += 0.6 * rng.normal(size=off.shape)
        d = {name: np.exp(visible + e)[:, None] for name, e in zip("ab", off, strict=True)}
        return items_of([0] * len(cluster), same, cluster.tolist()), d

    return draw


UNLIKE = [[40] + [1] * 20, [20, 10] + [5] * 6, [9, 5, 5, 3, 2, 1, 1, 1]]


def test_average_precision_in_clusters_of_unlike_sizes_in_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joint_scores, "_FLIPS", 999)  # faster
    for sizes in UNLIKE:  # also that p and the interval agree
        assert rejected(clustered_pairs(sizes), 60, JND) <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize("sizes", UNLIKE)
def test_average_precision_in_clusters_of_unlike_sizes(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    monkeypatch.setattr(joint_scores, "_FLIPS", 1999)  # faster
    assert 0.02 <= rejected(clustered_pairs(sizes), 2000, JND) <= 0.065


def pairs(n: int, subs: int) -> Callable[[Random], Sample]:
    def draw(rng: Random) -> Sample:
        visible = rng.normal(size=n * subs)
        same = rng.binomial(3, 1 / (1 + np.exp(2 * visible + 1))) / 3
        noise = 0.75 * rng.normal(size=(2, n * subs))
        d = {name: np.exp(visible + e)[:, None] for name, e in zip("ab", noise, strict=True)}
        return items_of(np.repeat(np.arange(subs), n).tolist(), same), d

    return draw


@pytest.mark.slow
@pytest.mark.parametrize(("n", "subs"), [(20, 2), (40, 2), (60, 1), (200, 1)])
def test_average_precision_raises_few_false_alarms(n: int, subs: int) -> None:
    # 8 % of 2 · 40 pairs by the variance of resamples
    assert 0.015 <= rejected(pairs(n, subs), 2000, JND) <= 0.065
