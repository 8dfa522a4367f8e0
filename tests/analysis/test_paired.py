"""Several metrics on the same items: covariance, paired differences, z and p."""

from __future__ import annotations

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

from pmbench.analysis.joint_scores import joint, moments, of_means
from pmbench.analysis.paired import _growth, difference, two_sided, z_test
from pmbench.results import csv_io
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.intervals import places
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import score
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
    macro = difference(result, "a", "b", "macro")
    variance = (0.25 / 4 + 0.5 / 2) / 4
    assert macro.value == pytest.approx((0.25 + 0.5) / 2)
    assert macro.z == pytest.approx(0.375 / math.sqrt(variance))
    assert macro.p == pytest.approx(2 * stats.t.sf(macro.z, df=6 - 2))
    pooled = difference(result, "a", "b", "pooled")
    assert pooled.value == pytest.approx(2 / 6)
    # items are drawn within their sub-datasets, so these do not add to the variance
    of_pooled = (4 / 6) ** 2 * 0.25 / 4 + (2 / 6) ** 2 * 0.5 / 2
    assert pooled.z == pytest.approx((2 / 6) / math.sqrt(of_pooled))
    assert [difference(result, "a", "b", s).value for s in "ab"] == pytest.approx([0.25, 0.5])
    assert (result.n, result.independent) == ((4, 2, 6, 6), (4, 2, 2, 6))
    back = difference(result, "b", "a", "macro")
    assert (back.value, back.z, back.p) == (-macro.value, -macro.z, macro.p)
    assert (back.low, back.high) == (-macro.high, -macro.low)


def test_clusters_by_hand() -> None:
    # three photographs, each with an item in both sub-datasets
    items = items_of([0, 1, 0, 1, 0, 1], np.ones(6), cluster=[7, 7, 8, 8, 9, 9])
    a, b = chooses([1, 1, 0, 0, 0, 1]), chooses([0, 0, 0, 0, 0, 0])
    result = joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)
    # a photograph's mean over both: 1 0 ½; three independent numbers, s² = ¼
    assert difference(result, "a", "b", "macro").z == pytest.approx(0.5 / math.sqrt(0.25 / 3))
    assert result.independent == (3, 3, 3, 3)


def test_the_number_of_items_needed_is_for_80_percent_power() -> None:
    items = many_items(40)
    result = joint(
        TWO_AFC,
        MAIN,
        items,
        {"a": noisy_distances(items, 0.5, 1), "b": noisy_distances(items, 0.5, 2)},
        FEW,
    )
    one = difference(result, "a", "b", "macro")
    assert one.p > 0.05
    assert one.more is not None
    # 1.96 + 0.84 of the normal distribution; Student's t takes two more
    assert one.more == 2 + math.ceil(one.n * (2.8015852 / abs(one.z)) ** 2 - one.n)
    # with so many more of the same, the true difference is found in 80 % of all trials
    growth = (one.n + one.more) / one.n
    z, t = abs(one.z) * math.sqrt(growth), stats.t(growth * result.freedom[result.at("macro")])
    assert t.sf(t.isf(0.025) - z) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("photographs", [2, 3, 4, 6])
def test_of_few_photographs_more_are_always_needed(photographs: int) -> None:
    # a z of 3 is no certainty on two degrees of freedom, though it is more than 2.80
    rng = np.random.default_rng(photographs)
    largest = 0.0
    for _ in range(100):
        cluster = np.arange(60) * photographs // 60
        items = items_of([0] * 60, np.ones(60), cluster.tolist())
        chance = np.array([0.3, 0.6])[:, None] + 0.1 * rng.normal(size=(2, photographs))
        stack = [chooses((rng.random(60) < c[cluster]).astype(int).tolist()) for c in chance]
        result = of_means(("a", "b"), MAIN, items, stack, None, ("macro",))
        one = difference(result, "a", "b", "macro")
        assert (one.more is None) == (one.p < 0.05 or one.z == 0)
        if one.more is not None:
            largest = max(largest, abs(one.z))
            assert one.more >= 1
            growth = (60 + one.more) / 60
            t = stats.t(growth * (photographs - 1))
            assert abs(one.z) * math.sqrt(growth) >= t.isf(0.025) + t.isf(0.2) - 1e-4
    assert largest > (2.8 if photographs < 4 else 2)


def test_a_difference_of_next_to_nothing_needs_more_than_there_are() -> None:
    assert _growth(1e-9, 30) == pytest.approx((2.8015852e9) ** 2, rel=1e-5)


def test_a_metric_against_itself_has_no_difference() -> None:
    items = many_items()
    d = noisy_distances(items, 0.3, 0)
    result = joint(TWO_AFC, MAIN, items, {"a": d, "again": d.copy()}, FEW)
    for place in result.places:
        one = difference(result, "a", "again", place)
        assert (one.value, one.z, one.p, one.more) == (0.0, 0.0, 1.0, None)
        assert one.low == one.high == pytest.approx(0, abs=1e-12)


def test_equal_scores_from_other_items_are_no_difference_either() -> None:
    items = items_of([0] * 6, np.ones(6))
    result = joint(
        TWO_AFC, MAIN, items,
        {"a": chooses([1, 1, 0, 0, 1, 0]), "b": chooses([0, 1, 1, 0, 0, 1])}, FEW,
    )  # fmt: skip
    one = difference(result, "a", "b", "macro")
    assert (one.value, one.z, one.p, one.more) == (0.0, 0.0, 1.0, None)
    assert one.low < 0 < one.high


def test_always_better_by_the_same_is_certain() -> None:
    items = items_of([0] * 4, np.ones(4))
    result = joint(TWO_AFC, MAIN, items, {"a": chooses([1] * 4), "b": chooses([0] * 4)}, FEW)
    one = difference(result, "a", "b", "macro")
    assert (one.value, one.z, one.p) == (1.0, math.inf, 0.0)


def test_a_single_item_says_nothing_of_how_it_varies() -> None:
    items = items_of([0, 0, 0, 1], np.ones(4))
    result = joint(
        TWO_AFC, MAIN, items, {"a": chooses([1, 0, 1, 1]), "b": chooses([0, 0, 1, 0])}, FEW
    )
    alone = difference(result, "a", "b", "b")
    assert alone.value == 1
    assert all(math.isnan(x) for x in (alone.p, alone.z, alone.low, alone.high))
    assert alone.more is None


def test_a_sub_dataset_of_one_item_varies_as_all_items_do() -> None:
    items = items_of([0, 0, 0, 1], np.ones(4))
    a, b = chooses([1, 0, 1, 1]), chooses([0, 0, 1, 0])
    result = joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW)
    # differences: 1 0 0 (mean ⅓, s² = ⅓) and 1; s² of all four is ⅓
    macro = difference(result, "a", "b", "macro")
    assert macro.value == pytest.approx((1 / 3 + 1) / 2)
    assert macro.z == pytest.approx((2 / 3) / math.sqrt((1 / 3 / 3 + 1 / 3) / 4))
    assert macro.p == pytest.approx(2 * stats.t.sf(2, df=2))  # what the single item knows is 0
    pooled = difference(result, "a", "b", "pooled")
    assert pooled.z == pytest.approx(0.5 / math.sqrt((3 / 4) ** 2 / 9 + (1 / 4) ** 2 / 3))
    # nor is it otherwise where items come from photographs: two of each, alike
    twice = np.repeat(np.arange(4), 2)
    items = items_of(items.sub[twice].tolist(), np.ones(8), twice.tolist())
    of_photographs = joint(TWO_AFC, MAIN, items, {"a": a[twice], "b": b[twice]}, FEW)
    assert difference(of_photographs, "a", "b", "macro").z == pytest.approx(macro.z)
    assert difference(of_photographs, "a", "b", "macro").p == pytest.approx(macro.p)


def test_sub_datasets_of_one_item_each_vary_as_all_do() -> None:
    items = items_of([0, 1, 2, 3], np.ones(4))
    a, b = chooses([1, 1, 1, 0]), chooses([0, 0, 1, 0])
    one = difference(joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW), "a", "b", "macro")
    referee = stats.ttest_1samp([1, 1, 0, 0], 0)
    assert (one.z, one.p) == (pytest.approx(referee.statistic), pytest.approx(referee.pvalue))


def test_a_single_photograph_says_nothing_at_all() -> None:
    items = items_of([0, 0, 1], np.ones(3), [5, 5, 5])
    distances = {"a": chooses([1, 0, 1]), "b": chooses([0, 0, 1])}
    result = joint(TWO_AFC, MAIN, items, distances, FEW)
    assert all(math.isnan(difference(result, "a", "b", place).p) for place in result.places)


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
    z, p = z_test(np.array([0.6]), np.array([2e-4]), np.array([2e-4]), np.array([0.0]), 1e9)
    assert (z[0], p[0]) == (pytest.approx(30), pytest.approx(tiny, rel=1e-6, abs=0))


# --- against referees -----------------------------------------------------------------------------


def test_one_sub_dataset_is_the_paired_t_statistic_of_scipy() -> None:
    items = many_items(60, subs=1)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.9, 2)
    one = difference(joint(TWO_AFC, MAIN, items, {"a": a, "b": b}, FEW), "a", "b", "a")
    assert MAIN.items is not None
    referee = stats.ttest_rel(MAIN.items(a, items.p), MAIN.items(b, items.p))
    assert one.z == pytest.approx(referee.statistic)
    assert one.p == pytest.approx(referee.pvalue)


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
    result = joint(TWO_AFC, TWO_AFC.statistic(statistic), items, distances, Resampling(4000))
    for i, place in enumerate(result.places):
        drawn = np.cov(result.draws[:, i])
        scale = np.sqrt(np.outer(np.diag(drawn), np.diag(drawn)))
        assert np.abs(result.covariance[i] - drawn).max() < 0.09 * scale.max(), place
        assert (result.draws[:, i].mean(axis=1)) == pytest.approx(result.values[:, i], abs=0.01)


def test_clusters_of_unlike_sizes_change_the_shares_of_a_pooled_score() -> None:
    # all of "a" is right and all of "b" wrong; how much of each is drawn is up to the photographs
    sizes = [1 + c % 3 for c in range(40)]
    cluster = [c for c, size in enumerate(sizes) for _ in range(size + 1)]
    sub = [s for size in sizes for s in [0] * size + [1]]
    items = items_of(sub, np.ones(len(sub)), cluster)
    right = chooses([1 - s for s in sub])
    result = joint(TWO_AFC, MAIN, items, {"m": right}, Resampling(2000))
    i = result.at("pooled")
    assert result.covariance[i, 0, 0] == pytest.approx(result.draws[0, i].var(), rel=0.1)
    assert result.covariance[i, 0, 0] > 0
    assert result.covariance[result.at("macro"), 0, 0] == 0


@pytest.mark.parametrize("name", [s.name for s in TWO_AFC.statistics])
def test_values_and_draws_are_those_of_the_scores(name: str) -> None:
    items = many_items(30)
    distances = {"a": noisy_distances(items, 0.5, 1), "b": noisy_distances(items, 0.6, 2)}
    result = joint(TWO_AFC, TWO_AFC.statistic(name), items, distances, FEW)
    for i, metric in enumerate(distances):
        alone = score(TWO_AFC, metric, items, distances[metric], resampling=FEW)
        rows = alone.table[alone.table["statistic"] == name]
        assert result.values[i] == pytest.approx(rows["value"].to_numpy())
        np.testing.assert_allclose(result.draws[i], alone.draws.values[name], rtol=1e-9)
        assert list(result.n) == rows["n"].tolist()


def test_jnd_covariance_comes_from_the_draws_of_both() -> None:
    rng = np.random.default_rng(3)
    items = items_of([0] * 150 + [1] * 100, rng.integers(0, 4, 250) / 3)
    near = (1 - items.p + 0.4 * rng.normal(size=250))[:, None]
    far = (1 - items.p + 1.5 * rng.normal(size=250))[:, None]
    result = joint(JND, JND.statistics[0], items, {"near": near, "far": far}, Resampling(500))
    one = difference(result, "near", "far", "macro")
    i = result.at("macro")
    spread = float((result.draws[0, i] - result.draws[1, i]).std(ddof=1))
    # of resamples of 150 and 100 items, which vary a little less than the items do
    assert one.z == pytest.approx(one.value / (spread * math.sqrt(250 / 248)))
    assert one.value == pytest.approx(result.values[0, :2].mean() - result.values[1, :2].mean())
    assert one.p < 1e-6
    assert (one.low, one.high) == tuple(
        np.quantile(result.draws[0, i] - result.draws[1, i], [0.025, 0.975])
    )


def test_resamples_of_few_photographs_vary_too_little() -> None:
    # what is a mean over items has a variance of its own, from s², for the resamples to be held to
    items = many_items(60)
    items = items_of(items.sub.tolist(), items.p, (np.arange(len(items)) % 5).tolist())
    distances = {"a": noisy_distances(items, 0.4, 1), "b": noisy_distances(items, 0.8, 2)}
    resampling = Resampling(10_000)
    by_items = joint(TWO_AFC, MAIN, items, distances, resampling)
    by_draws = joint(TWO_AFC, replace(MAIN, items=None), items, distances, resampling)
    assert by_draws.covariance == pytest.approx(by_items.covariance, rel=0.08)  # not 4/5 of it
    assert by_draws.freedom == by_items.freedom == (4,) * 5


def test_a_pair_alone_in_its_sub_dataset_leaves_a_correlation_unknown() -> None:
    items = items_of([0] * 40 + [1], np.append(np.arange(40) % 3 / 2, 1))
    rng = np.random.default_rng(0)
    d = {name: rng.random((41, 1)) for name in "ab"}
    result = joint(JND, JND.statistics[0], items, d, FEW)
    assert result.values[:, 1].tolist() == [1, 1]  # mAP of a pair seen as the same
    assert result.independent == (40, 1, 1, 41)
    assert math.isnan(difference(result, "a", "b", "macro").p)
    assert 0 < difference(result, "a", "b", "pooled").p < 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.permutations(range(40)))
def test_the_order_of_the_items_is_of_no_consequence(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    items = items_of(rng.permutation([0] * 25 + [1] * 15).tolist(), rng.integers(0, 6, 40) / 5)
    scores = rng.random((40, 3))
    turned = items.take(np.array(order))
    for place in places(items):
        for one, other in zip(
            moments(items, scores, place), moments(turned, scores[order], place), strict=True
        ):
            assert one == pytest.approx(other)


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
        result = of_means(("a", "b"), MAIN, items, stack, None, ("macro",))
        alarms += difference(result, "a", "b", "macro").p < 0.05
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
    assert result.n[-1] == len(kept)
    assert result.values == pytest.approx(alone.values)
    assert result.covariance == pytest.approx(alone.covariance)


def test_macro_is_of_the_sub_datasets_in_which_every_metric_has_a_value() -> None:
    items = many_items(20)
    a, b = noisy_distances(items, 0.3, 1), noisy_distances(items, 0.4, 2)
    b[items.sub == 1] = 0.5  # does not vary there
    result = joint(TWO_AFC, TWO_AFC.statistic("srcc"), items, {"a": a, "b": b}, FEW)
    assert np.isnan(result.values[1, 1])
    assert result.values[:, 3] == pytest.approx(result.values[:, [0, 2]].mean(axis=1))
    assert math.isnan(difference(result, "a", "b", "b").p)
    assert 0 <= difference(result, "a", "b", "macro").p <= 1


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
    result = joint(TWO_AFC, MAIN, items, distances, FEW)
    assert result.n[-1] == 36344
    drawn = np.sqrt(np.diag(np.cov(result.draws[:, result.at("macro")])))
    assert np.sqrt(np.diag(result.covariance[result.at("macro")])) == pytest.approx(drawn, rel=0.15)
    little, much = (difference(result, "noise 0.0", f"noise {x}", "macro") for x in (0.002, 0.5))
    assert much.p < 1e-20
    assert 0 < much.low < much.value < much.high
    assert little.p > 1e-3
    # a paired difference of near twins is known far better than either score
    assert little.high - little.low < 0.0015
    assert 1.96 * 2 * drawn[0] > 0.006
