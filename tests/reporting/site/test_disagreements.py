"""Which items the gallery shows, and agreement against unanimity."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from support.site import differences, items_of

from pmbench.reporting.site import disagreements, unanimity

# --- which items the gallery shows ----------------------------------------------------------------


def test_the_worst_triplets_are_unanimous_ones_by_how_clearly_the_metric_disagrees() -> None:
    #             wrong, weak  right   not unanimous  wrong, clear  tie
    items = items_of([1.0, 0.0, 0.2, 0.0, 1.0])
    found = disagreements.mistakes_2afc(items, differences(-1, -3, 5, 4, 0), most=9)
    assert found.worst.tolist() == [3, 0]  # by |d0-d1|: 4, then 1; item 2 has a dissenting vote
    assert (found.asked, found.wrong) == (4, 2)
    assert disagreements.mistakes_2afc(
        items, differences(-1, -3, 5, 4, 0), most=1
    ).worst.tolist() == [3]


def test_an_item_with_fewer_votes_than_usual_is_not_called_unanimous() -> None:
    items = items_of([1.0, 1.0, 0.0, 0.4], votes=[5, 2, 6, 5])
    assert disagreements.unanimous(items).tolist() == [True, False, True, False]


def test_items_on_which_the_metric_is_not_defined_are_neither_right_nor_wrong() -> None:
    d = differences(-1, -3)
    d[1] = np.nan
    found = disagreements.mistakes_2afc(items_of([1.0, 1.0]), d, most=9)
    assert (found.asked, found.wrong, found.worst.tolist()) == (1, 1, [0])


def test_choices_do_not_depend_on_the_unit_of_the_metric() -> None:
    d = differences(3, -4)  # the root of the mean of 9 and 16 is √12.5
    np.testing.assert_allclose(disagreements.choices(d), [3 / 12.5**0.5, -4 / 12.5**0.5])
    np.testing.assert_allclose(disagreements.choices(1000 * d), disagreements.choices(d))
    assert disagreements.choices(differences(0, 0)).tolist() == [0, 0]


def test_jnd_shows_same_pairs_far_apart_and_different_pairs_close_together() -> None:
    #              same: 0, 1, 2;    divided;  different: 4, 5
    items = items_of([1, 1, 1, 2 / 3, 0, 0], votes=3)
    d = np.array([[0.1], [0.9], [0.5], [0.95], [0.4], [0.6]])
    far, near = disagreements.too_far(items, d, 9), disagreements.too_near(items, d, 9)
    assert far.worst.tolist() == [1]  # not among the three nearest unanimous pairs: 0.1, 0.4, 0.5
    assert (far.asked, far.wrong) == (3, 1)
    assert near.worst.tolist() == [4]  # among them
    assert (near.asked, near.wrong) == (2, 1)
    tied = np.array([[0.1], [0.4], [0.4], [0.95], [0.4], [0.6]])
    assert (
        disagreements.too_far(items, tied, 9).wrong
        == disagreements.too_near(items, tied, 9).wrong
        == 0
    )
    perfect = np.array([[0.1], [0.2], [0.3], [0.35], [0.4], [0.6]])
    assert (
        disagreements.too_far(items, perfect, 9).wrong
        == disagreements.too_near(items, perfect, 9).wrong
        == 0
    )


def test_jnd_without_same_or_without_different_pairs_shows_nothing() -> None:
    d = np.array([[0.1], [0.9]])
    for p in ([1.0, 1.0], [0.0, 0.0], [0.4, 0.4]):
        items = items_of(p, votes=5)
        assert (
            disagreements.too_far(items, d, 9).wrong
            == disagreements.too_near(items, d, 9).wrong
            == 0
        )


def test_hardest_are_the_triplets_that_most_metrics_get_wrong() -> None:
    items = items_of([1.0, 1.0, 1.0, 0.4])
    distances = {
        "a": differences(1, -1, -1, 1),
        "b": differences(1, 1, -1, 1),
        "c": differences(1, 1, -1, 1),
    }
    index, counts = disagreements.hardest(items, distances, most=9)
    assert index.tolist() == [2, 1]
    assert counts.tolist() == [3, 1]


def test_two_metrics_part_where_they_choose_differently_and_both_are_clear() -> None:
    items = items_of([1.0, 0.0, 0.5, 0.8])
    distances = {"a": differences(1, 1, 2, 2), "b": differences(-1, 1, -3, -0.1)}
    found = disagreements.disagreements_2afc(items, distances, "a", "b", most=9)
    assert (found.asked, found.apart) == (4, 3)
    assert found.clearest.tolist() == [
        2,
        0,
        3,
    ]  # the less decided of the two is clear by 1.3, 0.6, 0.06
    assert (found.with_a, found.with_b) == (2, 0)  # items 0 and 3; on 2 people were divided


def test_two_metrics_part_on_pairs_that_they_place_into_different_halves() -> None:
    items = items_of([1, 0, 1, 0], votes=3)
    a, b = np.array([[1.0], [4], [2], [3]]), np.array([[4.0], [1], [2], [3]])
    found = disagreements.disagreements_jnd(items, {"a": a, "b": b}, "a", "b", most=9)
    assert (found.apart, found.clearest.tolist()) == (2, [0, 1])
    assert (found.with_a, found.with_b) == (2, 0)


# --- agreement against unanimity ------------------------------------------------------------------


def test_items_are_in_bins_by_the_size_of_the_majority() -> None:
    bins = unanimity.majorities(items_of([0.4, 0.0, 0.8, 0.6, 1.0]))
    assert [(b.label, b.index.tolist()) for b in bins] == [
        ("3 of 5", [0, 3]), ("4 of 5", [2]), ("5 of 5", [1, 4])
    ]  # fmt: skip
    mixed = unanimity.majorities(items_of([0.5, 0.25, 1.0, 0.05], votes=[4, 4, 5, 20]))
    assert [(b.label, b.index.tolist()) for b in mixed] == [
        ("50–60 %", [0]), ("70–80 %", [1]), ("90–100 %", [3]), ("all", [2])
    ]  # fmt: skip
    same = unanimity.agreements(items_of([0, 1 / 3, 1, 1], votes=3))
    assert [(b.label, len(b)) for b in same] == [("0 of 3", 1), ("1 of 3", 1), ("3 of 3", 2)]


def test_the_mean_of_a_bin_has_the_interval_of_a_score() -> None:
    items = items_of([1.0] * 60)
    (group,) = unanimity.majorities(items)
    values = np.arange(60) % 2.0
    found = unanimity.mean(values, items, group)
    assert found is not None
    assert (found.value, found.n, found.unreliable) == (0.5, 60, False)
    # s²/n is 0.25/59, Student's t of 59 is 2.001; by logits
    half = 2.000995 * math.sqrt(0.25 / 59) / 0.25
    assert (found.low, found.high) == pytest.approx(
        (1 / (1 + math.exp(half)), 1 / (1 + math.exp(-half)))
    )
    alone = unanimity.mean(values, replace(items, cluster=np.zeros(60, int)), group)
    assert alone is not None
    assert math.isnan(alone.low)
    assert unanimity.mean(np.full(60, np.nan), items, group) is None


@pytest.mark.parametrize(("clusters", "unreliable"), [(20, False), (19, True)])
def test_an_interval_of_few_clusters_is_unreliable(clusters: int, unreliable: bool) -> None:
    items = items_of([1.0] * (4 * clusters))
    (group,) = unanimity.majorities(items)
    of_clusters = replace(items, cluster=np.arange(4 * clusters) % clusters)
    found = unanimity.mean(np.arange(4 * clusters) // 7 % 2.0, of_clusters, group)
    assert found is not None
    assert found.unreliable is unreliable


def test_farness_is_the_share_of_nearer_pairs_with_ties_by_halves() -> None:
    d = np.array([3.0, 1.0, 1.0, np.nan, 2.0])
    np.testing.assert_allclose(unanimity.distance_rank(d), [1, 1 / 6, 1 / 6, np.nan, 2 / 3])
