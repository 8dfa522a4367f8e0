"""The statistics: hand-worked cases, SciPy and scikit-learn as referees, weights as repetition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from pmbench.scoring.statistics import (
    Array,
    average_precision,
    hard_majority_items,
    human_fresh,
    human_majority,
    human_self_agreement,
    kendall,
    ones,
    pearson,
    spearman,
    two_afc_items,
    weighted_mean,
)

Correlation = Callable[[Array, Array], float]

CORRELATIONS: dict[str, tuple[Correlation, Callable[..., Any]]] = {
    "spearman": (lambda x, y: float(spearman(x, y, ones(len(x)))[0]), stats.spearmanr),
    "pearson": (lambda x, y: float(pearson(x, y, ones(len(x)))[0]), stats.pearsonr),
    "kendall": (lambda x, y: float(kendall(x, y, ones(len(x)))[0]), stats.kendalltau),
}
each_correlation = pytest.mark.parametrize("name", CORRELATIONS)


def array(*values: float) -> Array:
    return np.array(values, dtype=np.float64)


def ap(d: Array, same: Array, envelope: bool = True) -> float:
    return float(average_precision(d, same, ones(len(d)), envelope=envelope)[0])


# Few different values: ties are the rule.
VALUES = st.integers(-4, 4).map(float)
SHARES = st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0])


def columns(*strategies: st.SearchStrategy[float], least: int = 1) -> st.SearchStrategy[Any]:
    """Columns of one length, as a tuple of arrays."""
    rows = st.lists(st.tuples(*strategies), min_size=least, max_size=12)
    return rows.map(lambda made: tuple(np.array(column, float) for column in zip(*made)))  # noqa: B905


# --- two alternative forced choice ----------------------------------------------------------------


def test_an_items_2afc_score_is_the_share_of_people_who_chose_as_the_metric_did() -> None:
    d0 = array(1, 2, 1, 2, 3)
    d1 = array(2, 1, 2, 1, 3)
    p = array(0.2, 0.2, 1.0, 1.0, 0.8)
    # p0 closer: 1-p = 0.8 and 0;  p1 closer: p = 0.2 and 1;  equal: 1/2, whatever people said
    assert two_afc_items(d0, d1, p).tolist() == [0.8, 0.2, 0.0, 1.0, 0.5]


def test_people_who_are_divided_give_half_whatever_the_metric_says() -> None:
    p = array(0.5, 0.5, 0.5)
    assert two_afc_items(array(1, 2, 1), array(2, 1, 1), p).tolist() == [0.5, 0.5, 0.5]


def test_the_hard_majority_gives_one_zero_or_half() -> None:
    d0 = array(1, 2, 1, 2, 3, 3)
    d1 = array(2, 1, 2, 1, 3, 3)
    p = array(0.4, 0.4, 0.6, 0.6, 0.0, 1.0)
    # the majority wants p0, p0, p1, p1, p0, p1; the metric p0, p1, p0, p1, and twice neither
    assert hard_majority_items(d0, d1, p).tolist() == [1, 0, 0, 1, 0.5, 0.5]


@given(columns(VALUES, VALUES, SHARES))
def test_a_metric_and_its_reverse_share_the_2afc_score_of_one(
    made: tuple[Array, Array, Array],
) -> None:
    d0, d1, p = made
    forward, backward = two_afc_items(d0, d1, p), two_afc_items(-d0, -d1, p)
    np.testing.assert_allclose(forward + backward, 1, rtol=0, atol=1e-15)


@given(columns(VALUES, VALUES, SHARES))
def test_naming_p0_p1_and_the_other_way_round_is_the_same(made: tuple[Array, Array, Array]) -> None:
    d0, d1, p = made
    swapped = two_afc_items(d1, d0, 1 - p)
    np.testing.assert_allclose(two_afc_items(d0, d1, p), swapped, rtol=0, atol=1e-15)


def test_choosing_as_everybody_did_gives_exactly_one() -> None:
    d0, d1, p = array(1, 2, 5), array(3, 1, 0), array(0, 1, 1)
    assert two_afc_items(d0, d1, p).tolist() == [1, 1, 1]
    assert hard_majority_items(d0, d1, p).tolist() == [1, 1, 1]


# --- means ----------------------------------------------------------------------------------------


def test_a_weighted_mean_has_a_value_for_each_row_of_weights() -> None:
    w = np.array([[1.0, 1, 1], [2, 0, 1], [0, 0, 3]])
    # (1+2+6)/3, (2·1+6)/3, 3·6/3
    assert weighted_mean(array(1, 2, 6), w).tolist() == [3, 8 / 3, 6]


def test_the_mean_of_nothing_is_undefined() -> None:
    assert np.isnan(weighted_mean(array(1, 2), np.zeros((2, 2)))).all()
    assert np.isnan(weighted_mean(array(), ones(0))).all()


def test_what_is_nan_does_not_count_in_a_mean() -> None:
    w = np.array([[1, 1, 1], [2, 5, 1], [0, 3, 0]], np.uint8)
    # (1+6)/2, (2·1+6)/3, and nothing that counts
    result = weighted_mean(array(1, np.nan, 6), w)
    assert result[:2].tolist() == [3.5, 8 / 3]
    assert np.isnan(result[2])


# --- correlations ---------------------------------------------------------------------------------


@each_correlation
@settings(deadline=None)
@given(made=columns(VALUES, SHARES, least=2))
def test_a_correlation_is_scipys_also_with_ties(name: str, made: tuple[Array, Array]) -> None:
    x, y = made
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    ours, theirs = CORRELATIONS[name]
    assert ours(x, y) == pytest.approx(theirs(x, y).statistic, abs=1e-12)


@each_correlation
def test_a_correlation_is_scipys_on_a_thousand_items(name: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=1000)
    y = np.clip(np.round(5 * (0.3 * np.log(x) + rng.random(1000))) / 5, 0, 1)
    ours, theirs = CORRELATIONS[name]
    assert 0.3 < ours(x, y) < 0.9
    assert ours(x, y) == pytest.approx(theirs(x, y).statistic, abs=1e-12)


def test_the_correlations_of_a_case_by_hand() -> None:
    x, y = array(1, 2, 3, 4), array(0, 1, 1, 3)
    # ranks 1 2 3 4 and 1 2.5 2.5 4, centred: covariance 4.5, variances 5 and 4.5
    assert CORRELATIONS["spearman"][0](x, y) == pytest.approx(4.5 / np.sqrt(5 * 4.5), abs=1e-15)
    # 5 pairs agree, 1 is tied in y: 5 / sqrt(6·5)
    assert CORRELATIONS["kendall"][0](x, y) == pytest.approx(5 / np.sqrt(6 * 5), abs=1e-15)
    # centred -1.5 -.5 .5 1.5 and -1.25 -.25 -.25 1.75: covariance 4.5, variances 5 and 4.75
    assert CORRELATIONS["pearson"][0](x, y) == pytest.approx(4.5 / np.sqrt(5 * 4.75), abs=1e-15)


@pytest.mark.parametrize("n", [2, 6, 101])
def test_what_is_perfectly_correlated_gives_exactly_one(n: int) -> None:
    x = np.random.default_rng(1).lognormal(size=n)
    for correlation, _ in CORRELATIONS.values():
        assert correlation(x, x) == 1
        assert correlation(x, -x) == -1


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-150, 1, 1e100])
def test_pearsons_correlation_does_not_depend_on_the_scale(scale: float) -> None:
    x, y = np.random.default_rng(0).random((2, 60))
    expected = stats.pearsonr(x, y).statistic
    # numbers as small as 1e-320 have three digits
    assert pearson(scale * x, y, ones(60)) == pytest.approx(expected, abs=0.003)
    if scale > 1e-300:
        assert pearson(scale * x, y, ones(60)) == pytest.approx(expected, rel=1e-12)


def test_resamples_without_an_outlier_are_of_what_is_left() -> None:
    x, noise = np.random.default_rng(0).random((2, 60))
    y = x + 0.3 * noise
    x[3] = 1e9
    w = np.random.default_rng(1).multinomial(60, np.full(60, 1 / 60), size=200).astype(np.uint8)
    drawn = pearson(x, y, w)
    assert not np.isnan(drawn).any()
    for row in np.flatnonzero(w[:, 3] == 0)[:20]:
        items = np.repeat(np.arange(60), w[row])
        assert drawn[row] == pytest.approx(np.corrcoef(x[items], y[items])[0, 1], rel=1e-9)


@pytest.mark.parametrize("name", ["spearman", "kendall"])
def test_a_rank_correlation_knows_the_order_only(name: str) -> None:
    x = np.random.default_rng(1).lognormal(size=101)
    assert CORRELATIONS[name][0](x, np.log(x)) == 1


@each_correlation
@settings(deadline=None)
@given(made=columns(VALUES, SHARES, least=2))
def test_a_reversed_metric_gets_minus_the_correlation(name: str, made: tuple[Array, Array]) -> None:
    x, y = made
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    correlation = CORRELATIONS[name][0]
    assert correlation(-x, y) == pytest.approx(-correlation(x, y), abs=1e-12)


def test_a_reversed_metric_is_negatively_correlated() -> None:  # no abs() anywhere
    x, y = array(1, 2, 3, 4), array(1, 0.6, 0.8, 0.2)
    for ours, _ in CORRELATIONS.values():
        assert ours(x, y) < -0.5


@each_correlation
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (array(1), array(1)),
        (array(2, 2, 2), array(0, 0.5, 1)),
        (array(1, 2, 3), array(0.6, 0.6, 0.6)),
        (np.full(1000, 0.1), np.linspace(0, 1, 1000)),  # 0.1 is not exact; its mean neither
    ],
)
def test_a_correlation_without_variation_is_undefined(name: str, x: Array, y: Array) -> None:
    assert np.isnan(CORRELATIONS[name][0](x, y))


def test_a_resample_of_equal_items_only_has_no_correlation() -> None:
    # 0.3 is not exact: what is left of the variance is rounding, of either sign
    x, rng = array(*[0.3] * 7, 1.9), np.random.default_rng(0)
    w = np.hstack([rng.integers(0, 4, (200, 7)), np.zeros((200, 1))]).astype(float)
    assert np.isnan(pearson(x, rng.random(8), w)).all()
    assert np.isnan(pearson(rng.random(8), x, w)).all()


def test_pearson_keeps_its_digits_far_from_zero() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.random(50), rng.random(50)
    assert CORRELATIONS["pearson"][0](x + 1e6, y) == pytest.approx(
        CORRELATIONS["pearson"][0](x, y), abs=1e-9
    )


# --- average precision ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("d", "same", "plain", "with_envelope"),
    [
        # precision 1, 1/2, 2/3; "same" gains at 1 and 3: (1 + 2/3)/2, and the envelope lifts only
        # the second point, where nothing is gained
        ((1, 2, 3), (1, 0, 1), 5 / 6, 5 / 6),
        # precision 0, 1/2, 2/3: (1/2 + 2/3)/2; the envelope lifts 1/2 to 2/3
        ((1, 2, 3), (0, 1, 1), 7 / 12, 2 / 3),
        # the tied pair is one point, at its end: precision 1/2 then 2/3, as if the 0 came first
        ((1, 1, 2), (1, 0, 1), 7 / 12, 2 / 3),
        # blocks {1, 1/3}, {1}, {0, 0}: hits 4/3, 7/3, 7/3; precision 2/3, 7/9, 7/15;
        # (2/3·4/3 + 7/9·1)/(7/3) = (15/9)/(7/3) = 5/7; the envelope lifts 2/3 to 7/9: 7/9
        ((1, 1, 2, 3, 3), (1, 1 / 3, 1, 0, 0), 5 / 7, 7 / 9),
        # soft labels: hits 2/3, 1, 2; precision 2/3, 1/2, 2/3; gains 2/3, 1/3, 1:
        # (4/9 + 1/6 + 2/3)/2 = 23/36; the envelope is 2/3 throughout
        ((1, 2, 3), (2 / 3, 1 / 3, 1), 23 / 36, 2 / 3),
        # soft and falling: hits 1, 5/3, 2; precision 1, 5/6, 2/3; (1 + 5/9 + 2/9)/2 = 8/9
        ((1, 2, 3), (1, 2 / 3, 1 / 3), 8 / 9, 8 / 9),
        # all distances equal: one point, precision = share of "same"
        ((7, 7, 7, 7), (1, 0, 0, 1 / 3), 1 / 3, 1 / 3),
        # all "same" comes last: precision 0, 0, 1/3
        ((1, 2, 3), (0, 0, 1), 1 / 3, 1 / 3),
    ],
)
def test_average_precision_by_hand(
    d: tuple[float, ...], same: tuple[float, ...], plain: float, with_envelope: float
) -> None:
    assert ap(array(*d), array(*same), envelope=False) == pytest.approx(plain, abs=1e-15)
    assert ap(array(*d), array(*same)) == pytest.approx(with_envelope, abs=1e-15)


def test_the_envelope_is_the_default() -> None:
    d, same = array(1, 2, 3), array(0, 1, 1)
    assert average_precision(d, same, ones(3))[0] == pytest.approx(2 / 3)


@settings(deadline=None)
@given(columns(VALUES, SHARES))
def test_average_precision_without_envelope_is_scikit_learns(made: tuple[Array, Array]) -> None:
    d, same = made
    assume(same.sum() > 0)
    truth = np.repeat([1, 0], len(d))  # every pair twice: as "same" and as "different"
    weights = np.concatenate([same, 1 - same])
    referee = average_precision_score(truth, np.tile(-d, 2), sample_weight=weights)
    assert ap(d, same, envelope=False) == pytest.approx(referee, abs=1e-12)


def test_average_precision_is_scikit_learns_on_a_thousand_pairs() -> None:
    rng = np.random.default_rng(3)
    d = np.round(rng.random(1000), 2)  # ties
    same = np.round(3 * np.clip(1.2 - d - 0.5 * rng.random(1000), 0, 1)) / 3
    weights = np.concatenate([same, 1 - same])
    referee = average_precision_score(
        np.repeat([1, 0], 1000), np.tile(-d, 2), sample_weight=weights
    )
    assert ap(d, same, envelope=False) == pytest.approx(referee, abs=1e-12)
    assert ap(d, same) > referee + 1e-4  # the envelope is active on real curves


@given(columns(VALUES, SHARES), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_is_of_no_consequence(made: tuple[Array, Array], random: Any) -> None:
    d, same = made
    shuffled = list(range(len(d)))
    random.shuffle(shuffled)
    expected, got = ap(d, same), ap(d[shuffled], same[shuffled])
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@given(columns(VALUES, SHARES))
def test_the_envelope_never_lowers_average_precision(made: tuple[Array, Array]) -> None:
    d, same = made
    assume(same.sum() > 0)
    assert 0 < ap(d, same, envelope=False) <= ap(d, same) + 1e-15 <= 1 + 2e-15


def test_a_perfect_ranking_of_hard_labels_gives_exactly_one() -> None:
    same = array(*[1] * 7, *[0] * 6)
    assert ap(np.arange(13.0), same) == 1
    assert ap(np.arange(13.0), same, envelope=False) == 1
    assert ap(1 - same, same) == 1  # also in two blocks


def test_average_precision_is_undefined_where_nobody_said_same() -> None:
    assert np.isnan(ap(array(1, 2, 2), array(0, 0, 0)))
    drawn = np.array([[1.0, 1, 1], [2, 1, 0]])  # the second resample misses the only "same"
    result = average_precision(array(1, 2, 3), array(0, 0, 1), drawn)
    assert result[0] == pytest.approx(1 / 3)
    assert np.isnan(result[1])


def test_a_block_that_was_not_drawn_adds_no_area() -> None:
    d, same = array(1, 2, 3, 4), array(0, 1, 0, 1)
    without_first = np.array([[0.0, 1, 1, 1]])
    # 1, 0, 1 remain: (1 + 2/3)/2
    assert average_precision(d, same, without_first)[0] == pytest.approx(5 / 6, abs=1e-15)


# --- weights are repetition -----------------------------------------------------------------------


def _weighted(name: str) -> Callable[[Array, Array, Array], Array]:
    return {
        "spearman": spearman,
        "pearson": pearson,
        "kendall": kendall,
        "average_precision": average_precision,
        "average_precision, no envelope": lambda d, s, w: average_precision(
            d, s, w, envelope=False
        ),
        "mean": lambda x, y, w: weighted_mean(y, w),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "spearman", "pearson", "kendall", "average_precision", "average_precision, no envelope",
        "mean",
    ],
)  # fmt: skip
@settings(deadline=None)
@given(made=columns(VALUES, SHARES, st.integers(0, 3).map(float)))
def test_a_weight_of_three_is_an_item_three_times(
    name: str, made: tuple[Array, Array, Array]
) -> None:
    x, y, w = made
    assume(w.sum() > 0)
    statistic, times = _weighted(name), w.astype(int)
    repeated = statistic(np.repeat(x, times), np.repeat(y, times), ones(int(w.sum())))
    both = statistic(x, y, np.stack([w, np.ones_like(w)]))
    np.testing.assert_allclose(both[0], repeated[0], rtol=0, atol=1e-12)
    # rows of weights do not touch each other
    np.testing.assert_allclose(both[1], statistic(x, y, ones(len(x)))[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["spearman", "pearson", "kendall", "average_precision", "mean"])
def test_many_resamples_at_once_are_those_one_by_one_and_bytes_do_for_weights(name: str) -> None:
    rng = np.random.default_rng(4)
    x, y = np.round(rng.normal(size=3000), 3), rng.integers(0, 6, 3000) / 5
    w = rng.poisson(1, (100, 3000)).astype(np.uint8)  # more than are computed at once
    result = _weighted(name)(x, y, w)
    each = [_weighted(name)(x, y, row[None].astype(float))[0] for row in w]
    np.testing.assert_allclose(result, each, rtol=0, atol=1e-12)
    assert result.std() > 0.001


def test_kendall_takes_votes_of_many_levels_too() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=500), rng.random(500)
    assert CORRELATIONS["kendall"][0](x, y) == pytest.approx(stats.kendalltau(x, y)[0], abs=1e-14)


# --- people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "n", "paper", "fresh", "majority"),
    [
        (5, 5, 1.0, 1.0, 1.0),
        (0, 5, 1.0, 1.0, 1.0),
        # 0.8² + 0.2² = 0.68; two of the five: (4·3 + 1·0)/(5·4) = 0.6
        (4, 5, 0.68, 0.6, 0.8),
        # 0.6² + 0.4² = 0.52; (3·2 + 2·1)/(5·4) = 0.4
        (2, 5, 0.52, 0.4, 0.6),
        # two who disagree never agree
        (1, 2, 0.5, 0.0, 0.5),
        # (2/3)² + (1/3)² = 5/9; (2·1 + 0)/(3·2) = 1/3
        (2, 3, 5 / 9, 1 / 3, 2 / 3),
    ],
)
def test_what_people_score_with_k_of_n_votes(
    k: int, n: int, paper: float, fresh: float, majority: float
) -> None:
    p = array(k / n)
    assert human_self_agreement(p)[0] == pytest.approx(paper, abs=1e-15)
    assert human_fresh(p, array(n))[0] == pytest.approx(fresh, abs=1e-15)
    assert human_majority(p)[0] == pytest.approx(majority, abs=1e-15)


def test_one_person_cannot_be_compared_with_others() -> None:
    result = human_fresh(array(1, 0, 1), array(1, 1, 2))
    assert np.isnan(result[:2]).all()
    assert result[2] == 1


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_fresh_human_is_the_mean_agreement_of_all_ordered_pairs_of_people(n: int) -> None:
    for k in range(n + 1):
        votes = [1] * k + [0] * (n - k)
        pairs = [votes[i] == votes[j] for i in range(n) for j in range(n) if i != j]
        assert human_fresh(array(k / n), array(n))[0] == pytest.approx(np.mean(pairs), abs=1e-15)


def test_the_papers_human_row_is_above_a_fresh_human_and_below_the_majority() -> None:
    p = np.arange(6) / 5
    fresh = human_fresh(p, np.full(6, 5.0))
    assert (fresh <= human_self_agreement(p) + 1e-15).all()
    assert (human_self_agreement(p) <= human_majority(p) + 1e-15).all()


@given(columns(VALUES, VALUES, SHARES))
def test_no_metric_beats_the_majority(made: tuple[Array, Array, Array]) -> None:
    d0, d1, p = made
    assert (two_afc_items(d0, d1, p) <= human_majority(p)).all()
