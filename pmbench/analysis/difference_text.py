"""Differences and relations in words: what a reader may conclude, and what not."""

from __future__ import annotations

import math

from pmbench.analysis.correlation import ProtocolCorrelation
from pmbench.analysis.paired import ALPHA, POWER, RELIABLE, Difference
from pmbench.scoring.protocols import Statistic


def verdict(result: Difference, statistic: Statistic, unit: str) -> str:
    """Return what a difference says. ``unit`` is what items are called: "triplets" or "pairs"."""
    if math.isnan(result.value):
        return f"{result.a} and {result.b} cannot be compared: one of them has no score"
    message = _sentence(result, statistic, unit)
    if result.independent < RELIABLE:
        reason = _only(result.independent, unit, result.place)
        message += f"; unreliable: {reason}, fewer than {RELIABLE}"
    return message


def _sentence(result: Difference, statistic: Statistic, unit: str) -> str:
    both = f"{result.a} and {result.b}"
    if result.p < ALPHA:
        better, worse = (result.a, result.b) if result.value > 0 else (result.b, result.a)
        sign = 1 if result.value > 0 else -1
        low, high = sorted((sign * result.low, sign * result.high))
        ends = f", 95 % interval {_span(low, high, statistic)}" if not math.isnan(low) else ""
        by = size(abs(result.value), statistic)
        return f"{better} is better than {worse} by {by}{ends} ({p_text(result.p)})"
    spread = result.low < result.high  # neither NaN nor all the same
    ends = f", {_span(result.low, result.high, statistic)}" if spread else ""
    if result.value == 0:
        return f"{both} cannot be told apart: no difference at all{ends}"
    difference = f"difference {size(result.value, statistic)}{ends}"
    if math.isnan(result.p):
        return f"{both} cannot be told apart: {difference}, and no p, since {result.unknown}"
    smallest = size(result.detectable, statistic)
    return (
        f"{both} cannot be told apart: {difference}; the smallest difference that these {unit} "
        f"find with {100 * POWER:.0f} % power is {smallest}"
    )


def _only(independent: float, unit: str, place: str) -> str:
    noun = unit.removesuffix("s") if independent == 1 else unit
    where = "a sub-dataset counts" if place == "macro" else "they count"
    return f"{where} as {independent:.3g} independent {noun} only"


def size(value: float, statistic: Statistic) -> str:
    """Return a difference of scores: percentage points, or a correlation's as it is."""
    return f"{number(value, statistic)} points" if statistic.percent else number(value, statistic)


def number(value: float, statistic: Statistic, sign: bool = False) -> str:
    """Return a difference as digits: of points two decimals, of correlations three.

    What would be rounded to nothing keeps its first digit.
    """
    shown, decimals = (100 * value, 2) if statistic.percent else (value, 3)
    plus = "+" if sign else ""
    if abs(shown) < 1e-9:
        return f"{0:.{decimals}f}"
    if abs(shown) < 0.5 * 10**-decimals:
        return f"{shown:{plus}.0e}".replace("e-0", "e-")
    return f"{shown:{plus}.{decimals}f}"


def p_text(p: float) -> str:
    """Return ``p = 0.031``, ``p = 3e-7``."""
    return f"p = {p_number(p)}" if p > 0 else "p < 1e-300"


def p_number(p: float) -> str:
    """Return a p-value in few digits; n/a where there is none."""
    if math.isnan(p):
        return "n/a"
    if p == 0:
        return "<1e-300"
    return f"{p:.2g}" if p >= 0.001 else f"{p:.0e}".replace("e-0", "e-")


def _span(low: float, high: float, statistic: Statistic) -> str:
    return f"{number(low, statistic)} to {number(high, statistic)}"


def relation_in_words(result: ProtocolCorrelation | str) -> str:
    """Return how 2AFC and JND go together over metrics, or why that is not known."""
    if isinstance(result, str):
        return result
    return (
        f"2AFC against JND over {result.n} metrics: Pearson {result.pearson:.3f} "
        f"({result.certainty}), Spearman {result.spearman:.3f}"
    )
