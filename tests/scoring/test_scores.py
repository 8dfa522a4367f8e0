"""Tidy scores: macro and pooled, what is missing and why, intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from support.refusals import message_of

from pmbench.datasets.pack import Items
from pmbench.scoring import joint_scores
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.intervals import interval
from pmbench.scoring.protocols import JND, TWO_AFC, Protocol, Statistic
from pmbench.scoring.scores import COLUMNS, human_rows, score_at
from pmbench.scoring.scores import score as whole_score
from pmbench.scoring.statistics import Array


def items_of(
    sub: list[int], p: list[float] | Array, votes: int = 5, names: tuple[str, ...] = ("a", "b", "c")
) -> Items:
    n = len(sub)
    return Items(
        id=np.array([f"item-{i}" for i in range(n)], object),
        sub=np.array(sub, np.int64),
        sub_names=names[: max(sub) + 1],
        p=np.array(p, np.float64),
        votes=np.full(n, votes, np.int32),
        cluster=np.arange(n),
    )


def random_case(n: int = 60, seed: int = 0) -> tuple[Items, Array]:
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 6, n) / 5
    distances = rng.random((n, 2)) + np.stack([p, 1 - p], axis=1)
    return items_of(list(range(3)) * (n // 3), p), distances


def score(protocol: Protocol, name: str, items: Items, distances: Array, **resampling: Any) -> Any:
    """Return the tidy table of one metric."""
    return whole_score(protocol, name, items, distances, **resampling).table


def cell(table: pd.DataFrame, place: str, statistic: str = "2afc", name: str | None = None) -> Any:
    """Return the one row of a number."""
    rows = table[(table["sub_dataset"] == place) & (table["statistic"] == statistic)]
    rows = rows if name is None else rows[rows["name"] == name]
    assert len(rows) == 1
    return rows.iloc[0]


# a: 1 of 1 right; b: 1 of 3 right, everybody agreed
UNEQUAL = items_of([0, 1, 1, 1], [0, 0, 0, 0])
CHOICES = np.array([[1, 2], [1, 2], [2, 1], [2, 1.0]])


def test_the_table_has_a_row_for_each_statistic_and_place() -> None:
    table = score(TWO_AFC, "mine", *random_case())
    assert list(table.columns) == COLUMNS
    assert COLUMNS == [
        "kind", "name", "statistic", "sub_dataset", "value", "low", "high", "n", "of", "note",
        "unreliable",
    ]  # fmt: skip
    places = ["a", "b", "c", "macro", "pooled"]
    statistics = ["2afc", "hard_majority", "srcc", "krcc", "plcc"]
    assert list(zip(table["statistic"], table["sub_dataset"], strict=True)) == [
        (s, place) for s in statistics for place in places
    ]
    assert set(table["kind"]) == {"metric"}
    assert set(table["name"]) == {"mine"}


def test_macro_is_the_plain_mean_of_sub_datasets_and_pooled_is_over_items() -> None:
    table = score(TWO_AFC, "m", UNEQUAL, CHOICES)
    assert cell(table, "a").value == 1
    assert cell(table, "b").value == pytest.approx(1 / 3)
    assert cell(table, "macro").value == pytest.approx((1 + 1 / 3) / 2)
    assert cell(table, "pooled").value == 2 / 4


@pytest.mark.parametrize("statistic", ["2afc", "hard_majority", "srcc", "krcc", "plcc"])
def test_every_statistic_is_averaged_over_the_sub_datasets(statistic: str) -> None:
    items, distances = random_case()
    table = score(TWO_AFC, "m", items, distances)
    by_hand = [
        TWO_AFC.score(distances[items.sub == sub], items.p[items.sub == sub])[statistic]
        for sub in range(3)
    ]
    assert [cell(table, place, statistic).value for place in "abc"] == pytest.approx(by_hand)
    assert cell(table, "macro", statistic).value == pytest.approx(np.mean(by_hand))
    pooled = TWO_AFC.score(distances, items.p)[statistic]
    assert cell(table, "pooled", statistic).value == pytest.approx(pooled)


def test_n_counts_the_items_that_a_statistic_uses() -> None:
    items = items_of([0, 0, 0, 1, 1], [0.5, 0, 1, 0.5, 1], votes=2)
    table = score(TWO_AFC, "m", items, np.random.default_rng(0).random((5, 2)))
    counts = {
        (s, place): (cell(table, place, s).n, cell(table, place, s).of)
        for s in ("2afc", "hard_majority")
        for place in ("a", "b", "macro", "pooled")
    }
    assert counts == {
        ("2afc", "a"): (3, 3),
        ("2afc", "b"): (2, 2),
        ("2afc", "macro"): (5, 5),
        ("2afc", "pooled"): (5, 5),
        ("hard_majority", "a"): (2, 3),
        ("hard_majority", "b"): (1, 2),
        ("hard_majority", "macro"): (3, 5),
        ("hard_majority", "pooled"): (3, 5),
    }
    assert (table[table["statistic"] == "2afc"]["note"] == "").all()


# --- what is missing ------------------------------------------------------------------------------


def test_a_sub_dataset_without_value_is_left_out_of_the_macro_and_named() -> None:
    items = items_of([0, 0, 1, 1, 2, 2], [1, 0, 0, 0, 1, 1], votes=3)
    d = np.array([[1], [2], [1], [2], [1], [2.0]])
    table = score(JND, "m", items, d)
    a, b, c, macro, pooled = (
        cell(table, place, "map") for place in ("a", "b", "c", "macro", "pooled")
    )
    assert np.isnan(b.value)
    assert b.note == 'nobody said "same"'
    assert (a.value, c.value, macro.value) == (1, 1, 1)  # 2/3 if b counted as nothing
    assert macro.note == 'without b: nobody said "same"'
    assert (a.note, c.note, pooled.note) == ("", "", "")
    # distances 1 (same: 1, 0, 1) and 2 (0, 0, 1): precision 2/3 then 3/6
    assert pooled.value == pytest.approx((2 / 3 * 2 + 1 / 2 * 1) / 3)


def test_a_number_that_is_missing_altogether_has_a_reason() -> None:
    table = score(JND, "m", items_of([0, 0], [0, 0]), np.array([[1], [2.0]]))
    assert table[["value", "low", "high"]].isna().all(axis=None)
    why = 'nobody said "same"'
    notes = [cell(table, place, "map").note for place in ("a", "macro", "pooled")]
    assert notes == [why, why, why]
    assert (table["note"] != "").all()


@pytest.mark.parametrize("statistic", ["srcc", "krcc", "plcc"])
def test_a_correlation_without_variation_says_so(statistic: str) -> None:
    items = items_of([0, 0, 1, 1], [0.2, 0.2, 0, 1])
    table = score(TWO_AFC, "m", items, np.array([[1, 2], [2, 1], [1, 2], [2, 1.0]]))
    assert np.isnan(cell(table, "a", statistic).value)
    assert cell(table, "a", statistic).note == "distances or votes do not vary"
    assert cell(table, "macro", statistic).note == "without a: distances or votes do not vary"
    assert cell(table, "macro", statistic).value == cell(table, "b", statistic).value
    assert cell(table, "b", statistic).note == ""


def test_votes_that_are_all_divided_have_no_majority() -> None:
    table = score(TWO_AFC, "m", items_of([0, 0], [0.5, 0.5], 2), np.array([[1, 2], [2, 1.0]]))
    assert cell(table, "a", "hard_majority").note == "nobody made up a majority"
    assert cell(table, "a", "hard_majority").n == 0
    assert cell(table, "a").value == 0.5


def test_items_on_which_the_metric_is_not_defined_are_left_out_and_every_row_says_so() -> None:
    items, distances = random_case()
    distances[:20] = np.nan
    kept = np.arange(20, 60)
    table = score(TWO_AFC, "m", items, distances, undefined="63×63: too small")
    whole = score(TWO_AFC, "m", items.take(kept), distances[kept])
    np.testing.assert_array_equal(table["value"], whole["value"])
    assert (table["note"] == "not defined on 20 items: 63×63: too small").all()
    assert (table["n"] < table["of"]).all()
    main = table[table["statistic"] == "2afc"]
    assert main["n"].tolist() == [13, 13, 14, 40, 40]
    assert main["of"].tolist() == [20, 20, 20, 60, 60]


@pytest.mark.parametrize("statistic", TWO_AFC.statistics)
def test_a_score_in_one_place_is_that_of_the_table(statistic: Statistic) -> None:
    items, d = random_case()
    d[:7] = np.nan
    d[items.sub == 2] = np.nan
    table = score(TWO_AFC, "toy", items, d, undefined="too small")
    for place in ("a", "b", "c", "macro", "pooled"):
        value = score_at(items, d, statistic, place)
        np.testing.assert_equal(value, cell(table, place, statistic.name)["value"])
    of_two = items.take(np.flatnonzero(items.sub < 2)), d[items.sub < 2]
    assert score_at(items, d, statistic, "a+b") == score_at(*of_two, statistic, "pooled")
    assert np.isnan(score_at(items, d, statistic, "nowhere"))


def test_a_score_of_all_items_is_none_where_one_is_not_defined() -> None:
    items, d = random_case()
    statistic = TWO_AFC.statistics[0]
    every = ("a", "b", "c", "a+b", "macro", "pooled")
    plain = {place: score_at(items, d, statistic, place) for place in every}
    assert plain == {place: score_at(items, d, statistic, place, whole=True) for place in every}
    d[0] = np.nan  # of "a"
    result = {place: score_at(items, d, statistic, place, whole=True) for place in every}
    assert {place for place, value in result.items() if np.isnan(value)} == {*every} - {"b", "c"}
    assert (result["b"], result["c"]) == (plain["b"], plain["c"])


def test_a_sub_dataset_of_which_nothing_is_left_says_that_and_not_something_else() -> None:
    items = items_of([0, 0, 1, 1, 2, 2], [1, 0, 1, 1, 0, 0], votes=3)
    distances = np.array([[1], [2], [np.nan], [np.nan], [1], [2.0]])
    table = score(JND, "m", items, distances, undefined="too small")
    few = "not defined on 2 items: too small"
    assert cell(table, "b", "map").note == f"{few}; no items left"
    assert cell(table, "b", "map").n == 0
    assert cell(table, "macro", "map").value == 1
    assert (
        cell(table, "macro", "map").note
        == f'{few}; without b: no items left; without c: nobody said "same"'
    )


def test_a_metric_that_is_defined_on_nothing_has_no_score_at_all() -> None:
    items, distances = random_case()
    table = score(TWO_AFC, "m", items, np.full_like(distances, np.nan), undefined="too small")
    assert table[["value", "low", "high"]].isna().all(axis=None)
    assert (table["n"] == 0).all()
    assert cell(table, "macro").note == (
        "not defined on 60 items: too small; without a, b, c: no items left"
    )
    assert cell(table, "pooled").note == "not defined on 60 items: too small; no items left"


@pytest.mark.parametrize(
    ("bad", "undefined"),
    [
        ([np.nan, 2], ""),
        ([np.nan, np.nan], ""),  # no reason was given why it should be undefined
        ([1, np.inf], ""),
        ([1, np.nan], "too small"),  # a metric is defined on an item or it is not
        ([-np.inf, np.nan], "too small"),
    ],
)
def test_a_distance_that_is_no_finite_number_is_an_error_that_names_metric_and_item(
    bad: list[float], undefined: str
) -> None:
    items, distances = random_case()
    distances[7] = bad
    assert message_of(score, TWO_AFC, "my-metric", items, distances, undefined=undefined) == (
        f"my-metric: the distance of item item-7 is {[float(b) for b in bad]}; "
        "expected finite numbers; mend the metric or leave the item out"
    )


# --- part of the data, another order --------------------------------------------------------------


def test_scores_on_half_of_the_data_are_those_of_that_half() -> None:
    items, distances = random_case()
    half = np.arange(0, 60, 2)
    table = score(TWO_AFC, "m", items.take(half), distances[half])
    for sub, place in enumerate("abc"):
        of = half[items.sub[half] == sub]
        expected = TWO_AFC.score(distances[of], items.p[of])
        for statistic, value in expected.items():
            assert cell(table, place, statistic).value == pytest.approx(value, abs=1e-15)
        assert (cell(table, place).n, cell(table, place).of) == (10, 10)
    assert (table["note"] == "").all()


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(30)))
def test_the_order_of_the_items_is_of_no_consequence(order: list[int]) -> None:
    items, distances = random_case(30)
    distances = np.round(distances, 1)  # ties
    shuffled = np.array(order)
    columns = ["kind", "name", "statistic", "sub_dataset", "n", "of", "note"]
    for protocol, d in ((TWO_AFC, distances), (JND, distances[:, :1])):
        one = score(protocol, "m", items, d, resampling=Resampling(2))
        other = score(protocol, "m", items.take(shuffled), d[shuffled], resampling=Resampling(2))
        np.testing.assert_allclose(other["value"], one["value"], rtol=0, atol=1e-13)
        pd.testing.assert_frame_equal(other[columns], one[columns])


# --- intervals ------------------------------------------------------------------------------------


def test_intervals_hold_their_values_and_are_the_same_every_time() -> None:
    case = random_case()
    table = score(TWO_AFC, "m", *case)
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    pd.testing.assert_frame_equal(table, score(TWO_AFC, "m", *case))


def test_intervals_are_those_of_the_variances() -> None:
    items, distances = random_case()
    table = score(TWO_AFC, "m", items, distances)
    right = np.where(distances[:, 0] < distances[:, 1], 1 - items.p, items.p)
    by_sub = [right[items.sub == sub] for sub in range(3)]
    variances = [x.var(ddof=1) / len(x) for x in by_sub]
    for place, variance, freedom in (
        ("b", variances[1], 19),
        ("macro", sum(variances) / 9, 57),
        ("pooled", sum(variances) / 9, 57),
    ):
        result = cell(table, place)
        half = stats.t.isf(0.025, freedom) * np.sqrt(variance) / (result.value * (1 - result.value))
        expected = special.expit(special.logit(result.value) + np.array([-half, half]))
        assert (result.low, result.high) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("most", [0, 1000])
def test_resamples_are_kept_where_intervals_are_made_of_them(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(joint_scores, "_MOST", most)  # clusters that need none
    seeds = [
        whole_score(TWO_AFC, "m", *random_case(), resampling=Resampling(300, seed=seed))
        for seed in (4, 5)
    ]
    made = seeds[0]
    assert made.draws.resampling == Resampling(300, seed=4)
    assert made.draws.places == ("a", "b", "c", "macro", "pooled")
    assert list(made.draws.values) == ([] if most else ["srcc", "krcc", "plcc"])
    for values in made.draws.values.values():
        assert values.shape == (5, 300)
        np.testing.assert_allclose(values[3], values[:3].mean(axis=0))
    one, other = (of_seed.table for of_seed in seeds)
    assert (one["value"] == other["value"]).all()
    drawn = one["statistic"].isin(list(made.draws.values))
    assert ((one["low"] != other["low"]) == drawn).all()


def test_the_macro_score_of_a_resample_leaves_out_the_same_sub_dataset() -> None:
    items = items_of([0] * 6 + [1] * 6, [1, 1, 1, 0, 0, 0] + [0] * 6, votes=3)
    table = score(JND, "m", items, np.random.default_rng(0).random((12, 1)))
    a, macro = (cell(table, place, "map") for place in ("a", "macro"))
    assert (macro.value, macro.low, macro.high) == (a.value, a.low, a.high)


def test_a_single_item_or_cluster_has_no_interval() -> None:
    items, distances = random_case(30)
    one = score(TWO_AFC, "m", items_of([0, 1, 1], [0, 0, 1]), distances[:3])
    assert np.isnan([cell(one, "a").low, cell(one, "a").high]).all()
    assert cell(one, "b").low < cell(one, "b").high
    together = Items(
        items.id, items.sub, items.sub_names, items.p, items.votes, np.zeros(30, np.int64)
    )
    table = score(TWO_AFC, "m", together, distances)
    assert table[["low", "high"]].isna().all(axis=None)
    assert table["value"].notna().all()


# --- intervals that rest on too little ------------------------------------------------------------


def unreliable(table: pd.DataFrame, statistic: str) -> list[bool]:
    return [bool(flag) for flag in table.loc[table["statistic"] == statistic, "unreliable"]]


def test_intervals_of_few_items_are_unreliable() -> None:
    # 20 in a, 19 in b, where one vote is divided; then 20 in both, one divided in b
    for short in (19, 20):
        items = items_of([0] * 20 + [1] * short, np.tile([0.2, 0.8], 20)[: 20 + short])
        items.p[20] = 0.5
        table = score(TWO_AFC, "m", items, np.random.default_rng(0).random((20 + short, 2)))
        few = short < 20
        assert unreliable(table, "2afc") == [False, few, few, False]  # a, b, macro, pooled
        assert unreliable(table, "hard_majority") == [False, True, True, False]
        assert unreliable(table, "srcc") == unreliable(table, "2afc")


def test_clusters_count_and_not_their_items() -> None:
    items, distances = random_case(180)
    assert unreliable(score(TWO_AFC, "m", items, distances), "2afc") == [False] * 5
    pairs = replace(items, cluster=np.repeat(np.arange(30), 6))  # two of a cluster everywhere
    assert unreliable(score(TWO_AFC, "m", pairs, distances), "2afc") == [False] * 5
    pairs = replace(items, cluster=np.repeat(np.arange(15), 12))
    assert unreliable(score(TWO_AFC, "m", pairs, distances), "2afc") == [True] * 5
    # one of 60 and 20 single ones in each count as 1.77, and not as 21
    large = np.where(np.arange(180) // 3 < 40, items.sub, np.arange(180))
    one_large = replace(items, cluster=large)
    assert unreliable(score(TWO_AFC, "m", one_large, distances), "2afc") == [True] * 5


def test_the_bound_is_the_statistics_own() -> None:
    p = np.random.default_rng(0).integers(0, 4, 120) / 3
    for n in (99, 100):
        items = items_of([0] * n, p[:n], votes=3)
        table = score(JND, "m", items, np.random.default_rng(1).random((n, 1)))
        assert unreliable(table, "map") == [n < 100] * 3
        assert unreliable(table, "srcc") == [False] * 3
        assert unreliable(table, "plcc") == [True] * 3


def test_what_has_no_interval_has_no_unreliable_one() -> None:
    table = score(TWO_AFC, "m", items_of([0], [1]), np.array([[1, 2.0]]))
    assert table["low"].isna().all()
    assert not table["unreliable"].any()


def test_a_macro_score_is_as_reliable_as_the_sub_datasets_in_it() -> None:
    # nobody said "same" in the small sub-dataset, so the macro score is that of the other
    items = items_of([0] * 100 + [1] * 5, [1, 0] * 50 + [0] * 5, votes=3)
    table = score(JND, "m", items, np.random.default_rng(0).random((105, 1)))
    assert unreliable(table, "map") == [False, False, False, False]
    assert cell(table, "b", "map").note == 'nobody said "same"'


def test_resamples_without_a_value_are_left_out_and_make_the_interval_unreliable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # one pair of 100 was called "same" in b: every third resample misses it
    items = items_of([0] * 100 + [1] * 100, [1, 0] * 50 + [1] + [0] * 99, votes=3)
    monkeypatch.setattr(joint_scores, "_MOST", 0)  # clusters that are left out one by one
    made = whole_score(JND, "m", items, np.random.default_rng(0).random((200, 1)))
    a, b, macro, _ = made.draws.values["map"]
    missing = np.isnan(b)
    assert missing.mean() == pytest.approx(np.exp(-1), abs=0.06)
    assert not np.isnan(a).any()
    # the macro score of such a resample is missing too, and not that of a alone
    np.testing.assert_allclose(macro, (a + b) / 2)
    assert unreliable(made.table, "map") == [False, True, True, False]
    result = cell(made.table, "macro", "map")
    error = macro[~missing].std(ddof=1) * np.sqrt(200 / 198)
    expected = interval(result.value, error, (0, 1), 198)
    assert (result.low, result.high) == pytest.approx(expected)


def test_peoples_intervals_may_be_unreliable_too() -> None:
    assert human_rows(TWO_AFC, random_case(57)[0])["unreliable"].tolist() == [
        True, True, True, True, False,
    ] * 3  # fmt: skip
    assert not human_rows(TWO_AFC, random_case(60)[0])["unreliable"].any()


# --- human rows -----------------------------------------------------------------------------------


def test_human_rows_by_hand() -> None:
    # 4 of 5 and 2 of 5 in a, 5 of 5 in b
    table = human_rows(TWO_AFC, items_of([0, 0, 1], [0.8, 0.4, 1]))
    assert list(table.columns) == COLUMNS
    assert set(table["kind"]) == {"human"}
    assert set(table["statistic"]) == {"2afc"}
    expected = {
        "human-paper": ((0.68 + 0.52) / 2, 1),
        "human-fresh": ((0.6 + 0.4) / 2, 1),
        "human-majority": ((0.8 + 0.6) / 2, 1),
    }
    assert list(dict.fromkeys(table["name"])) == list(expected)
    for name, (a, b) in expected.items():
        assert cell(table, "a", name=name).value == pytest.approx(a)
        assert cell(table, "b", name=name).value == pytest.approx(b)
        assert cell(table, "macro", name=name).value == pytest.approx((a + b) / 2)
        assert cell(table, "pooled", name=name).value == pytest.approx((2 * a + b) / 3)
        assert (cell(table, "macro", name=name).n, cell(table, "macro", name=name).of) == (3, 3)


def test_one_vote_an_item_leaves_a_fresh_human_undefined_with_the_reason() -> None:
    table = human_rows(TWO_AFC, items_of([0, 0, 1], [1, 0, 1], votes=1))
    why = "fewer than two people were asked, or nobody says how many"
    notes = [cell(table, place, name="human-fresh").note for place in ("a", "b", "macro", "pooled")]
    assert notes == [why, why, f"without a, b: {why}", why]
    assert np.isnan(cell(table, "macro", name="human-fresh").value)
    assert cell(table, "macro", name="human-paper").value == 1


def test_the_jnd_ceiling_is_undefined_where_nobody_said_same() -> None:
    table = human_rows(JND, items_of([0, 0, 1], [0, 0, 1], votes=3))
    a, b, macro = (cell(table, place, "map", "human-majority") for place in ("a", "b", "macro"))
    assert np.isnan(a.value)
    assert (a.note, macro.note) == ('nobody said "same"', 'without a: nobody said "same"')
    assert (b.value, macro.value) == (1, 1)


def test_human_rows_have_intervals() -> None:
    table = human_rows(TWO_AFC, random_case()[0])
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


def test_who_was_asked_alone_does_not_count_for_the_fresh_human() -> None:
    # three items: 4 of 5, 1 of 1 (nobody to agree with), 3 of 5
    items = Items(
        id=np.array(["a", "b", "c"], object),
        sub=np.zeros(3, np.int64),
        sub_names=("s",),
        p=np.array([0.8, 1.0, 0.6]),
        votes=np.array([5, 1, 5], np.int32),
        cluster=np.arange(3),
    )
    table = human_rows(TWO_AFC, items)
    row = table[(table["name"] == "human-fresh") & (table["sub_dataset"] == "s")].iloc[0]
    # (4·3 + 1·0) / 20 = 0.6 and (3·2 + 2·1) / 20 = 0.4
    assert row["value"] == pytest.approx(0.5)
    assert (row["n"], row["of"]) == (2, 3)
