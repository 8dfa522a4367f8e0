"""Resamples: how often each item is drawn, together with what, and what intervals come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.votes import items_of, many_items

from pmbench.results import csv_io
from pmbench.scoring import bootstrap
from pmbench.scoring.bootstrap import Estimand, Resampling, resampled, resamples
from pmbench.scoring.intervals import interval
from pmbench.scoring.statistics import Array, two_afc_items, weighted_mean

STRATA = np.array([0] * 5 + [1] * 8 + [2])
ALONE = np.arange(14)


def drawn(strata: Array, clusters: Array, count: int = 200, seed: int = 0) -> Array:
    return np.concatenate(list(resamples(strata, clusters, Resampling(count, seed))))


def test_there_are_as_many_resamples_as_asked_for() -> None:
    assert [w.shape for w in resamples(STRATA, ALONE, Resampling(250))] == [(250, 14)]


def test_many_are_handed_out_in_parts_and_the_parts_make_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = drawn(STRATA, ALONE, 25, seed=3)
    monkeypatch.setattr(bootstrap, "_CHUNK", 10 * 14)
    resampling = Resampling(25, seed=3)
    parts = list(resamples(STRATA, ALONE, resampling))
    assert [len(w) for w in parts] == [10, 10, 5]
    assert (np.concatenate(parts) == whole).all()
    monkeypatch.setattr(bootstrap, "_KEPT", 0)  # too many to be kept
    parts = list(resamples(STRATA, ALONE, resampling))
    assert [len(w) for w in parts] == [10, 10, 5]
    assert (np.concatenate(parts) == whole).all()


def test_the_resamples_of_one_table_are_drawn_once_and_nobody_can_change_them() -> None:
    first, again = (next(resamples(STRATA, ALONE)) for _ in range(2))
    assert np.shares_memory(first, again)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 7
    assert not np.shares_memory(first, next(resamples(STRATA, ALONE // 2)))
    assert (next(resamples(STRATA, ALONE)) == first).all()


def test_there_are_a_thousand_by_default() -> None:
    assert sum(len(w) for w in resamples(STRATA, ALONE)) == 1000


def test_weights_are_whole_numbers_and_sum_to_the_number_of_items() -> None:
    w = drawn(STRATA, ALONE)
    assert (w == np.round(w)).all()
    assert (w >= 0).all()
    assert (w.sum(axis=1) == 14).all()
    assert w.dtype == np.uint8


def test_every_sub_dataset_keeps_its_size() -> None:
    w = drawn(STRATA, ALONE)
    for stratum, size in enumerate((5, 8, 1)):
        assert (w[:, stratum == STRATA].sum(axis=1) == size).all()
    assert w[:, :13].std() > 0.5  # but items are drawn more or less often


def test_the_order_of_the_items_does_not_matter_to_the_strata() -> None:
    mixed = np.random.default_rng(0).permutation(STRATA)
    w = drawn(mixed, ALONE)
    for stratum, size in enumerate((5, 8, 1)):
        assert (w[:, mixed == stratum].sum(axis=1) == size).all()


def test_each_item_is_drawn_as_often_as_chance_has_it() -> None:
    w = drawn(np.zeros(8, int), np.arange(8), 20_000)
    # binomial of 8 draws at 1/8: mean 1, variance 7/8; 5 standard errors of 20,000 draws
    assert np.abs(w.mean(axis=0) - 1).max() < 5 * np.sqrt(7 / 8 / 20_000)
    assert np.abs(w.var(axis=0) - 7 / 8).max() < 0.06
    # what one item gains the others lose: correlation -1/7
    assert np.corrcoef(w[:, 0], w[:, 1])[0, 1] == pytest.approx(-1 / 7, abs=5 / np.sqrt(20_000))


def test_whole_clusters_are_drawn() -> None:
    clusters = np.array([7, 7, 3, 3, 3, 9, 9, 11])  # numbers of any kind, sizes of any kind
    w = drawn(np.zeros(8, int), clusters)
    for cluster in np.unique(clusters):
        members = w[:, clusters == cluster]
        assert (members == members[:, :1]).all()
    firsts = w[:, [0, 2, 5, 7]]  # one item of each cluster
    assert (firsts.sum(axis=1) == 4).all()
    assert firsts.std() > 0.5


def test_clusters_across_sub_datasets_are_drawn_together_and_each_sub_dataset_keeps_its_share() -> (
    None
):
    # six photographs, each with two items in every one of three sub-datasets
    strata = np.tile([0, 0, 1, 1, 2, 2], 6)
    clusters = np.repeat(np.arange(6), 6)
    w = drawn(strata, clusters)
    assert (w.reshape(-1, 6, 6) == w.reshape(-1, 6, 6)[:, :, :1]).all()
    for stratum in range(3):
        assert (w[:, strata == stratum].sum(axis=1) == 12).all()


def test_clusters_are_drawn_among_those_that_touch_the_same_sub_datasets() -> None:
    # clusters 0-3 in sub-dataset 0 only, 4-7 in both, 8-9 in 1 only
    strata = np.array([0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1])
    clusters = np.array([0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9])
    w = drawn(strata, clusters)
    for among, size in (([0, 1, 2, 3], 4), ([4, 5, 6, 7], 8), ([8, 9], 2)):
        assert (w[:, np.isin(clusters, among)].sum(axis=1) == size).all()
    assert (w[:, 4::2][:, :4] == w[:, 5::2][:, :4]).all()


def test_a_cluster_of_a_pattern_of_its_own_is_not_taken_for_certain() -> None:
    # clusters 0-3 in sub-dataset 0, cluster 4 alone in both, 5-7 in sub-dataset 1
    strata = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
    clusters = np.array([0, 1, 2, 3, 4, 4, 5, 6, 7])
    w = drawn(strata, clusters)
    assert len(np.unique(w[:, 4])) > 1
    assert (w[:, [0, 1, 2, 3, 4, 6, 7, 8]].sum(axis=1) == 8).all()


def test_one_cluster_is_all_there_is_to_draw() -> None:
    assert (drawn(np.array([0, 0, 1]), np.array([0, 0, 0])) == 1).all()


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    first, again, other = (drawn(STRATA, ALONE, 20, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_the_draw_does_not_depend_on_the_numbers_that_clusters_have() -> None:
    assert (drawn(STRATA, ALONE) == drawn(STRATA, ALONE * 10 + 5)).all()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=12),
    st.integers(0, 99),
)
def test_any_strata_and_clusters_give_weights(made: list[tuple[int, int]], seed: int) -> None:
    strata, clusters = (np.array(column) for column in zip(*made, strict=True))
    w = drawn(strata, clusters, 7, seed)
    assert w.shape == (7, len(made))
    for cluster in np.unique(clusters):
        assert (np.ptp(w[:, clusters == cluster], axis=1) == 0).all()
    assert (w.max(axis=1) >= 1).all()


# --- scores of resamples --------------------------------------------------------------------------


def test_items_in_several_clusters_get_what_each_of_these_was_drawn() -> None:
    members = np.array([[0, 1, 2], [0, 3, -1], [1, -1, -1], [4, 2, 3], [5, -1, -1]])
    w = drawn(np.zeros(5, int), members, 20_000)
    assert w.dtype == np.uint8
    assert w.mean(axis=0) == pytest.approx([3] * 5, abs=0.06)
    # of 6 clusters each is drawn with variance 5/6, and what one gains the others lose: -1/6
    shared = np.array([[3, 1, 1, 1, 0], [1, 2, 0, 1, 0], [1, 0, 1, 0, 0], [1, 1, 0, 3, 0],
                       [0, 0, 0, 0, 1]])  # fmt: skip
    size = np.diag(shared)
    assert np.cov(w.T) == pytest.approx(shared - np.outer(size, size) / 6, abs=0.08)


def mean_of(values: Array) -> Estimand:
    return Estimand(lambda index, w: weighted_mean(values[index], w), np.ones(len(values), bool))


def test_resampled_means_vary_as_means_do() -> None:
    items = many_items(60)
    values = np.random.default_rng(0).normal(size=len(items))
    (draws,) = resampled(items, [mean_of(values)], Resampling(4000))
    assert draws.shape == (5, 4000)
    variances = [values[items.sub == s].var() / (items.sub == s).sum() for s in range(3)]
    # the variance of 4,000 draws has a standard error of 2.2 %; four of these
    assert draws[:3].var(axis=1) == pytest.approx(variances, rel=0.09)
    assert draws[3].var() == pytest.approx(sum(variances) / 9, rel=0.09)
    np.testing.assert_allclose(draws[3], draws[:3].mean(axis=0))


def test_the_macro_score_of_a_resample_leaves_out_the_same_sub_dataset() -> None:
    items = items_of([0] * 6 + [1] * 6, np.ones(12))
    values = np.append(np.arange(6.0), [np.nan] * 6)
    a, b, macro, _ = resampled(items, [mean_of(values)], Resampling(50))[0]
    assert np.isnan(b).all()
    np.testing.assert_array_equal(macro, a)


def test_clusters_widen_what_is_drawn() -> None:
    # 100 items that are 10 values, ten times each: as uncertain as a mean of ten
    values = np.repeat(np.random.default_rng(0).normal(size=10), 10)

    def spread(clusters: list[int]) -> float:
        items = items_of([0] * 100, np.ones(100), clusters)
        return float(resampled(items, [mean_of(values)], Resampling(1000))[0, -1].std())

    ratio = spread((np.arange(100) // 10).tolist()) / spread(list(range(100)))
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_items_in_several_clusters_vary_as_those_that_share_one() -> None:
    # two photographs of 40 each: an effect of both, and little of the items'
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 40, (2, 400))
    values = rng.normal(size=40)[first] + rng.normal(size=40)[second] + 0.1 * rng.normal(size=400)
    items = items_of([0] * 400, np.ones(400), first.tolist())
    crossed = replace(items, further=(40 + second)[:, None])
    (draws,) = resampled(crossed, [mean_of(values)], Resampling(4000))
    off = values - values.mean()
    by_both = sum((np.bincount(way, off) ** 2).sum() for way in (first, second)) / 400**2
    assert draws[-1].var() == pytest.approx(by_both, rel=0.1)
    assert draws[-1].mean() == pytest.approx(values.mean(), abs=0.02)


def test_a_macro_score_on_bapps_has_about_a_third_of_a_point(shared: Path) -> None:
    path = shared / "judgements" / "bapps_2afc_val.csv.gz"
    items, distances = csv_io.read_csv(path, "2afc", False)
    each = two_afc_items(distances[:, 0], distances[:, 1], items.p)
    parts = [np.flatnonzero(items.sub == sub) for sub in range(6)]
    macro = [
        np.mean([weighted_mean(each[part], w[:, part]) for part in parts], axis=0)
        for w in resamples(items.sub, items.cluster)
    ]
    value = np.mean([each[part].mean() for part in parts])
    low, high = interval(value, np.concatenate(macro).std())
    half = (high - low) / 2
    assert half == pytest.approx(0.0033, abs=0.0004)  # design.md: "about ±0.33 points"
    # and what the variances of the items give; the standard deviation of a thousand resamples has a
    # standard error of 2.2 %: four of these are 9 %
    error = np.sqrt(sum(each[part].var() / len(part) for part in parts)) / 6
    assert half == pytest.approx(1.96 * error, rel=0.09)
    assert low < value < high
