"""Intervals of scores: by hand, and what they rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats
from support.votes import items_of, jnd_distances, jnd_items, many_items, noisy_distances

from pmbench.scoring import joint_scores
from pmbench.scoring.bootstrap import Resampling, resampled
from pmbench.scoring.intervals import estimate, interval
from pmbench.scoring.joint_scores import estimand, joint
from pmbench.scoring.protocols import JND, TWO_AFC

TWICE = np.array([-1, 1])


def test_the_interval_of_a_share_is_by_logits_and_of_a_correlation_by_fishers_z() -> None:
    by_logits = special.expit(special.logit(0.7) + 0.1 / (0.7 * 0.3) * 1.959964 * TWICE)
    assert interval(0.7, 0.1) == pytest.approx(tuple(by_logits))
    half = 0.2 / (1 - 0.49) * stats.t.isf(0.025, 10)
    by_z = np.tanh(np.arctanh(0.7) + half * TWICE)
    assert interval(0.7, 0.2, (-1, 1), 10) == pytest.approx(tuple(by_z))


def test_the_interval_stays_within_the_limits() -> None:
    low, high = interval(0.99, 0.1)
    assert 0 < low < 0.99 < high < 1
    assert interval(0.5, 0.5, freedom=0.01) == (0, 1)
    assert interval(1.0, 0.0, (-1, 1), 9) == (1, 1)  # at the limit nothing varies
    assert interval(0.4, 0.0) == (0.4, 0.4)


def test_all_or_none_of_a_few_trials_may_be_chance() -> None:
    referee = stats.binomtest(10, 10).proportion_ci(0.95)
    assert interval(1.0, 0.0, freedom=9) == pytest.approx((referee.low, referee.high))
    assert interval(0.0, 0.0, freedom=9) == pytest.approx((1 - referee.high, 1 - referee.low))


def test_of_nothing_known_there_is_no_interval() -> None:
    for unknown in (interval(0.5, np.nan), interval(np.nan, 0.1), interval(0.5, 0.1, freedom=0)):
        assert np.isnan(unknown).all()


@pytest.mark.parametrize("most", [0, 1000])
def test_the_interval_of_average_precision(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(joint_scores, "_MOST", most)  # clusters that are left out one by one
    items, resampling = jnd_items(), Resampling(2000, seed=4)
    d = jnd_distances(items, 0.5, 1)
    one = estimate(items, estimand(JND.main, d, items.p), (0, 1), 100, resampling)
    by_place = joint(JND, JND.main, items, {"m": d}, resampling)
    for i, (scores, freedom) in enumerate(zip(by_place.values(), (59, 59, 118, 118), strict=True)):
        assert one.value[i] == scores.values[0]
        error = np.sqrt(scores.covariance[0, 0])
        assert tuple(one.interval[i]) == interval(one.value[i], error, (0, 1), freedom)
    assert one.unreliable.tolist() == [True, True, True, False]
    assert one.n.tolist() == [60, 60, 120, 120]
    if most:
        assert one.draws is None
    else:
        assert one.draws is not None
        draws = resampled(items, [estimand(JND.main, d, items.p)], resampling)[0]
        np.testing.assert_array_equal(one.draws, draws)
        error = draws.std(axis=1, ddof=1) * np.sqrt([60 / 59] * 2 + [120 / 118] * 2)
        ends = [interval(v, e, (0, 1), f) for v, e, f in zip(one.value, error, (59, 59, 118, 118),
                                                             strict=True)]  # fmt: skip
        np.testing.assert_allclose(one.interval, ends)


def test_a_large_cluster_widens_the_interval_of_the_mean_that_it_decides() -> None:
    items = many_items(60, subs=1)
    d = noisy_distances(items, 0.5, 1)
    widths = []
    # 30 of one cluster, and 30 single ones, count as 60²/(30² + 30) = 3.9
    for cluster, unreliable in ((np.arange(60), False), (np.maximum(np.arange(60) - 29, 0), True)):
        of_clusters = replace(items, cluster=cluster)
        one = estimate(of_clusters, estimand(TWO_AFC.main, d, items.p), (0, 1), 20, Resampling())
        assert (one.unreliable == unreliable).all()
        low, high = special.logit(one.interval[-1])
        widths.append(high - low)
    assert widths[1] / widths[0] > 1.2


def test_a_score_that_one_cluster_decides_has_no_interval() -> None:
    # without the only pair that was called the same there is no average precision
    items = items_of([0] * 30, np.append(1.0, np.zeros(29)))
    d = np.arange(30.0)[:, None]
    one = estimate(items, estimand(JND.main, d, items.p), (0, 1), 100, Resampling())
    assert (one.value == 1).all()
    assert np.isnan(one.interval).all()
    assert not one.unreliable.any()
