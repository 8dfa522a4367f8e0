"""Several metrics on the same items: covariance, paired differences, z and p."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from support.refusals import message_of
from support.votes import items_of, many_items, noisy_distances

from pmbench.analysis.paired import difference, pairwise, two_sided
from pmbench.datasets.pack import Items
from pmbench.results import csv_io
from pmbench.scoring import joint_scores
from pmbench.scoring.bootstrap import Resampling, resampled
from pmbench.scoring.joint_scores import JointScores, estimand, joint
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import score, score_at
from pmbench.scoring.statistics import Array

MAIN = TWO_AFC.statistics[0]
FEW = Resampling(count=200)


def chooses(right: list[int]) -> Array:
    """Return distances that choose p1 (1), p0 (0), or neither (-1)."""
    choice = np.array(right)
    return np.stack([np.where(choice == 1, 2.0, 1.0), np.where(choice == 0, 2.0, 1.0)], axis=1)


# --- by hand --------------------------------------------------------------------------------------


def test_z_and_p_by_hand_with_a_tie() -> None:
    # all people prefer p1, so an item's score is 1 for p1, 0 for p0, ½ where neither is chosen
    items = items_of([0, 0, 0, 0, 1, 1], np.ones(6))
    a, b = chooses([1, 1, 1, -1, 1, 0]), chooses([0, 1, 1, -1, 0, 0])
    result = joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)
    # differences: 1 0 0 0 (mean ¼, s² = ¼) and 1 0 (mean ½, s² = ½)
    macro = difference(result["macro"], "a", "b")
    variance = (0.25 / 4 + 0.5 / 2) / 4
    assert macro.value == pytest.approx((0.25 + 0.5) / 2)
    assert macro.z == pytest.approx(0.375 / math.sqrt(variance))
    # Satterthwaite's, as if items varied alike: 4 of weight 1/8 and 2 of weight 1/4
    df = (1 / 4 + 1 / 2) ** 2 / ((1 / 4) ** 2 / 3 + (1 / 2) ** 2 / 1)
    assert result["macro"].freedom == pytest.approx(df)
    assert macro.p == pytest.approx(2 * stats.t.sf(macro.z, df))
    pooled = difference(result["pooled"], "a", "b")
    assert pooled.value == pytest.approx(2 / 6)
    # items are drawn within their sub-datasets, so these do not add to the variance
    of_pooled = (4 / 6) ** 2 * 0.25 / 4 + (2 / 6) ** 2 * 0.5 / 2
    assert pooled.z == pytest.approx((2 / 6) / math.sqrt(of_pooled))
    assert [difference(result[s], "a", "b").value for s in "ab"] == pytest.approx([0.25, 0.5])
    assert [(one.n, one.independent) for one in result.values()] == [(4, 4), (2, 2), (6, 2), (6, 6)]
    back = difference(result["macro"], "b", "a")
    assert (back.value, back.z, back.p) == (-macro.value, -macro.z, macro.p)
    assert (back.low, back.high) == (-macro.high, -macro.low)
    half = stats.t.isf(0.025, df) * math.sqrt(variance)
    assert (macro.low, macro.high) == pytest.approx((0.375 - half, 0.375 + half))


def test_clusters_by_hand() -> None:
    # three photographs, each with an item in both sub-datasets
    items = items_of([0, 1, 0, 1, 0, 1], np.ones(6), cluster=[7, 7, 8, 8, 9, 9])
    a, b = chooses([1, 1, 0, 0, 0, 1]), chooses([0, 0, 0, 0, 0, 0])
    result = joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)
    # a photograph's mean over both: 1 0 ½; three independent numbers, s² = ¼
    assert difference(result["macro"], "a", "b").z == pytest.approx(0.5 / math.sqrt(0.25 / 3))
    assert [one.independent for one in result.values()] == [3, 3, 3, 3]


def test_the_detectable_difference_is_found_in_80_percent_of_trials() -> None:
    items = many_items(40)
    distances = {"a": noisy_distances(items, 0.5, 1), "b": noisy_distances(items, 0.5, 2)}
    scores = joint(TWO_AFC, MAIN, items, distances, FEW)["macro"]
    one = difference(scores, "a", "b")
    error, t = abs(one.value / one.z), stats.t(scores.freedom)
    assert t.sf(t.isf(0.025) - one.detectable / error) == pytest.approx(0.8)


@pytest.mark.slow
def test_power_is_what_it_says() -> None:
    # people always prefer p1, and a sees that by d more often than b: found as often as it says
    rng, found, promised = np.random.default_rng(0), 0, []
    for _ in range(2000):
        items = items_of([0] * 200, np.ones(200))
        right = [rng.random(200) < share for share in (0.7, 0.577)]
        d = {name: chooses(r.astype(int).tolist()) for name, r in zip("ab", right, strict=True)}
        one = difference(joint(TWO_AFC, MAIN, items, d)["macro"], "a", "b")
        found += one.p < 0.05
        promised.append(one.detectable)
    assert np.median(promised) == pytest.approx(0.133, abs=0.003)
    # .123 is 92.5 % of that: 2.8 · .925 - 1.97 = .62 standard errors beyond the bound
    assert found / 2000 == pytest.approx(stats.norm.cdf(0.62), abs=0.03)


def test_a_metric_against_itself_has_no_difference() -> None:
    items = many_items()
    d = noisy_distances(items, 0.3, 0)
    result = joint(TWO_AFC, MAIN, items, {"a": d, "again": d.copy()}, FEW)
    for scores in result.values():
        one = difference(scores, "a", "again")
        assert (one.value, one.z, one.p, one.detectable) == (0.0, 0.0, 1.0, 0.0)
        assert one.low == one.high == pytest.approx(0, abs=1e-12)


def test_equal_scores_from_other_items_are_no_difference_either() -> None:
    items = items_of([0] * 6, np.ones(6))
    result = joint(
        TWO_AFC, MAIN, items,
        {"a": chooses([1, 1, 0, 0, 1, 0]), "b": chooses([0, 1, 1, 0, 0, 1])}, FEW,
    )  # fmt: skip
    one = difference(result["macro"], "a", "b")
    assert (one.value, one.z, one.p) == (0.0, 0.0, 1.0)
    assert one.low < 0 < one.high


@pytest.mark.parametrize("count", [6, 60])
def test_always_better_by_the_same_is_as_sure_as_that_all_signs_are_the_same(count: int) -> None:
    items = items_of([0] * count, np.ones(count))
    d = {"a": chooses([1] * count), "b": chooses([0] * count)}
    one = difference(joint(TWO_AFC, MAIN, items, d, FEW)["macro"], "a", "b")
    assert (one.value, one.z, one.p) == (1.0, math.inf, 2 / 2**count)
    assert (one.low, one.high) == (1, 1)


def test_five_times_better_by_the_same_may_be_chance() -> None:
    items = items_of([0] * 5, np.ones(5))
    d = {"a": chooses([1] * 5), "b": chooses([0] * 5)}
    one = difference(joint(TWO_AFC, MAIN, items, d, FEW)["macro"], "a", "b")
    assert math.isnan(one.p)
    assert math.isnan(one.low)
    assert one.unknown == "it is the same in all clusters, and these are too few"


def test_a_single_item_says_nothing_of_how_it_varies() -> None:
    items = items_of([0, 0, 0, 1], np.ones(4))
    result = joint(
        TWO_AFC, MAIN, items, {"a": chooses([1, 0, 1, 1]), "b": chooses([0, 0, 1, 0])}, FEW
    )
    alone = difference(result["b"], "a", "b")
    assert alone.value == 1
    assert all(math.isnan(x) for x in (alone.p, alone.z, alone.low, alone.high))
    assert math.isnan(alone.detectable)
    assert alone.unknown == "all items are of one cluster"


def test_a_sub_dataset_of_one_item_varies_as_all_items_do() -> None:
    items = items_of([0, 0, 0, 1], np.ones(4))
    a, b = chooses([1, 0, 1, 1]), chooses([0, 0, 1, 0])
    result = joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)
    # differences: 1 0 0 (mean ⅓, s² = ⅓) and 1; s² of all four is ⅓
    macro = difference(result["macro"], "a", "b")
    assert macro.value == pytest.approx((1 / 3 + 1) / 2)
    assert macro.z == pytest.approx((2 / 3) / math.sqrt((1 / 3 / 3 + 1 / 3) / 4))
    # Satterthwaite's would be 4.6 degrees of freedom; there are no more than 3
    assert macro.p == pytest.approx(2 * stats.t.sf(2, df=3))
    pooled = difference(result["pooled"], "a", "b")
    assert pooled.z == pytest.approx(0.5 / math.sqrt((3 / 4) ** 2 / 9 + (1 / 4) ** 2 / 3))
    # nor is it otherwise where items come from photographs: two of each, alike
    twice = np.repeat(np.arange(4), 2)
    items = items_of(items.sub[twice].tolist(), np.ones(8), twice.tolist())
    of_photographs = joint(TWO_AFC, MAIN, items, {"a": a[twice], "b": b[twice]}, FEW)
    assert difference(of_photographs["macro"], "a", "b").z == pytest.approx(macro.z)
    assert difference(of_photographs["macro"], "a", "b").p == pytest.approx(macro.p)


def test_sub_datasets_of_one_item_each_vary_as_all_do() -> None:
    items = items_of([0, 1, 2, 3], np.ones(4))
    a, b = chooses([1, 1, 1, 0]), chooses([0, 0, 1, 0])
    one = difference(joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)["macro"], "a", "b")
    referee = stats.ttest_1samp([1, 1, 0, 0], 0)
    assert (one.z, one.p) == (pytest.approx(referee.statistic), pytest.approx(referee.pvalue))


def test_a_single_photograph_says_nothing_at_all() -> None:
    items = items_of([0, 0, 1], np.ones(3), [5, 5, 5])
    distances = {"a": chooses([1, 0, 1]), "b": chooses([0, 0, 1])}
    result = joint(TWO_AFC, MAIN, items, distances, FEW)
    assert all(math.isnan(difference(scores, "a", "b").p) for scores in result.values())


@pytest.mark.parametrize("freedom", [1, 2, 4.5, 29, 599, 36_338])
def test_p_is_that_of_scipy(freedom: float) -> None:
    t = np.concatenate([[0, 1e-12, -np.inf], np.random.default_rng(0).uniform(-35, 35, 200)])
    np.testing.assert_allclose(
        two_sided(t, freedom), 2 * special.stdtr(freedom, -np.abs(t)), rtol=2e-12, atol=0
    )
    assert two_sided(np.zeros((2, 3)), freedom).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_tiny_p_do_not_vanish() -> None:
    tiny = 9.815419687967461e-198  # computed with 50 digits
    assert two_sided(np.array([30.0]), 1e9)[0] == pytest.approx(tiny, rel=1e-10, abs=0)
    assert two_sided(np.array([0.0, np.nan]), 5).tolist()[0] == 1
    scores = JointScores(("a", "b"), "macro", np.array([0.7, 0.1]), 2e-4 * np.eye(2), 1e9, 9, 9)
    z, p = pairwise(scores)
    assert (z[0, 1], p[0, 1]) == (pytest.approx(30), pytest.approx(tiny, rel=1e-6, abs=0))


# --- against referees -----------------------------------------------------------------------------


def test_one_sub_dataset_is_the_paired_t_statistic_of_scipy() -> None:
    items = many_items(60, subs=1)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.9, 2)
    one = difference(joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)["a"], "a", "b")
    assert MAIN.items is not None
    referee = stats.ttest_rel(MAIN.items(a, items.p), MAIN.items(b, items.p))
    assert one.z == pytest.approx(referee.statistic)
    assert one.p == pytest.approx(referee.pvalue)


def drawn(
    items: Items, distances: dict[str, Array], statistic: str, resampling: Resampling
) -> Array:
    """Return the resampled scores of each metric: (metrics, places, count)."""
    estimands = [estimand(TWO_AFC.statistic(statistic), d, items.p) for d in distances.values()]
    return resampled(items, estimands, resampling)


@pytest.mark.parametrize("clusters", ["none", "within", "across", "mixed"])
@pytest.mark.parametrize("statistic", ["2afc", "hard_majority"])
def test_the_covariance_is_that_of_the_bootstrap(clusters: str, statistic: str) -> None:
    items = many_items(60)
    n = len(items)
    cluster = {
        "none": np.arange(n),
        "within": np.arange(n) // 3,
        "across": np.arange(n) % 67,
        "mixed": np.where(np.arange(n) < 60, np.arange(n), 1000 + np.arange(n) % 50),
    }[clusters]
    items = items_of(items.sub.tolist(), items.p, cluster.tolist())
    distances = {f"m{k}": noisy_distances(items, 0.2 + 0.2 * k, k % 2) for k in range(4)}
    result = joint(TWO_AFC, TWO_AFC.statistic(statistic), items, distances)
    draws = drawn(items, distances, statistic, Resampling(4000))
    for i, (place, scores) in enumerate(result.items()):
        of_draws = np.cov(draws[:, i])
        scale = np.sqrt(np.outer(np.diag(of_draws), np.diag(of_draws)))
        assert np.abs(scores.covariance - of_draws).max() < 0.09 * scale.max(), place
        assert draws[:, i].mean(axis=1) == pytest.approx(scores.values, abs=0.01)


def test_clusters_of_unlike_sizes_change_the_shares_of_a_pooled_score() -> None:
    # all of "a" is right and all of "b" wrong; how much of each is drawn is up to the photographs
    sizes = [1 + c % 3 for c in range(40)]
    cluster = [c for c, size in enumerate(sizes) for _ in range(size + 1)]
    sub = [s for size in sizes for s in [0] * size + [1]]
    items = items_of(sub, np.ones(len(sub)), cluster)
    right = chooses([1 - s for s in sub])
    result = joint(TWO_AFC, MAIN, items, {"m": right})
    draws = drawn(items, {"m": right}, "2afc", Resampling(2000))[0, -1]
    assert result["pooled"].covariance[0, 0] == pytest.approx(draws.var(), rel=0.1)
    assert result["pooled"].covariance[0, 0] > 0
    assert result["macro"].covariance[0, 0] == 0


def test_a_sub_dataset_of_one_large_cluster_and_a_small_one_adds_little_to_a_pooled_score() -> None:
    # all items are independent; b differs from a in its mean, which is no variance of the score
    rng = np.random.default_rng(0)
    sub, cluster = [0] * 1000 + [1] * 101, [*range(1000), *[1000] * 100, 1001]
    p = rng.binomial(5, 0.5 + 0.5 * rng.random(1101)) / 5
    right = rng.random(1101) < np.where(np.array(sub) == 0, 0.7, 0.95)
    d = {"m": chooses(right.astype(int).tolist())}
    one = joint(TWO_AFC, MAIN, items_of(sub, p, cluster), d)["pooled"]
    by_items = joint(TWO_AFC, MAIN, items_of(sub, p), d)["pooled"]
    assert one.covariance[0, 0] < 16 * by_items.covariance[0, 0]


def test_signs_are_all_turned_where_there_are_few() -> None:
    sizes = [9, 3, 2, 1, 1, 1]
    cluster = np.repeat(np.arange(6), sizes)
    items = items_of([0] * 17, np.ones(17), cluster.tolist())
    d = {"a": chooses([1] * 17), "b": chooses((cluster % 2).tolist())}
    scores = joint(TWO_AFC, MAIN, items, d)["macro"]
    assert scores.additions is not None
    added = scores.additions[:, 0] - scores.additions[:, 1]  # 9 0 2 0 1 0, of 17
    turned = [abs(np.dot(added, s)) for s in itertools.product([1, -1], repeat=6)]
    one = difference(scores, "a", "b")
    assert one.p == np.mean([t >= one.value - 1e-12 for t in turned]) == 0.25
    assert one.low <= 0 <= one.high


@pytest.mark.parametrize("name", [s.name for s in TWO_AFC.statistics])
def test_values_are_those_of_the_scores(name: str) -> None:
    items = many_items(30)
    distances = {"a": noisy_distances(items, 0.5, 1), "b": noisy_distances(items, 0.6, 2)}
    result = joint(TWO_AFC, TWO_AFC.statistic(name), items, distances, FEW)
    for i, metric in enumerate(distances):
        table = score(TWO_AFC, metric, items, distances[metric], resampling=FEW).table
        rows = table[table["statistic"] == name].set_index("sub_dataset")
        for place, scores in result.items():
            assert scores.values[i] == pytest.approx(rows.loc[place, "value"])
            assert scores.n == rows.loc[place, "n"]


def jnd_case() -> tuple[Items, dict[str, Array]]:
    rng = np.random.default_rng(3)
    items = items_of([0] * 150 + [1] * 100, rng.integers(0, 4, 250) / 3)
    noise = {"near": 0.4, "far": 1.5}
    return items, {
        name: (1 - items.p + level * rng.normal(size=250))[:, None] for name, level in noise.items()
    }


def test_average_precision_is_judged_by_what_it_loses_without_each_item() -> None:
    items, distances = jnd_case()
    result = joint(JND, JND.main, items, distances)["macro"]
    left_out = np.array(
        [
            [
                score_at(items.take(kept), d[kept], JND.main, "macro")
                for i in range(250)
                if len(kept := np.delete(np.arange(250), i))
            ]
            for d in distances.values()
        ]
    )
    off = [left_out[:, sub == items.sub] for sub in (0, 1)]
    by_hand = sum(
        (len(x.T) - 1) / len(x.T) * (y := x - x.mean(axis=1, keepdims=True)) @ y.T for x in off
    )
    np.testing.assert_allclose(result.covariance, by_hand, rtol=1e-9)
    assert result.freedom == pytest.approx(
        (1 / 150 + 1 / 100) ** 2 / (1 / 150**2 / 149 + 1 / 100**2 / 99)
    )
    assert difference(result, "near", "far").p < 1e-6


def test_with_very_many_clusters_resamples_take_the_place_of_the_jackknife(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items, distances = jnd_case()
    jackknife = joint(JND, JND.main, items, distances)["macro"]
    monkeypatch.setattr(joint_scores, "_MOST", 0)
    drawn = joint(JND, JND.main, items, distances, Resampling(4000))["macro"]
    assert drawn.values == pytest.approx(jackknife.values)
    assert drawn.freedom == jackknife.freedom
    # a variance of 4,000 draws has a standard error of 2 %; average precision is not quite smooth
    assert np.diag(drawn.covariance) == pytest.approx(np.diag(jackknife.covariance), rel=0.15)
    with_stored = joint(
        JND, JND.main, items, distances, where=["macro"],
        stored={"macro": np.random.default_rng(0).normal(size=(2, 999))},
    )["macro"]  # fmt: skip
    assert np.diag(with_stored.covariance) == pytest.approx([250 / 248] * 2, rel=0.15)


@pytest.mark.parametrize("photographs", [5, 60])
def test_a_mean_is_judged_by_what_it_loses_without_each_cluster(photographs: int) -> None:
    # what is a mean over items has a variance of its own, from s², for the jackknife to be held to
    items = many_items(60)
    cluster = (np.arange(len(items)) % photographs).tolist()
    items = items_of(items.sub.tolist(), items.p, cluster)
    distances = {"a": noisy_distances(items, 0.4, 1), "b": noisy_distances(items, 0.8, 2)}
    of_items = joint(TWO_AFC, MAIN, items, distances)
    left_out = joint(TWO_AFC, replace(MAIN, items=None), items, distances)
    for place, one in of_items.items():
        other = left_out[place]
        assert other.values == pytest.approx(one.values)
        assert other.covariance == pytest.approx(one.covariance, rel=1e-9, abs=1e-15)
        assert other.freedom == one.freedom <= photographs - 1


def test_a_pair_alone_in_its_sub_dataset_leaves_a_correlation_unknown() -> None:
    items = items_of([0] * 40 + [1], np.append(np.arange(40) % 3 / 2, 1))
    rng = np.random.default_rng(0)
    d = {name: rng.random((41, 1)) for name in "ab"}
    result = joint(JND, JND.statistics[0], items, d, FEW)
    assert result["b"].values.tolist() == [1, 1]  # mAP of a pair seen as the same
    assert [one.independent for one in result.values()] == [40, 1, 1, 41]
    assert math.isnan(difference(result["macro"], "a", "b").p)
    assert result["macro"].unknown == "a sub-dataset is of one cluster"
    assert 0 < difference(result["pooled"], "a", "b").p < 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.permutations(range(40)))
def test_the_order_of_the_items_is_of_no_consequence(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    items = items_of(rng.permutation([0] * 25 + [1] * 15).tolist(), rng.integers(0, 6, 40) / 5)
    scores = rng.random((40, 3))
    turned = items.take(np.array(order))
    statistic = replace(MAIN, items=lambda d, p: d[:, 0])
    one, other = (
        joint(TWO_AFC, statistic, i, {str(k): np.stack([x[:, k]] * 2, 1) for k in range(3)})
        for i, x in ((items, scores), (turned, scores[order]))
    )
    for place in one:
        assert one[place].values == pytest.approx(other[place].values)
        assert one[place].covariance == pytest.approx(other[place].covariance)


# --- how often it is wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("photographs", [180, 90, 6])
def test_equal_metrics_are_told_apart_in_5_percent_of_trials(photographs: int) -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(500):
        # items of one photograph are alike: what one metric gets right it gets right in all of them
        cluster = np.arange(180) * photographs // 180
        sub = np.arange(180) % 3 if photographs == 6 else np.arange(180) // 2 % 3
        hard = rng.random(180)[cluster]
        p = rng.binomial(5, 0.5 + 0.5 * rng.random(180)) / 5
        items = items_of(sub.tolist(), p, cluster.tolist())
        choices = [(rng.random(180)[cluster] < 0.5 + 0.4 * hard).astype(int) for _ in range(2)]
        stack = [chooses(choice.tolist()) for choice in choices]
        result = joint(TWO_AFC, MAIN, items, dict(zip("ab", stack, strict=True)))
        alarms += difference(result["macro"], "a", "b").p < 0.05
    assert 15 <= alarms <= 35  # 3 to 7 %


# --- what is left out, what is refused ------------------------------------------------------------


def test_items_on_which_a_metric_is_not_defined_are_left_out_for_all() -> None:
    items = many_items(20)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.4, 2)
    gone = np.arange(len(items)) % 4 == 0
    b[gone] = np.nan
    result = joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)
    kept = np.flatnonzero(~gone)
    alone = joint(TWO_AFC, MAIN, items.take(kept), {"a": a[kept], "b": b[kept]}, FEW)
    assert result["pooled"].n == len(kept)
    for place in alone:
        assert result[place].values == pytest.approx(alone[place].values)
        assert result[place].covariance == pytest.approx(alone[place].covariance)


def test_macro_is_of_the_sub_datasets_in_which_every_metric_has_a_value() -> None:
    items = many_items(20)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.4, 2)
    b[items.sub == 1] = 0.5  # does not vary there
    result = joint(TWO_AFC, TWO_AFC.statistic("srcc"), items, {"a": a, "b": b}, FEW)
    assert np.isnan(result["b"].values[1])
    assert result["macro"].values == pytest.approx((result["a"].values + result["c"].values) / 2)
    assert math.isnan(difference(result["b"], "a", "b").p)
    assert 0 <= difference(result["macro"], "a", "b").p <= 1


def test_metrics_without_a_common_item_cannot_be_compared() -> None:
    items = many_items(5, subs=1)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.4, 2)
    a[:3], b[3:] = np.nan, np.nan
    assert message_of(joint, TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW) == (
        "a and b have no item in common on which all of them are defined; compare metrics that are "
        "defined on the same image sizes"
    )


def test_distances_of_another_shape_are_refused() -> None:
    items = many_items(5, subs=1)
    assert message_of(joint, TWO_AFC, MAIN, items, {"a": np.zeros((4, 2))}, FEW) == (
        "a: distances of shape (4, 2) do not fit; expected (5, 2), a row an item and a column a "
        "pair"
    )


# --- on the real judgements -----------------------------------------------------------------------


def test_real_judgements(shared: Path) -> None:
    items, d = csv_io.read_csv(shared / "judgements" / "bapps_2afc_val.csv.gz", "2afc", False)
    gap = d[:, 0] - d[:, 1]
    rng = np.random.default_rng(0)
    distances = {
        f"noise {level}": np.stack(
            [gap + level * gap.std() * rng.normal(size=len(gap)), 0 * gap], 1
        )
        for level in (0.0, 0.002, 0.05, 0.5)
    }
    result = joint(TWO_AFC, MAIN, items, distances)
    assert result["pooled"].n == 36344
    of_draws = np.cov(drawn(items, distances, "2afc", FEW)[:, -2])
    error = np.sqrt(np.diag(of_draws))
    assert np.sqrt(np.diag(result["macro"].covariance)) == pytest.approx(error, rel=0.15)
    little, much = (difference(result["macro"], "noise 0.0", f"noise {x}") for x in (0.002, 0.5))
    assert much.p < 1e-20
    assert 0 < much.low < much.value < much.high
    assert little.p > 1e-3
    # a paired difference of near twins is known far better than either score
    assert little.high - little.low < 0.0015
    assert 1.96 * 2 * error[0] > 0.006
