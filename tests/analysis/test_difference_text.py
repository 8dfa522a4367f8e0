"""Differences in words: each sentence that a reader may get."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pmbench.analysis.correlation import correlate_protocols
from pmbench.analysis.difference_text import number, p_number, relation_in_words, unjudged, verdict
from pmbench.analysis.paired import Difference
from pmbench.scoring.protocols import TWO_AFC

MAIN, SRCC = TWO_AFC.statistics[0], TWO_AFC.statistic("srcc")
BETTER = Difference(
    "lpips-alex", "ssim", "macro", 0.0052, 0.0031, 0.0073, 5.1, 3.2e-7, 36344, None, 1888
)
ALIKE = Difference("l1", "l2", "macro", 0.0005, -0.0014, 0.0024, 0.5, 0.62, 2000, 1934, 300)


def sentence(one: Difference, **changes: object) -> str:
    return verdict(replace(one, **changes), MAIN, "triplets")  # type: ignore[arg-type]


def test_a_difference_that_is_certain() -> None:
    assert sentence(BETTER) == (
        "lpips-alex is better than ssim by 0.52 points, 95 % interval 0.31 to 0.73 (p = 3e-7)"
    )


def test_who_is_better_comes_first() -> None:
    assert sentence(BETTER, value=-0.0052, low=-0.0073, high=-0.0031, z=-5.1) == (
        "ssim is better than lpips-alex by 0.52 points, 95 % interval 0.31 to 0.73 (p = 3e-7)"
    )


def test_a_difference_that_may_be_none() -> None:
    assert sentence(ALIKE) == (
        "l1 and l2 cannot be told apart: difference 0.05 points, -0.14 to 0.24; about 1,900 more "
        "triplets would be needed"
    )


def test_one_more_item() -> None:
    assert sentence(ALIKE, more=1).endswith("; about 1 more triplet would be needed")


def test_more_items_than_anybody_will_judge() -> None:
    assert sentence(ALIKE, more=400_000_000).endswith(
        "; more than 10,000,000 more triplets would be needed"
    )


def test_no_difference_at_all() -> None:
    same = {"value": 0.0, "z": 0.0, "p": 1.0, "more": None}
    assert sentence(ALIKE, **same, low=0.0, high=0.0) == (
        "l1 and l2 cannot be told apart: no difference at all"
    )
    assert sentence(ALIKE, **same) == (
        "l1 and l2 cannot be told apart: no difference at all, -0.14 to 0.24"
    )


def test_few_items_are_said() -> None:
    assert sentence(BETTER, independent=29).endswith(
        "(p = 3e-7); unreliable: a sub-dataset has only 29 independent triplets, fewer than 30"
    )
    assert sentence(BETTER, place="pooled", independent=6).endswith(
        "; unreliable: there are only 6 independent triplets, fewer than 30"
    )
    assert sentence(BETTER, independent=1).endswith(
        "; unreliable: a sub-dataset has only 1 independent triplet, fewer than 30"
    )
    assert sentence(BETTER, place="pooled", independent=1).endswith(
        "; unreliable: there is only 1 independent triplet, fewer than 30"
    )
    assert "unreliable" not in sentence(BETTER, independent=30)


def test_why_nobody_is_ranked() -> None:
    assert unjudged(1, "triplets") == (
        "a sub-dataset has only 1 independent triplet, which does not say how scores vary"
    )
    assert unjudged(40, "pairs") == (
        "there are too few resamples in which all metrics have a score"
    )


def test_nothing_to_judge_by() -> None:
    nothing = {"z": math.nan, "p": math.nan, "low": math.nan, "high": math.nan, "more": None}
    assert sentence(ALIKE, **nothing) == (
        "l1 and l2 cannot be told apart: difference 0.05 points, and nothing to judge it by"
    )
    assert sentence(ALIKE, **nothing, value=math.nan) == (
        "l1 and l2 cannot be compared: one of them has no score"
    )


def test_correlations_are_not_in_points() -> None:
    assert verdict(replace(BETTER, value=0.12, low=0.034, high=0.2), SRCC, "pairs") == (
        "lpips-alex is better than ssim by 0.120, 95 % interval 0.034 to 0.200 (p = 3e-7)"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0052, "0.52"), (-0.2, "-20.00"), (0.00003, "3e-3"), (-1e-17, "0.00"), (0.00005, "0.01")],
)
def test_what_would_be_rounded_to_nothing_keeps_a_digit(value: float, shown: str) -> None:
    assert number(value, MAIN) == shown


def test_signs_are_shown_on_request_but_not_of_nothing() -> None:
    assert [number(x, MAIN, sign=True) for x in (0.01, -0.01, 0.0)] == ["+1.00", "-1.00", "0.00"]
    assert number(0.25, SRCC, sign=True) == "+0.250"


@pytest.mark.parametrize(
    ("p", "shown"),
    [(1.0, "1"), (0.0432, "0.043"), (0.0012, "0.0012"), (3.2e-7, "3e-7"), (2e-120, "2e-120"),
     (0.0, "<1e-300"), (math.nan, "n/a")],
)  # fmt: skip
def test_p_in_few_digits(p: float, shown: str) -> None:
    assert p_number(p) == shown


def test_a_p_beyond_numbers() -> None:
    assert sentence(BETTER, p=0.0).endswith("(p < 1e-300)")


def test_a_relation() -> None:
    found = correlate_protocols(
        dict(zip("abcde", range(5), strict=True)), dict(zip("abcde", [0, 1, 3, 2, 4], strict=True))
    )
    assert relation_in_words(found) == (
        "2AFC against JND over 5 metrics: Pearson 0.900 (95 % interval 0.086 to 0.993, "
        "approximate: Fisher's z), Spearman 0.900"
    )
    assert relation_in_words("why there is none") == "why there is none"
