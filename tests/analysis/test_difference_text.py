"""Differences in words: each sentence that a reader may get."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pmbench.analysis.correlation import correlate_protocols
from pmbench.analysis.difference_text import number, p_number, relation_in_words, verdict
from pmbench.analysis.paired import Difference
from pmbench.scoring.protocols import TWO_AFC

MAIN, SRCC = TWO_AFC.statistics[0], TWO_AFC.statistic("srcc")
BETTER = Difference(
    "lpips-alex", "ssim", "macro", 0.0052, 0.0031, 0.0073, 5.1, 3.2e-7, 0.0029, 36344, 1888.0
)
ALIKE = Difference("l1", "l2", "macro", 0.0005, -0.0014, 0.0024, 0.5, 0.62, 0.0027, 2000, 300.0)


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
        "l1 and l2 cannot be told apart: difference 0.05 points, -0.14 to 0.24; the smallest "
        "difference that these triplets find with 80 % power is 0.27 points"
    )


def test_no_difference_at_all() -> None:
    same = {"value": 0.0, "z": 0.0, "p": 1.0}
    assert sentence(ALIKE, **same, low=0.0, high=0.0) == (
        "l1 and l2 cannot be told apart: no difference at all"
    )
    assert sentence(ALIKE, **same) == (
        "l1 and l2 cannot be told apart: no difference at all, -0.14 to 0.24"
    )


def test_few_items_are_said() -> None:
    assert sentence(BETTER, independent=19).endswith(
        "(p = 3e-7); unreliable: a sub-dataset counts as 19 independent triplets only, "
        "fewer than 20"
    )
    assert sentence(BETTER, place="pooled", independent=6).endswith(
        "; unreliable: they count as 6 independent triplets only, fewer than 20"
    )
    assert sentence(BETTER, independent=1).endswith(
        "; unreliable: a sub-dataset counts as 1 independent triplet only, fewer than 20"
    )
    assert sentence(BETTER, place="pooled", independent=2.2345).endswith(
        "; unreliable: they count as 2.23 independent triplets only, fewer than 20"
    )
    assert "unreliable" not in sentence(BETTER, independent=20)


def test_nothing_to_judge_by() -> None:
    nothing = dict.fromkeys(["z", "p", "low", "high", "detectable"], math.nan)
    assert sentence(ALIKE, **nothing, unknown="all items are of one cluster") == (
        "l1 and l2 cannot be told apart: difference 0.05 points, and no p, since all items are of "
        "one cluster"
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
        dict(zip("abcde", range(5), strict=True)),
        dict(zip("abcde", [0, 1, 3, 2, 4], strict=True)),
        dict(zip("abcde", "vwxyz", strict=True)),
    )
    assert relation_in_words(found) == (
        f"2AFC against JND over 5 metrics: Pearson 0.900 (95 % interval {found.low:.3f} to "
        f"{found.high:.3f}, by 5 families of metrics), Spearman 0.900"
    )
    assert relation_in_words(replace(found, low=math.nan, families=1)) == (
        "2AFC against JND over 5 metrics: Pearson 0.900 (no interval: too few families of metrics "
        "(1)), Spearman 0.900"
    )
    assert relation_in_words("why there is none") == "why there is none"
